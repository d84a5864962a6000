"""Operations: files that are their owner's alone, nothing written elsewhere, and a log on a disk that keeps its word."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HASHING = {"INHOUSE_EMBEDDING__KIND": "hashing"}
JOURNEY = """
umask 000
inhouse() { "$PYTHON" -c 'from service.cli import main; main()' "$@" || [ $? = 5 ]; }
inhouse init && inhouse ingest "$FOLDER" && inhouse ask "When is soup served?" && inhouse search soup
inhouse people add ana --name Ana --clearance public && inhouse keys create ana > "$OUT"
inhouse audit list > "$OUT" && inhouse quarantine list > "$OUT"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A little of each kind: text, a page, a sheet, a table, a file that cannot be read."""
    made = tmp_path / "folder"
    made.mkdir()
    (made / "soup.md").write_text("# Soup\n\nSoup is served at noon.\n")
    (made / "page.html").write_text("<html><body><p>Bread is served at one.</p></body></html>")
    (made / "table.csv").write_text("dish,time\nsoup,noon\n")
    (made / "broken.pdf").write_bytes(b"%PDF-1.7\nbroken")
    (made / "labels.toml").write_text(
        '[[rule]]\nglob = "*"\nkb = "kb"\nclassification = "public"\ngroups = ["everyone"]\nowner = "hr"\n'
    )
    return made


def test_o2_under_the_loosest_umask_everything_is_its_owner_s_alone_and_nothing_is_written_elsewhere(
    tmp_path: Path, folder: Path, strace: tuple[str, ...]
) -> None:
    if not strace:
        pytest.skip("needs strace, and the right to trace")
    data, trace = tmp_path / "d", tmp_path / "trace"
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "FOLDER": str(folder),
        "OUT": str(tmp_path / "out"),
        "INHOUSE_DATA_DIR": str(data),
        # What an installation has compiled already; a checkout may not have.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    calls = "trace=open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mknod,mknodat,bind"
    command = [*strace, "-y", "-e", calls, "-o", str(trace), "sh", "-c", JOURNEY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "noon" in done.stdout
    written = set()
    for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
        if " = -1 " in line:
            continue
        writes = "open" not in line.split("(")[0] or re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)", line)
        # The last path is what was opened or made; strace shows it resolved behind the descriptor.
        named = re.findall(r'"(/[^"]*)"', line) or re.findall(r"= \d+<(/[^>]*)>", line) or re.findall(r"<(/[^>]*)>", line)
        if writes and named:
            written.add(named[-1])
    assert any(path.startswith(str(data / "audit")) for path in written)
    allowed = (str(data), str(tmp_path / "out"), "/dev/null", "/dev/tty", "/proc/self/", "/proc/thread-self/")
    elsewhere = sorted(path for path in written if not path.startswith(allowed) and not re.match(r"/proc/\d+/", path))
    assert elsewhere == []
    loose = [path for path in [data, *data.rglob("*")] if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    assert loose == []
    assert not list((data / "tmp").rglob("*"))


NETWORKED = {
    "nfs4": "server:/export /d nfs4",
    "cifs": "//server/share /d cifs",
    "sshfs": "user@server:/x /d fuse.sshfs",
    "9p": "share /d 9p",
    "ceph": "mon:/ /d ceph",
    "blank in the path": "server:/export /d nfs",
}


@pytest.mark.parametrize("kind", NETWORKED)
def test_o3_doctor_refuses_a_network_file_system_under_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A double stands for what the kernel says is mounted; everything else is the real check."""
    import service.surroundings
    from service.doctor import examine

    data = tmp_path / ("d d" if kind == "blank in the path" else "d")
    (data / "audit").mkdir(parents=True, mode=0o700)
    (data / "people.db").touch(mode=0o600)
    device, _, system = NETWORKED[kind].split(" ")
    shown = str(data).replace(" ", "\\040")
    lines = [
        "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
        f"30 22 0:50 / {shown} rw,relatime shared:1 - {system} {device} rw",
        f"31 30 0:51 / {shown}/models rw,relatime - ext4 /dev/vdb rw",
        f"32 22 0:52 / {shown}x rw,relatime - ext4 /dev/vdc rw",
    ]
    (tmp_path / "mountinfo").write_text("\n".join(lines) + "\n")

    def found() -> dict[str, Any]:
        findings = {one.check: one for one in examine(data, None)}
        return {"state": findings["file system"].state, "text": findings["file system"].found}

    assert found()["state"] == "ok"
    monkeypatch.setattr(service.surroundings, "MOUNTS", tmp_path / "mountinfo")
    assert found()["state"] == "wrong"
    assert system in found()["text"]
    # A local disk mounted over the log's own folder is what counts.
    with (tmp_path / "mountinfo").open("a") as file:
        file.write(f"33 30 0:53 / {shown}/audit rw - xfs /dev/vdd rw\n")
    assert found()["state"] == "ok"


def test_o3_the_command_ends_with_an_error_where_doctor_finds_something_wrong(
    tmp_path: Path, inhouse: Any, inhouse_within: Any
) -> None:
    data = tmp_path / "d"
    assert inhouse_within(data, "init", **HASHING).returncode == 0
    findings = json.loads(inhouse_within(data, "doctor", "--json", **HASHING).stdout.splitlines()[0])["findings"]
    assert {one["check"] for one in findings} >= {"file system", "file modes", "start files", "audit log"}
    (data / "people.db").chmod(0o644)
    done = inhouse(data, "doctor", **HASHING)
    assert done.returncode == 1
    assert "chmod" in done.stdout
