"""What comes from elsewhere: packages, code that starts with Python, and addresses in documents and requests."""

from __future__ import annotations

import ast
import datetime
import json
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import pytest

HASHING = {"INHOUSE_EMBEDDING__KIND": "hashing"}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-development.lock"])
def test_s1_the_lock_names_every_package_in_one_version_with_its_hashes(repository: Path, name: str) -> None:
    text = re.sub(r"^\s*#.*$", "", (repository / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    entries = [entry for entry in re.sub(r"\\\n\s*", " ", text).splitlines() if entry.strip()]
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry), entry[:80]
        assert "://" not in entry
        assert " @ " not in entry


def test_s1_a_package_that_is_not_the_locked_one_is_not_installed(tmp_path: Path, repository: Path) -> None:
    """A wheel of a locked name and version, with other bytes, offered first."""
    lock = (repository / "requirements.lock").read_text(encoding="utf-8")
    name, number = re.search(r"^(six|typing-extensions)==(\S+)", lock, re.MULTILINE).groups()  # type: ignore[union-attr]
    entry = re.search(rf"^{name}=={re.escape(number)}(?: \\\n\s+--hash=\S+)+", lock, re.MULTILINE).group()  # type: ignore[union-attr]
    stem = name.replace("-", "_")
    with zipfile.ZipFile(tmp_path / f"{stem}-{number}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{stem}.py", "")
        wheel.writestr("evil.pth", "import os\n")
        information = f"{stem}-{number}.dist-info"
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    (tmp_path / "lock").write_text(entry + "\n")
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(tmp_path)]
    target = tmp_path / "target"
    options = ["--require-hashes", "--no-deps", "--target", str(target), "-r", str(tmp_path / "lock")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not target.exists() or not list(target.iterdir())


def test_s1_installation_never_leaves_the_lock(repository: Path) -> None:
    for name in ("Makefile", "README.md"):
        text = (repository / name).read_text(encoding="utf-8")
        installs = [line for line in text.splitlines() if "pip install" in line]
        assert installs
        for line in installs:
            assert "--require-hashes" in line or "--no-deps" in line, (name, line)


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> tuple[Path, Path]:
    """An interpreter of its own that sees this environment's packages, and its folder of packages."""
    home = tmp_path_factory.mktemp("v")
    venv.create(home, with_pip=False, symlinks=True)
    folder = next(home.glob("lib/python3*/site-packages"))
    real = next(Path(one) for one in sys.path if one.endswith("site-packages"))
    (folder / "packages.pth").write_text(f"{real}\n{repository}\n")
    return home / "bin" / "python", folder


def findings(python: Path, data: Path) -> dict[str, Any]:
    command = [str(python), "-c", "from service.cli import main; main()", "doctor", "--json", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return {one["check"]: one for one in json.loads(done.stdout.splitlines()[0])["findings"]}


def test_s1_code_that_starts_with_every_python_is_named_by_doctor(
    other_python: tuple[Path, Path], tmp_path: Path, canary: tuple[str, list[bytes]]
) -> None:
    python, folder = other_python
    address, heard = canary
    # A file that only names folders, as this environment's own, is told of but runs nothing.
    quiet = findings(python, tmp_path)["start files"]
    assert quiet["state"] == "note"
    assert str(folder / "packages.pth") in quiet["found"]
    host, port = address.split(":")
    planted = folder / "litellm_init.pth"
    planted.write_text(f"import socket; socket.create_connection(({host!r}, {port}), 5).close()\n")
    try:
        named = findings(python, tmp_path)["start files"]
    finally:
        planted.unlink()
    assert named["state"] == "wrong"
    assert str(planted) in named["found"]
    assert named["mend"]
    # It ran before anything of ours could: this is why it must be named.
    assert heard
    custom = folder / "sitecustomize.py"
    custom.write_text("")
    assert str(custom) in findings(python, tmp_path)["start files"]["found"]
    custom.unlink()


DEBIANS = """\
# install the apport exception handler if available
try:
    import apport_python_hook
except ImportError:
    pass
else:
    apport_python_hook.install()
"""


def test_s1_what_debian_starts_with_every_python_is_named_only_where_it_does_something(
    other_python: tuple[Path, Path], tmp_path: Path
) -> None:
    python, folder = other_python
    custom, reporter = folder / "sitecustomize.py", folder / "apport_python_hook.py"
    custom.write_text(DEBIANS)
    assert str(custom) not in findings(python, tmp_path)["start files"]["found"]
    reporter.write_text("def install():\n    pass\n")
    assert str(custom) in findings(python, tmp_path)["start files"]["found"]
    reporter.unlink()
    custom.write_text(DEBIANS + "import json\n")
    assert str(custom) in findings(python, tmp_path)["start files"]["found"]
    custom.unlink()


def test_s1_a_start_file_of_setuptools_that_was_changed_is_foreign_too(other_python: tuple[Path, Path], tmp_path: Path) -> None:
    python, folder = other_python
    information = folder / "setuptools-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: setuptools\nVersion: 1\n")
    (information / "RECORD").write_text("distutils-precedence.pth,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n")
    planted = folder / "distutils-precedence.pth"
    planted.write_text("")
    assert str(planted) not in findings(python, tmp_path)["start files"]["found"]
    planted.write_text("import sys\n")
    assert str(planted) in findings(python, tmp_path)["start files"]["found"]
    planted.unlink()


CONNECTING = {
    "aiohttp",
    "ftplib",
    "http",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "imaplib",
    "ollama",
    "paramiko",
    "requests",
    "smtplib",
    "socket",
    "ssl",
    "urllib3",
    "websockets",
    "xmlrpc",
}
REACHING = {
    *("connect_ex", "create_connection", "get_server_certificate", "getaddrinfo", "gethostbyname", "open_connection"),
    *("sendto", "urlopen"),
}
DOORS = {
    "service/runtimes/local_address.py": "looks up the model server's name, once",
    "service/runtimes/local_server.py": "the model server, checked by address",
    "service/auth/provider_wire.py": "the identity provider that the settings name, checked by address",
    "service/control/client.py": "the service's own Unix socket",
}
PASSING = {
    "service/server.py": "listens",
    "ingest/parsing/child.py": "a socket pair to its own child",
    "ingest/parsing/frames.py": "what goes over that pair",
    "ingest/parsing/worker.py": "the child's end of it",
}
"""Modules that hold sockets and connect none of them."""


def test_s2_one_module_connects_to_each_of_model_server_provider_and_own_socket_and_no_other_could(repository: Path) -> None:
    using, connecting = set(), set()
    for package in ("policies", "vectorstore", "ingest", "service"):
        for path in (repository / package).rglob("*.py"):
            name = str(path.relative_to(repository))
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    modules.append(node.module or "")
                for module in modules:
                    if module.split(".")[0] in CONNECTING or module.startswith(("urllib.request", "asyncio.streams")):
                        using.add(name)
                        # By themselves these two reach nothing; what of them does is looked for below.
                        if module not in ("socket", "ssl"):
                            connecting.add(name)
                if isinstance(node, ast.Attribute) and node.attr in REACHING:
                    connecting.add(name)
    assert using == set(DOORS) | set(PASSING)
    assert connecting == set(DOORS)


def spellings(address: str) -> list[str]:
    """Ways to write an address of this machine that some reader of addresses has been taken in by."""
    port = address.split(":")[1]
    hosts = [
        *("127.0.0.1", "localhost", "LOCALHOST", "127.1", "127.0.1", "0", "0.0.0.0", "2130706433", "0x7f000001", "0x7f.1"),
        *("017700000001", "0177.0.0.1", "127.0.0.1.", "127.000.000.001", "127.127.127.127", "[::1]", "[::]"),
        *("[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
        *("①②⑦.⓪.⓪.①", "１２７.０.０.１", "localhost.localdomain", "127.0.0.1.nip.io", "user@127.0.0.1"),
        *("evil.example#@127.0.0.1", "127.0.0.1%2f@evil.example"),
    ]
    urls = [f"http://{host}:{port}/x" for host in hosts]
    urls += [
        f"{scheme}://127.0.0.1:{port}/x" for scheme in ("https", "ftp", "gopher", "dict", "ldap", "ws", "file", "jar:http")
    ]
    return [*urls, f"//127.0.0.1:{port}/x", f"http:\\\\127.0.0.1:{port}\\x", f"\\\\127.0.0.1@{port}\\x"]


def test_s2_no_address_in_a_request_is_followed(service: Any, calls: Any, send: Any, canary: tuple[str, list[bytes]]) -> None:
    address, heard = canary
    urls = spellings(address)
    assert len(urls) >= 40
    for url in urls:
        for call in calls:
            if (one := call.about(url)) != call:
                send(service, one, service.keys["dora"])
    answer = {
        "model": "inhouse",
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": urls[0]}}]}],
    }
    headers = {"Authorization": f"Bearer {service.keys['dora']}"}
    told = httpx2.post(f"{service.url}/v1/chat/completions", json=answer, headers=headers, trust_env=False)
    assert told.status_code == 400
    for header in ("Referer", "X-Forwarded-Host", "X-Original-URL", "Forwarded", "Via"):
        send(service, calls[0], None, **{header: urls[0]})
    assert heard == []


def test_s2_no_address_in_a_document_is_followed(tmp_path: Path, inhouse_within: Any, canary: tuple[str, list[bytes]]) -> None:
    address, heard = canary
    folder, data = tmp_path / "folder", tmp_path / "d"
    folder.mkdir()
    url = f"http://{address}/x"
    (folder / "page.html").write_text(
        f'<html><head><link rel="stylesheet" href="{url}"><script src="{url}"></script><base href="{url}">'
        f'<meta http-equiv="refresh" content="0;url={url}"></head><body background="{url}"><p>Soup is served at noon.</p>'
        f'<img src="{url}"><iframe src="{url}"></iframe><object data="{url}"></object></body></html>'
    )
    (folder / "picture.svg").write_text(
        f'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "{url}">]><svg xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="{url}"/><text>&x; soup</text></svg>'
    )
    (folder / "data.xml").write_text(f'<?xml version="1.0"?><!DOCTYPE a SYSTEM "{url}"><a>soup is served</a>')
    (folder / "note.md").write_text(f"# Soup\n\n![soup]({url}) [more]({url}) <{url}>\n\nSoup is served at noon.\n")
    (folder / "mail.eml").write_text(
        f'From: a@b.example\nSubject: soup\nContent-Type: message/external-body; access-type=URL; URL="{url}"\n\nSoup.\n'
    )
    (folder / "labels.toml").write_text(
        '[[rule]]\nglob = "*"\nkb = "kb"\nclassification = "public"\ngroups = ["everyone"]\nowner = "hr"\n'
    )
    assert inhouse_within(data, "init", **HASHING).returncode == 0
    assert inhouse_within(data, "ingest", str(folder), **HASHING).returncode in (0, 5)
    listed = json.loads(inhouse_within(data, "documents", "list", "--json", **HASHING).stdout)["documents"]
    assert {"page.html", "note.md"} <= {one["path"] for one in listed}
    inhouse_within(data, "ask", f"When is soup served? {url}", **HASHING)
    assert heard == []


def test_s3_a_package_with_a_known_flaw_has_an_exception_that_is_still_true(repository: Path) -> None:
    listed = tomllib.loads((repository / "tests" / "threats" / "exceptions.toml").read_text(encoding="utf-8"))["exception"]
    assert listed
    for one in listed:
        assert version(one["package"]) == one["version"], f"{one['package']} has changed: is {one['flaw']} still open?"
        until = one["until"]
        assert datetime.datetime.now(datetime.UTC).date() <= until, f"the exception for {one['flaw']} has expired: look again"
        assert until - one["looked"] <= datetime.timedelta(days=400)
        path, _, name = one["test"].partition("::")
        tree = ast.parse((repository / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, "its proof is gone"
