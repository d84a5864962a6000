"""Fixtures that every room's tests share: the checkout, public data, and a real service over a small indexed folder."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

from policies.egress.switches import set_switches

set_switches()

# The gate must not hang on luck: the examples are the same each time. `--hypothesis-profile=default` looks for new ones.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.load_profile("gate")

ROOT = Path(__file__).resolve().parent.parent
LABELS = """
[[rule]]
glob = "*"
kb = "handbook"
classification = "internal"
groups = ["everyone"]
owner = "hr"

[[rule]]
glob = "board/*"
kb = "board"
classification = "confidential"
groups = ["directors"]
owner = "board"
"""
DOCUMENTS = {
    "leave.md": "# Annual leave\n\nStaff have 30 days of annual leave. Requests go to the line manager by 1 March.\n",
    "travel.md": "# Travel\n\nHotels are paid up to 140 euros a night. Taxis need a receipt.\n",
    "board/merger.md": "# Merger\n\nThe board plans to buy Tannhof Optics for 48 million euros in June.\n",
}
PEOPLE = {
    "ana": ("internal", (), ("user",)),
    "dora": ("confidential", ("directors",), ("user",)),
    "root": ("public", (), ("admin",)),
    "audra": ("public", (), ("auditor",)),
}


_TEMPORARY = {name: os.environ.get(name) for name in ("TMPDIR", "SQLITE_TMPDIR")}


def _restore_temporary_files() -> None:
    tempfile.tempdir = None
    for name, value in _TEMPORARY.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def restore_temporary_files() -> Callable[[], None]:
    """Puts temporary files where they were when the tests began: an operation sends its process's into its data directory."""
    return _restore_temporary_files


@pytest.fixture(autouse=True)
def _own_temporary_files() -> Iterator[None]:
    """No test has its temporary files where another's operation put them."""
    yield
    _restore_temporary_files()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of public data sets, where the machine has one; skips where it has not."""
    folder = Path(os.environ.get("INHOUSE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("needs the public test data: set INHOUSE_TEST_DATA to its folder")
    return folder


@dataclass(frozen=True)
class Service:
    """A running service."""

    data: Path
    url: str
    keys: Mapping[str, str]
    process: subprocess.Popen[str]

    def inhouse(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command line beside it, which goes through its socket."""
        return command_line_within(self.data, *arguments)


def command_line(data: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line on a data directory, in a process of its own."""
    command = [sys.executable, "-c", "from service.cli import main; main()", *arguments]
    whole = {**os.environ, "INHOUSE_DATA_DIR": str(data), **environment}
    return subprocess.run(command, env=whole, capture_output=True, text=True, timeout=240)


def command_line_within(data: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in this process, which spares the start of one: for what a test prepares or looks up, and for
    refusals. What is said of processes (locks, signals, files, memory) is shown only by `command_line`."""
    from service.cli.application import run

    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n", errors="backslashreplace")
    before, temporary, mask = dict(os.environ), tempfile.tempdir, os.umask(0o077)
    os.environ.update({"INHOUSE_DATA_DIR": str(data), **environment})
    try:
        with redirect_stdout(out), redirect_stderr(errors):
            code = run(list(arguments))
    finally:
        # An operation sends temporary files into its data directory, for as long as its process lives.
        os.umask(mask)
        tempfile.tempdir = temporary
        os.environ.clear()
        os.environ.update(before)
    said = []
    for stream in (out, errors):
        stream.seek(0)
        said.append(stream.read())
    return subprocess.CompletedProcess(["inhouse", *arguments], code, *said)


@contextmanager
def serving(data: Path, keys: Mapping[str, str], *before: str, **environment: str) -> Iterator[Service]:
    """A service over a data directory, on a free port; it must end in order when it is told to."""
    command = [*before, sys.executable, "-c", "from service.cli import main; main()", "serve", "--port", "0"]
    whole = {**os.environ, "INHOUSE_DATA_DIR": str(data), **environment}
    process = subprocess.Popen(command, env=whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "Serving" in line, process.stderr and process.stderr.read()
        yield Service(data, next(word for word in line.split() if word.startswith(("http://", "https://"))), keys, process)
    except BaseException:
        process.kill()
        raise
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def write_folder(folder: Path) -> None:
    """The documents and their labels."""
    for name, text in DOCUMENTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "labels.toml").write_text(LABELS, encoding="utf-8")


def indexed_directory(root: Path) -> tuple[Path, Path, dict[str, str]]:
    """A data directory with the documents indexed, their folder, and a key for each person."""
    data, folder = root / "data", root / "documents"
    write_folder(folder)
    for arguments in (("init",), ("ingest", str(folder))):
        done = command_line_within(data, *arguments)
        assert done.returncode == 0, done.stderr
    keys = {}
    for person, (clearance, groups, roles) in PEOPLE.items():
        given = [part for group in groups for part in ("--group", group)] + [p for role in roles for p in ("--role", role)]
        done = command_line_within(data, "people", "add", person, "--name", person.title(), "--clearance", clearance, *given)
        assert done.returncode == 0, done.stderr
        keys[person] = json.loads(command_line_within(data, "keys", "create", person, "--json").stdout)["secret"]
    return data, folder, keys


@pytest.fixture(scope="session")
def inhouse() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`command_line`, for tests that bring their own data directory."""
    return command_line


@pytest.fixture(scope="session")
def inhouse_within() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`command_line_within`, which starts no process."""
    return command_line_within


@pytest.fixture(scope="session")
def start_service() -> Callable[..., AbstractContextManager[Service]]:
    """`serving`, for tests that need a service of their own."""
    return serving


@pytest.fixture(scope="session")
def make_indexed() -> Callable[[Path], tuple[Path, Path, dict[str, str]]]:
    """`indexed_directory`, for tests that change what is in it."""
    return indexed_directory


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, str]]:
    """One indexed directory that the tests share; who changes documents takes `make_indexed`."""
    return indexed_directory(tmp_path_factory.mktemp("s"))


@pytest.fixture(scope="session")
def service(indexed: tuple[Path, Path, dict[str, str]]) -> Iterator[Service]:
    """The service over it."""
    data, _, keys = indexed
    with serving(data, keys, INHOUSE_SERVER__MAX_BODY_BYTES="20000") as running:
        yield running


@dataclass
class Workbench:
    """An installation of a test's own, open in this process: a folder, people, and operations without a command line."""

    installation: Any
    folder: Path

    def __call__(self, operation: str, **request: Any) -> dict[str, Any]:
        """Runs one operation as the service would."""
        from service.operations.run import run_in

        return run_in(self.installation, operation, request, lambda event: None, threading.Event())

    def ingest(self, **more: Any) -> dict[str, Any]:
        """Ingests the folder; the report."""
        return dict(self("ingest", folder=str(self.folder), **more)["run"])

    def document(self, path: str) -> dict[str, Any]:
        """A document of the whole index, by its path."""
        return next(one for one in self("documents.list")["documents"] if one["path"] == path)

    def events(self, *tags: str) -> list[Any]:
        """The records of these events, oldest first."""
        from policies.audit.query import records

        return [one for one in records(self.installation.directory / "audit", newest_first=False) if one.tag in tags]


@pytest.fixture
def workbench(tmp_path: Path) -> Iterator[Callable[..., Workbench]]:
    """Makes such an installation, with an embedder that starts at once, these settings on top, and the documents of
    `DOCUMENTS` in its folder, not ingested yet. People: those of `PEOPLE`, and the stewards sam and dirk (of directors)."""
    from service.settings import load_settings
    from service.wiring import Installation

    opened: list[Any] = []

    def make(**settings: str) -> Workbench:
        data, folder = tmp_path / "data", tmp_path / "documents"
        environment = {"INHOUSE_EMBEDDING__KIND": "hashing", **settings}
        assert command_line_within(data, "init", **environment).returncode == 0
        write_folder(folder)
        installation = Installation(data, load_settings(data, environment=environment))
        opened.append(installation)
        bench = Workbench(installation, folder)
        stewards = {
            "sam": ("internal", (), ("user", "steward")),
            "dirk": ("confidential", ("directors",), ("user", "steward")),
        }
        for person, (clearance, groups, roles) in {**PEOPLE, **stewards}.items():
            bench("people.add", id=person, name=person.title(), clearance=clearance, groups=groups, roles=roles)
        return bench

    yield make
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def strace() -> tuple[str, ...]:
    """The command that writes down the system calls of a process and its children; empty where this machine has no strace
    or forbids it. Since 5.3 it lets the kernel pick out the calls that are asked for, which hardly slows the process."""
    for picked in (("--seccomp-bpf",), ()):
        command = (shutil.which("strace") or "", "-f", "-qq", *picked)
        if command[0] and not subprocess.run([*command, "-e", "trace=network", "true"], capture_output=True).returncode:
            return command
    return ()


@pytest.fixture(scope="session")
def onnx_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default embedder's model directory, built once for all tests; they must leave it as it is."""
    from vectorstore.embedders.onnx import prepare

    model = tmp_path_factory.mktemp("models") / "onnx"
    prepare(model)
    return model


@pytest.fixture(scope="session", autouse=True)
def clients_may_leave() -> Iterator[None]:
    """No server of the tests prints a traceback of a client that left: for that Python 3.11 parses source, which can break what
    another thread parses at that moment ("AST constructor recursion depth mismatch")."""
    said = socketserver.BaseServer.handle_error

    def handle_error(server: socketserver.BaseServer, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            said(server, request, client_address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socketserver.BaseServer, "handle_error", handle_error)
        yield


def _module_of(path: str) -> ModuleType:
    """A file of the checkout, which is in no package, as a module."""
    spec = importlib.util.spec_from_file_location(f"{Path(path).stem}_for_all_tests", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def module_of() -> Callable[[str], ModuleType]:
    """Makes a module of a file, named from the root of the checkout, that is in no package."""
    return _module_of


@pytest.fixture(scope="session")
def model_double() -> ModuleType:
    """The server that speaks Ollama's protocol, with `Behaviour` and `ollama_server`; it lives beside the runtime's tests."""
    return _module_of("tests/service/ollama_server.py")


@pytest.fixture(scope="session")
def openai_double() -> ModuleType:
    """The server that speaks OpenAI's protocol, with `Behaviour` and `openai_server`."""
    return _module_of("tests/service/openai_server.py")


@pytest.fixture(scope="session")
def provider_double() -> ModuleType:
    """The identity provider that signs what a test wants, with `oidc_provider`."""
    return _module_of("tests/service/oidc_provider.py")


LLAMA_KEY = "key-of-the-tests"


@pytest.fixture(scope="session")
def tiny_gguf(test_data: Path) -> Path:
    """A tiny real model that tells stories, without a chat template."""
    model = test_data / "models" / "stories260K.gguf"
    if not model.is_file():
        pytest.skip("needs the tiny GGUF of the test data: models/stories260K.gguf")
    return model


@pytest.fixture
def gguf_data(tiny_gguf: Path, tmp_path: Path) -> Path:
    """A folder that has that model as `tiny`, and nothing else of a data directory."""
    from service.runtimes.model_files import ModelFolder

    pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel for this platform")
    ModelFolder(tmp_path).add(tiny_gguf, "tiny", None, lambda done, whole: None, threading.Event())
    return tmp_path


@pytest.fixture(scope="session")
def llama(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """llama.cpp with a tiny real model, listening on a Unix socket to who has the key."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel for this platform")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(tiny_gguf)
    parameters.model_alias = {"tiny"}
    parameters.n_ctx, parameters.verbosity, parameters.offline, parameters.ui = 2048, 0, True, False
    parameters.cache_ram_mib = 0
    # More threads wait for each other where the cores are busy, for a model that needs none.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.hostnames = [str(tmp_path_factory.mktemp("llama") / "l.sock")]
    parameters.api_keys = [LLAMA_KEY]
    parameters.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    return xllamacpp.Server(parameters)


@pytest.fixture(scope="session")
def llama_server(llama: Any) -> tuple[str, str]:
    """The URL of that llama.cpp's own server of OpenAI's protocol, and its key; the model is called `tiny`."""
    assert llama.listening_address.startswith("unix://")
    return llama.listening_address, LLAMA_KEY
