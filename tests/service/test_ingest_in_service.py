"""Ingest while the service runs: the same words and codes through its socket, and nobody who waits for the other."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest

LABELS = '[[rule]]\nglob = "*"\nkb = "k"\nclassification = "internal"\ngroups = ["everyone"]\nowner = "o"\n'
QUICK = {"INHOUSE_EMBEDDING__KIND": "hashing"}
MANY = 150
"""Documents of a dozen passages each: dozens of commits where few passages are committed at a time."""

FEW_AT_A_TIME = """
import sys
import service.cli
import ingest.batching
import service.server
ingest.batching.BATCH_PASSAGES = int(sys.argv[1])
service.server._GOODBYE_SECONDS = 1
program = sys.argv[4]
del sys.argv[1:5]
exec(program)
"""


def in_commits_of(passages: int) -> tuple[str, ...]:
    """What comes before a service's command, `python -c PROGRAM …`: the same program, with commits of so few passages that a
    small folder takes many, and with a second instead of five for who is still connected when it ends."""
    return (sys.executable, "-c", FEW_AT_A_TIME, str(passages))


SECONDS = 90
"""Longest wait for something that must come; none of the waits is a measurement."""


def folder_of(root: Path, count: int) -> Path:
    root.mkdir()
    (root / "labels.toml").write_text(LABELS, encoding="utf-8")
    for number in range(count):
        parts = "".join(f"## Part {part}\n\nIt says the number {number * part} in many words.\n\n" for part in range(1, 13))
        (root / f"{number:04}.md").write_text(f"# Document {number}\n\n{parts}", encoding="utf-8")
    return root


def until(look: Callable[[], Any], what: str) -> Any:
    """What `look` gives as soon as it gives something."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")


class Owner:
    """The service and its data directory, and the command line as its client."""

    def __init__(self, service: Any, inhouse_within: Any) -> None:
        self.data: Path = service.data
        self.url: str = service.url
        self.keys = service.keys
        self.process: subprocess.Popen[str] = service.process
        self._inhouse = inhouse_within

    def run(self, *arguments: str, code: int = 0) -> Any:
        done = self._inhouse(self.data, *arguments, **QUICK)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr

    def begin(self, folder: Path) -> subprocess.Popen[str]:
        """Ingests in a process of its own, and waits until something of it is committed."""
        command = [sys.executable, "-c", "from service.cli import main; main()", "ingest", str(folder), "--json"]
        environment = {**os.environ, **QUICK, "INHOUSE_DATA_DIR": str(self.data)}
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)
        until(lambda: process.poll() is not None or self.newest(folder).get("passages", 0) > 0, "a first commit")
        assert process.poll() is None, process.communicate()
        return process

    def newest(self, folder: Path) -> dict[str, Any]:
        """The newest report of that folder, without another command line."""
        from service.control.client import ControlClient

        client, stop = ControlClient(self.data / "inhouse.sock"), threading.Event()
        reports = client.run("runs", {}, lambda event: None, stop)["runs"]
        return next((one for one in reports if one["source"] == str(folder)), {})

    def count(self) -> int:
        """The documents of every folder."""
        return len(self.run("documents", "list", "--limit", "10000", "--json")["documents"])


@pytest.fixture(scope="module")
def owner(
    tmp_path_factory: pytest.TempPathFactory, inhouse_within: Any, start_service: Callable[..., AbstractContextManager[Any]]
) -> Iterator[Owner]:
    """One service for the tests that leave it running, each with folders of its own."""
    data = tmp_path_factory.mktemp("owner") / "data"
    assert inhouse_within(data, "init", **QUICK).returncode == 0
    person = ("people", "add", "ana", "--name", "Ana", "--clearance", "internal", "--role", "user")
    assert inhouse_within(data, *person).returncode == 0
    keys = {"ana": json.loads(inhouse_within(data, "keys", "create", "ana", "--json").stdout)["secret"]}
    with start_service(data, keys, *in_commits_of(32), **QUICK) as service:
        yield Owner(service, inhouse_within)


def plain(text: str) -> str:
    """What is printed, without what differs from run to run."""
    return re.sub(r"run-\w+|\d+\.\d s", "…", text)


def test_through_the_socket_all_is_as_without_the_service(owner: Owner, tmp_path: Path, inhouse_within: Any) -> None:
    inhouse = inhouse_within
    mode = (owner.data / "inhouse.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    folder = folder_of(tmp_path / "documents", 5)
    (folder / "broken.docx").write_bytes(b"PK\x03\x04 half")
    alone = tmp_path / "alone"
    assert inhouse(alone, "init", **QUICK).returncode == 0
    for arguments in (("--dry-run",), (), ("--json",), ("--prune",)):
        with_service = inhouse(owner.data, "ingest", str(folder), *arguments, **QUICK)
        without = inhouse(alone, "ingest", str(folder), *arguments, **QUICK)
        assert with_service.returncode == without.returncode
        if "--json" in arguments:
            ours, theirs = json.loads(with_service.stdout), json.loads(without.stdout)
            differing = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
            assert differing <= {"id", "started", "ended", "seconds"}
        else:
            assert plain(with_service.stdout) == plain(without.stdout)
            assert plain(with_service.stderr) == plain(without.stderr)
    for words in (("ingest", str(tmp_path / "nowhere")), ("quarantine", "show", "q-nothing"), ("documents", "show", "nothing")):
        with_service, without = inhouse(owner.data, *words, **QUICK), inhouse(alone, *words, **QUICK)
        assert (with_service.returncode, plain(with_service.stderr)) == (without.returncode, plain(without.stderr))
        assert with_service.returncode != 0


def test_progress_comes_through_the_socket(owner: Owner, tmp_path: Path) -> None:
    from service.control.client import ControlClient

    folder, events = folder_of(tmp_path / "documents", 60), []
    client = ControlClient(owner.data / "inhouse.sock")
    client.run("ingest", {"folder": str(folder)}, events.append, threading.Event())
    told = [event["progress"] for event in events if "progress" in event]
    assert told
    assert all(one["of"] == 60 for one in told)
    assert [one["files"] for one in told] == sorted(one["files"] for one in told)


def test_while_one_ingests_others_ask_and_a_second_ingest_is_refused(owner: Owner, tmp_path: Path) -> None:
    process = owner.begin(folder_of(tmp_path / "documents", MANY))
    other = folder_of(tmp_path / "other", 1)
    headers = {"Authorization": f"Bearer {owner.keys['ana']}"}
    body = {"text": "document says the number"}
    answer = httpx2.post(f"{owner.url}/v1/search", json=body, headers=headers, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["hits"]
    told = owner.run("ingest", str(other), code=2)
    assert "an ingest run is on already" in told
    assert process.poll() is None, "the run ended before it was looked at"
    out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert json.loads(out)["added"] == MANY


def test_ctrl_c_of_the_client_stops_the_run_and_keeps_what_was_committed(owner: Owner, tmp_path: Path) -> None:
    folder, before = folder_of(tmp_path / "documents", MANY), owner.count()
    process = owner.begin(folder)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, errors
    report = json.loads(out)
    assert report["outcome"] == "interrupted"
    kept = owner.count() - before
    assert 0 < kept < MANY
    again = owner.run("ingest", str(folder), "--json")
    assert (again["unchanged"], again["added"]) == (kept, MANY - kept)


def test_a_killed_client_stops_its_run_as_ctrl_c_does(owner: Owner, tmp_path: Path) -> None:
    folder, before = folder_of(tmp_path / "documents", MANY), owner.count()
    process = owner.begin(folder)
    process.kill()
    process.communicate()
    until(lambda: owner.newest(folder)["outcome"] != "running", "the end of the run")
    assert owner.newest(folder)["outcome"] == "interrupted"
    kept = owner.count() - before
    assert 0 < kept < MANY
    assert owner.run("ingest", str(folder), "--json")["added"] == MANY - kept


def test_a_second_service_is_told_who_owns_the_directory(owner: Owner) -> None:
    told = owner.run("serve", "--port", "0", code=8)
    assert f"process {owner.process.pid} (inhouse serve" in told
    assert owner.run("status", "--json")


def test_the_service_ends_in_order_in_the_middle_of_a_run(
    tmp_path: Path, inhouse_within: Any, start_service: Callable[..., AbstractContextManager[Any]]
) -> None:
    data, folder = tmp_path / "data", folder_of(tmp_path / "documents", MANY)
    assert inhouse_within(data, "init", **QUICK).returncode == 0
    with start_service(data, {}, *in_commits_of(16), **QUICK) as service:
        owner = Owner(service, inhouse_within)
        process = owner.begin(folder)
    # Leaving the block asked the service to end, and looked that it did so in order.
    process.communicate(timeout=SECONDS)
    assert process.returncode not in (0, 5)
    kept = owner.count()
    assert 0 < kept < MANY
    assert owner.run("ingest", str(folder), "--json")["added"] == MANY - kept
    owner.run("audit", "verify")


def test_after_a_killed_service_the_next_command_recovers(tmp_path: Path, inhouse_within: Any) -> None:
    data, folder = tmp_path / "data", folder_of(tmp_path / "documents", MANY)
    assert inhouse_within(data, "init", **QUICK).returncode == 0
    command = [*in_commits_of(16), sys.executable, "-c", "from service.cli import main; main()", "serve", "--port", "0"]
    environment = {**os.environ, **QUICK, "INHOUSE_DATA_DIR": str(data)}
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    line = killed.stdout.readline()
    url = next(word for word in line.split() if word.startswith("http://"))
    owner = Owner(type("Killed", (), {"data": data, "url": url, "keys": {}, "process": killed}), inhouse_within)
    process = owner.begin(folder)
    killed.kill()
    killed.communicate()
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, errors
    assert "the connection to the service broke" in errors or "ended without an answer" in errors
    assert (data / "inhouse.sock").exists(), "a killed process removes nothing"
    kept = owner.count()
    assert kept > 0
    reports = owner.run("runs", "--json")["runs"]
    assert reports[0]["outcome"] == "interrupted"
    assert owner.run("ingest", str(folder), "--json")["added"] == MANY - kept
    owner.run("audit", "verify")
