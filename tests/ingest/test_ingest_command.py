"""Ingest through the command line: what is counted, refused, forgotten, resumed, and what a kill leaves."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LABELS = '[[rule]]\nglob = "*.md"\nkb = "k"\nclassification = "internal"\ngroups = ["staff"]\nowner = "o"\n'
COMMAND = [sys.executable, "-c", "from service.cli import main; main()"]
MANY_COMMITS = [sys.executable, "-c", f"import ingest.batching; ingest.batching.BATCH_PASSAGES = 4; {COMMAND[2]}"]
ROUNDS = int(os.environ.get("INHOUSE_CRASH_ROUNDS", "3"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A data directory of its own, and an embedder that starts at once."""
    return {**os.environ, "INHOUSE_DATA_DIR": str(tmp_path / "data"), "INHOUSE_EMBEDDING__KIND": "hashing"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    (made / "labels.toml").write_text(LABELS, encoding="utf-8")
    for number in range(6):
        (made / f"{number}.md").write_text(f"# Document {number}\n\nIt says the number {number}.\n", encoding="utf-8")
    return made


@pytest.fixture(scope="session")
def inhouse(inhouse_within: Any) -> Callable[..., Any]:
    """Runs a command; its JSON where it printed some, else its text and errors."""

    def ran(environment: dict[str, str], *arguments: str, code: int = 0) -> Any:
        done = inhouse_within(Path(environment["INHOUSE_DATA_DIR"]), *arguments, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout + done.stderr

    return ran


def counts(report: dict[str, Any]) -> dict[str, int]:
    return {name: report[name] for name in ("added", "changed", "unchanged", "removed", "relabelled") if report[name]}


def test_each_file_is_counted_once_and_an_unchanged_one_costs_nothing(
    environment: dict[str, str], folder: Path, inhouse: Any
) -> None:
    inhouse(environment, "init")
    assert counts(inhouse(environment, "ingest", str(folder), "--json")) == {"added": 6}
    assert counts(inhouse(environment, "ingest", str(folder), "--json")) == {"unchanged": 6}
    os.utime(folder / "0.md", (1, 1))
    (folder / "1.md").write_text("# Document 1\n\nIt says another number.\n", encoding="utf-8")
    (folder / "6.md").write_text("# Document 6\n\nNew.\n", encoding="utf-8")
    assert counts(inhouse(environment, "ingest", str(folder), "--json")) == {"added": 1, "changed": 1, "unchanged": 5}
    assert "another number" in str(inhouse(environment, "search", "another number", "--json"))


def test_a_dry_run_changes_nothing(environment: dict[str, str], folder: Path, inhouse: Any) -> None:
    inhouse(environment, "init")
    inhouse(environment, "ingest", str(folder), "--dry-run")
    assert inhouse(environment, "documents", "list", "--json")["documents"] == []


def test_what_no_rule_labels_is_refused_until_one_does(environment: dict[str, str], folder: Path, inhouse: Any) -> None:
    (folder / "secret.txt").write_text("Nobody said who may read this.", encoding="utf-8")
    inhouse(environment, "init")
    inhouse(environment, "ingest", str(folder), code=5)
    entries = inhouse(environment, "quarantine", "list", "--json")["quarantine"]
    assert [(one["path"], one["reason"]) for one in entries] == [("secret.txt", "no-label")]
    assert "secret.txt" not in str(inhouse(environment, "documents", "list", "--json"))
    (folder / "labels.toml").write_text(LABELS.replace("*.md", "*"), encoding="utf-8")
    inhouse(environment, "ingest", str(folder))
    assert inhouse(environment, "quarantine", "list", "--json")["quarantine"] == []


def test_a_changed_label_moves_documents_without_reading_them_again(
    environment: dict[str, str], folder: Path, inhouse: Any
) -> None:
    inhouse(environment, "init")
    inhouse(environment, "ingest", str(folder))
    (folder / "labels.toml").write_text(LABELS.replace("internal", "confidential"), encoding="utf-8")
    assert counts(inhouse(environment, "ingest", str(folder), "--json")) == {"relabelled": 6}
    listed = inhouse(environment, "documents", "list", "--json")["documents"]
    assert {one["classification"] for one in listed} == {"confidential"}


def test_prune_removes_what_has_gone_and_asks_before_it_removes_much(
    environment: dict[str, str], folder: Path, inhouse: Any
) -> None:
    inhouse(environment, "init")
    inhouse(environment, "ingest", str(folder))
    (folder / "0.md").unlink()
    assert "removed" not in counts(inhouse(environment, "ingest", str(folder), "--json"))
    assert counts(inhouse(environment, "ingest", str(folder), "--prune", "--json"))["removed"] == 1
    for number in (1, 2, 3):
        (folder / f"{number}.md").unlink()
    inhouse(environment, "ingest", str(folder), "--prune", code=6)
    assert len(inhouse(environment, "documents", "list", "--json")["documents"]) == 5


def test_a_broken_file_costs_itself_alone(environment: dict[str, str], folder: Path, inhouse: Any) -> None:
    (folder / "labels.toml").write_text(LABELS.replace("*.md", "*"), encoding="utf-8")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\n" + b"\x00\xff" * 200)
    (folder / "empty.docx").write_bytes(b"")
    (folder / "not.xlsx").write_bytes(b"PK\x03\x04 not a zip")
    (folder / "link.md").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe.md")
    inhouse(environment, "init")
    inhouse(environment, "ingest", str(folder), code=5)
    refused = {one["path"]: one for one in inhouse(environment, "quarantine", "list", "--json")["quarantine"]}
    assert {"broken.pdf", "empty.docx", "not.xlsx"} <= set(refused)
    assert len(inhouse(environment, "documents", "list", "--json")["documents"]) == 6


def index(inhouse: Callable[..., Any], data: Path) -> list[tuple[Any, ...]]:
    """Every live document and every passage that a search of its words finds, without ids and times. Scores are left out:
    word statistics count a removed passage until its segment is merged."""
    environment = {**os.environ, "INHOUSE_DATA_DIR": str(data), "INHOUSE_EMBEDDING__KIND": "hashing"}
    listed = inhouse(environment, "documents", "list", "--limit", "10000", "--json")["documents"]
    found = inhouse(environment, "search", "number document says", "--limit", "100", "--json")["hits"]
    documents = sorted((one["path"], one["sha256"], one["passages"], one["classification"]) for one in listed)
    return [*documents, *sorted((one["path"], one["start"], one["end"], one["text"]) for one in found)]


def started(environment: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    """An ingest in many commits that has got through its start: its run is in the audit log."""
    log = Path(environment["INHOUSE_DATA_DIR"]) / "audit"
    before = sum(path.stat().st_size for path in log.glob("*.jsonl"))
    process = subprocess.Popen(
        [*MANY_COMMITS, "ingest", str(folder)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and sum(path.stat().st_size for path in log.glob("*.jsonl")) == before:
        time.sleep(0.005)
    return process


def write_documents(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number}.md").write_text(f"# Document {number}\n\nIt says the number {number}.\n", encoding="utf-8")


def newest_state(data: Path) -> str:
    """How the newest run stands, or stood when its process was killed."""
    with contextlib.closing(sqlite3.connect(data / "runs.db")) as database:
        return str(database.execute("select state from run order by started desc, rowid desc limit 1").fetchone()[0])


@pytest.mark.timeout(300 + 30 * ROUNDS)
def test_killed_at_random_moments_the_index_ends_as_one_made_from_scratch(
    environment: dict[str, str], folder: Path, inhouse: Any, tmp_path: Path
) -> None:
    chance = random.Random(20261124)
    write_documents(folder, 40)
    inhouse(environment, "init")
    process = started(environment, folder)
    began = time.monotonic()
    process.communicate()
    seconds = time.monotonic() - began
    cut = 0
    for _ in range(5 * ROUNDS):
        for number in chance.sample(range(40), 20):
            changed = folder / f"{number}.md"
            changed.write_text(changed.read_text(encoding="utf-8") + f"\nMore: {chance.random()}.\n", encoding="utf-8")
        process = started(environment, folder)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, seconds))
        process.kill()
        process.communicate()
        # A machine may be busier in one minute than in the next: the moments are sought where the runs are. A process that is
        # killed may have ended its run.
        state = newest_state(tmp_path / "data")
        seconds *= 1.2 if state == "running" else 0.7
        cut += state == "running"
        if cut == ROUNDS:
            break
    inhouse(environment, "ingest", str(folder))
    scratch = {**environment, "INHOUSE_DATA_DIR": str(tmp_path / "scratch")}
    inhouse(scratch, "init")
    inhouse(scratch, "ingest", str(folder))
    outcomes = [one["outcome"] for one in inhouse(environment, "runs", "--limit", "1000", "--json")["runs"]]
    assert cut == ROUNDS
    assert outcomes.count("interrupted") >= ROUNDS, outcomes
    assert index(inhouse, tmp_path / "data") == index(inhouse, tmp_path / "scratch")
    inhouse(environment, "audit", "verify")


def test_ctrl_c_keeps_what_was_committed_and_the_next_run_goes_on(
    environment: dict[str, str], folder: Path, inhouse: Any
) -> None:
    write_documents(folder, 200)
    inhouse(environment, "init")
    process = started(environment, folder)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Run the same command again" in said
    interrupted = inhouse(environment, "runs", "--json")["runs"][0]
    assert interrupted["outcome"] == "interrupted"
    listed = inhouse(environment, "documents", "list", "--limit", "10000", "--json")["documents"]
    assert len(listed) == interrupted["added"] < 200
    report = inhouse(environment, "ingest", str(folder), "--json")
    assert counts(report) == {"added": 200 - len(listed), **({"unchanged": len(listed)} if listed else {})}


def test_a_second_process_is_told_who_owns_the_directory(
    environment: dict[str, str], folder: Path, inhouse: Any, tmp_path: Path
) -> None:
    from service.ownership import owned

    inhouse(environment, "init")
    with owned(tmp_path / "data", "ingest"):
        told = inhouse(environment, "ingest", str(folder), code=8)
    assert f"process {os.getpid()}" in told


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 3 MiB."""
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None or sys.platform != "linux":
        pytest.skip("needs root on Linux, to mount a small file system")
    made = tmp_path / "small"
    made.mkdir()
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "none", str(made)], capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    yield made
    gc.collect()
    subprocess.run(["umount", str(made)], check=True)


def remount(folder: Path, options: str) -> None:
    """Mounts the small file system anew. Files that this process had mapped stay open until they are collected."""
    gc.collect()
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_full_disk_is_said_and_leaves_the_index_whole(
    small_disk: Path, folder: Path, environment: dict[str, str], inhouse: Any
) -> None:
    tight = {**environment, "INHOUSE_DATA_DIR": str(small_disk / "data")}
    inhouse(tight, "init")
    for number in range(6, 60):
        (folder / f"{number}.md").write_text(f"# Document {number}\n\n" + f"word{number} " * 8000, encoding="utf-8")
    done = subprocess.run([*COMMAND, "ingest", str(folder)], env=tight, capture_output=True, text=True, timeout=120)
    assert done.returncode in (7, 10), done.stderr
    assert "Traceback" not in done.stderr
    assert "space" in done.stderr or "full" in done.stderr
    remount(small_disk, "size=200m")
    inhouse(tight, "ingest", str(folder))
    assert len(inhouse(tight, "documents", "list", "--json")["documents"]) == 60
    inhouse(tight, "audit", "verify")


def test_a_read_only_directory_is_said_and_nothing_is_written(
    small_disk: Path, folder: Path, environment: dict[str, str], inhouse: Any
) -> None:
    fixed = {**environment, "INHOUSE_DATA_DIR": str(small_disk / "data")}
    inhouse(fixed, "init")
    remount(small_disk, "ro")
    before = contents(small_disk)
    said = inhouse(fixed, "ingest", str(folder), code=7)
    assert "Read-only file system" in said
    assert "Traceback" not in said
    assert contents(small_disk) == before
    remount(small_disk, "rw")
    assert counts(inhouse(fixed, "ingest", str(folder), "--json")) == {"added": 6}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
