"""What is acknowledged is on the disk, in order, whoever writes; what cannot be written is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from policies.audit.events import EventTag
from policies.audit.log import AuditLog
from policies.audit.query import record, records
from policies.audit.records import GENESIS
from policies.audit.verify import verify
from policies.errors import AuditBroken, AuditUnavailable
from policies.identity import SYSTEM_ID


def add(log: AuditLog, count: int, actor: str = "anna") -> list[str]:
    return [log.append(EventTag.PERSON_DISABLED, actor, {"person": f"p{number}"}).id for number in range(count)]


def newest(directory: Path) -> Path:
    return max(directory.glob("audit-*.jsonl"))


def test_a_record_is_one_canonical_line_chained_to_the_one_before(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    first = log.append(EventTag.KEY_REVOKED, "anna", {"key": "k1"})
    second = log.append(EventTag.KEY_REVOKED, "bert", {"key": "k2"})
    lines = newest(tmp_path / "audit").read_bytes().splitlines(keepends=True)
    for line, made in zip(lines, [first, second], strict=True):
        said = json.loads(line)
        assert rfc8785.dumps(said) + b"\n" == line
        assert hashlib.sha256(rfc8785.dumps({k: v for k, v in said.items() if k != "hash"})).hexdigest() == said["hash"]
        assert (said["sequence"], said["actor"], said["payload"]) == (made.sequence, made.actor, made.payload)
    assert (first.sequence, first.previous) == (1, GENESIS)
    assert (second.sequence, second.previous) == (2, first.hash)
    assert second.id == f"2-{second.hash[:12]}"
    assert record(tmp_path / "audit", second.id) == second


def test_files_are_for_their_owner_alone_and_begin_anew_by_size(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "audit"
    add(AuditLog(directory, file_bytes=1000), 20)
    paths = sorted(directory.glob("audit-*.jsonl"))
    assert len(paths) > 3
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert all(path.stat().st_size < 2000 for path in paths)
    # Opened again, it goes on where it was.
    add(AuditLog(directory, file_bytes=1000), 1)
    assert verify(directory).records == 21


def test_several_events_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    good = (EventTag.KEY_REVOKED, "anna", {"key": "k"})
    assert [made.sequence for made in log.append_all([good] * 3)] == [1, 2, 3]
    with pytest.raises(AuditUnavailable):
        log.append_all([good, (EventTag.KEY_REVOKED, "anna", {"key": float("nan")})])
    assert log.append_all([]) == []
    assert verify(tmp_path / "audit").records == 3


def test_many_threads_make_one_chain(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", file_bytes=5000)
    made: list[str] = []
    threads = [threading.Thread(target=lambda name=name: made.extend(add(log, 25, name))) for name in ("a", "b", "c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(tmp_path / "audit", expected=made).records == len(set(made)) == 100


WRITER = """
import sys
from pathlib import Path
from policies.audit.events import EventTag
from policies.audit.log import AuditLog
log = AuditLog(Path(sys.argv[1]), file_bytes=int(sys.argv[3]))
for number in range(int(sys.argv[2])):
    print(log.append(EventTag.PERSON_DISABLED, "anna", {"person": f"p{number}"}).id, flush=True)
"""


def writer(directory: Path, count: int, *, under: tuple[str, ...] = (), file_bytes: int = 4000) -> subprocess.Popen[str]:
    command = [*under, sys.executable, "-c", WRITER, str(directory), str(count), str(file_bytes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_several_processes_make_one_chain(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    writers = [writer(directory, 30) for _ in range(3)]
    own = add(AuditLog(directory, file_bytes=4000), 30)
    made = [line for one in writers for line in one.communicate(timeout=120)[0].split()]
    assert verify(directory, expected=[*made, *own]).records == len({*made, *own}) == 120


@pytest.mark.parametrize(
    ("tag", "payload", "said"),
    [
        (EventTag.KEY_REVOKED, {}, "lacks the field 'key'"),
        (EventTag.KEY_REVOKED, {"key": 1}, "a int in 'key'"),
        (EventTag.KEY_REVOKED, {"key": "k", "colour": "red"}, "no field 'colour'"),
        (EventTag.SEARCH_RUN, {"policy": "p", "passages": ["1"], "contents": []}, "a list in 'passages'"),
        (EventTag.DOCUMENT_VIEWED, {"document": "d", "version": True, "path": "p", "text": True}, "a bool in 'version'"),
        (EventTag.DOCUMENT_VIEWED, {"document": "d", "version": 2**60, "path": "p", "text": True}, "not JSON"),
    ],
)
def test_a_payload_that_is_not_its_events_is_refused(tmp_path: Path, tag: EventTag, payload: dict, said: str) -> None:  # type: ignore[type-arg]
    log = AuditLog(tmp_path / "audit")
    with pytest.raises(AuditUnavailable, match=said):
        log.append(tag, "anna", payload)
    assert verify(tmp_path / "audit").records == 0


@pytest.mark.parametrize("name", ["a\nb", '"}\n{"form":1', "\x1b[31mred", "=cmd|x", "\u2028", "bytes-\udcff", "\x00", "é"])
def test_l5_no_name_forges_a_line(tmp_path: Path, name: str) -> None:
    log = AuditLog(tmp_path / "audit")
    log.append(EventTag.PERSON_DISABLED, name, {"person": name})
    log.append(EventTag.PERSON_DISABLED, "anna", {"person": "bert"})
    assert newest(tmp_path / "audit").read_bytes().count(b"\n") == 2
    assert verify(tmp_path / "audit").records == 2
    found = next(records(tmp_path / "audit", newest_first=False))
    assert found.actor == found.payload["person"] == name.encode("utf-8", "backslashreplace").decode()
    assert [one.sequence for one in records(tmp_path / "audit", actor=found.actor)] == [1]


# What a crash leaves


@given(st.data())
def test_a_line_cut_anywhere_is_healed_and_no_whole_record_is_lost(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("audit")
    count = data.draw(st.integers(1, 6), label="records")
    made = add(AuditLog(directory, file_bytes=700), count)
    path = newest(directory)
    whole = path.read_bytes()
    last = whole[whole.rfind(b"\n", 0, -1) + 1 :]
    cut = data.draw(st.integers(1, len(last)), label="bytes cut off")
    path.write_bytes(whole[: len(whole) - cut])
    log = AuditLog(directory, file_bytes=700)
    kept = made if cut == 1 else made[:-1]
    expected_healing = cut != len(last)
    after = log.append(EventTag.PERSON_DISABLED, "anna", {"person": "after"})
    assert after.sequence == len(kept) + 1 + expected_healing
    assert verify(directory, expected=[*kept, after.id]).records == after.sequence
    told = list(records(directory, tag=EventTag.AUDIT_RECOVERED))
    assert len(told) == expected_healing
    if told:
        torn = b"" if cut == 1 else last[:-cut]
        assert told[0].actor == SYSTEM_ID
        assert told[0].payload == {
            "file": path.name,
            "kept": cut == 1,
            "bytes_cut": len(torn),
            "sha256_cut": hashlib.sha256(torn).hexdigest(),
        }


@pytest.mark.parametrize("junk", [b"x", b"\0\0\0\0", b'{"actor":"an', b" ", b"\xff\xfe", b"{}"])
def test_what_follows_the_last_line_is_cut_off_and_told(tmp_path: Path, junk: bytes) -> None:
    made = add(AuditLog(tmp_path), 3)
    with newest(tmp_path).open("ab") as file:
        file.write(junk)
    assert verify(tmp_path).unfinished_bytes == len(junk)
    AuditLog(tmp_path)
    found = verify(tmp_path, expected=made)
    assert (found.records, found.unfinished_bytes) == (4, 0)


def test_a_whole_record_whose_newline_was_overwritten_is_kept(tmp_path: Path) -> None:
    made = add(AuditLog(tmp_path), 3)
    path = newest(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    AuditLog(tmp_path)
    assert verify(tmp_path, expected=made).records == 4


def test_a_running_log_heals_what_another_process_left(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    made = add(log, 2)
    with newest(tmp_path).open("ab") as file:
        file.write(b'{"actor":"x"')
    made += add(log, 1)
    assert verify(tmp_path, expected=made).records == 4


def test_a_crash_between_a_new_file_and_its_first_line(tmp_path: Path) -> None:
    made = add(AuditLog(tmp_path, file_bytes=700), 4)
    (tmp_path / "audit-000000000005.jsonl").touch()
    assert verify(tmp_path).records == 4
    made += add(AuditLog(tmp_path, file_bytes=700), 1)
    assert verify(tmp_path, expected=made).records == 5


# What keeps a record from being written


@pytest.mark.parametrize(
    "break_it",
    [
        lambda path: path.write_bytes(path.read_bytes().replace(b'"p2"', b'"p9"')),
        lambda path: path.write_bytes(path.read_bytes()[:-5] + b"00}}\n"),
        lambda path: path.rename(path.with_name("audit-000000000007.jsonl")),
        lambda path: path.rename(path.with_name("audit-1.jsonl")),
    ],
)
def test_nothing_is_written_behind_a_broken_end(tmp_path: Path, break_it) -> None:  # type: ignore[no-untyped-def]
    add(AuditLog(tmp_path), 3)
    break_it(newest(tmp_path))
    before = newest(tmp_path).read_bytes()
    if newest(tmp_path).name == "audit-1.jsonl" or newest(tmp_path).name == "audit-000000000007.jsonl":
        (tmp_path / newest(tmp_path).name).write_bytes(b"")
        before = b""
    with pytest.raises(AuditUnavailable, match="broken") as caught:
        AuditLog(tmp_path)
    assert "verify" in caught.value.hint
    assert newest(tmp_path).read_bytes() == before


@pytest.mark.parametrize(
    "cut", [lambda path: path.unlink(), lambda path: os.truncate(path, 0), lambda path: os.truncate(path, 330)]
)
def test_l2_a_log_that_is_cut_while_it_is_open_is_not_written_to(tmp_path: Path, cut) -> None:  # type: ignore[no-untyped-def]
    log = AuditLog(tmp_path / "audit")
    add(log, 4)
    cut(newest(tmp_path / "audit"))
    with pytest.raises(AuditUnavailable):
        add(log, 1)


def test_l4_the_log_follows_no_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    directory = tmp_path / "audit"
    log = AuditLog(directory)
    (directory / "audit-000000000001.jsonl").symlink_to(target)
    with pytest.raises(AuditUnavailable):
        add(log, 1)
    assert target.read_bytes() == b""


def test_l1_a_lock_that_is_held_too_long_refuses(tmp_path: Path) -> None:
    from filelock import FileLock

    log = AuditLog(tmp_path, wait_seconds=0.05)
    with FileLock(tmp_path / "lock"), pytest.raises(AuditUnavailable):
        add(log, 1)
    add(log, 1)


def test_l1_no_directory_no_log(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuditUnavailable) as caught:
        AuditLog(tmp_path / "file" / "audit")
    assert caught.value.hint


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; skips where nobody may mount one."""
    point = tmp_path / "disk"
    point.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None or sys.platform != "linux":
        pytest.skip("needs root on Linux, to mount a small file system")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "none", str(point)], capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    yield point
    subprocess.run(["umount", str(point)], check=True)


def test_l1_a_full_disk_refuses_and_leaves_a_whole_log(small_disk: Path) -> None:
    log = AuditLog(small_disk / "audit", file_bytes=9000)
    made: list[str] = []

    def fill() -> None:
        while True:
            made.extend(add(log, 1))

    with pytest.raises(AuditUnavailable, match="No space left") as caught:
        fill()
    assert "Free some space" in caught.value.hint
    assert len(made) > 20
    assert verify(small_disk / "audit", expected=made).records == len(made)
    (small_disk / "room").unlink(missing_ok=True)
    oldest = min((small_disk / "audit").glob("audit-*.jsonl"))
    kept = oldest.read_bytes()
    # With room again (an old file moved elsewhere) it goes on where it was.
    oldest.unlink()
    made += add(log, 1)
    newest(small_disk / "audit").with_name(oldest.name)
    assert next(records(small_disk / "audit")).id == made[-1]
    assert kept


def test_l1_a_read_only_disk_refuses(small_disk: Path) -> None:
    log = AuditLog(small_disk / "audit")
    made = add(log, 2)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for attempt in (lambda: add(log, 1), lambda: AuditLog(small_disk / "audit")):
        with pytest.raises(AuditUnavailable, match="Read-only"):
            attempt()
    # Reading is all that an auditor needs.
    assert verify(small_disk / "audit", expected=made).records == 2
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    add(log, 1)
    assert verify(small_disk / "audit", expected=made).records == 3


@pytest.fixture(scope="module")
def strace() -> str:
    """The fault injector; skips where it cannot run."""
    found = shutil.which("strace")
    if found is None or subprocess.run([found, "-f", "-e", "trace=none", "true"], capture_output=True).returncode:
        pytest.skip("needs strace, and the right to trace")
    return found


def faulty(strace: str, directory: Path, fault: str) -> tuple[list[str], str]:
    """Runs a writer of 12 records over several files under a fault; returns the ids it was given, and its errors."""
    writing = writer(directory, 12, under=(strace, "-f", "-qq", "-o", "/dev/null", "-e", f"inject={fault}"), file_bytes=900)
    output, errors = writing.communicate(timeout=120)
    return output.split(), errors


@pytest.mark.parametrize("call", ["fsync", "pwrite64", "flock", "ftruncate"])
@pytest.mark.parametrize("when", [2, 5, 9])
def test_l1_a_fault_of_the_disk_refuses_and_loses_nothing(strace: str, tmp_path: Path, call: str, when: int) -> None:
    directory = tmp_path / "audit"
    made, errors = faulty(strace, directory, f"{call}:error=EIO:when={when}+")
    if call != "ftruncate":
        assert "AuditUnavailable" in errors
        assert len(made) < 12
    assert verify(directory, expected=made).records >= len(made)
    made += add(AuditLog(directory, file_bytes=900), 1)
    assert verify(directory, expected=made).unfinished_bytes == 0


@pytest.mark.parametrize("call", ["fsync", "pwrite64", "openat"])
@pytest.mark.parametrize("when", [3, 6, 9, 11])
def test_l1_killed_at_any_call_nothing_acknowledged_is_lost(strace: str, tmp_path: Path, call: str, when: int) -> None:
    directory = tmp_path / "audit"
    directory.mkdir()
    add(AuditLog(directory, file_bytes=900), 1)
    # openat is called hundreds of times before the first write: count on from there.
    number = when if call != "openat" else when + opens_before_writing(strace, tmp_path)
    made, _ = faulty(strace, directory, f"{call}:signal=KILL:when={number}")
    assert len(made) < 12
    verify(directory, expected=made)
    made += add(AuditLog(directory, file_bytes=900), 1)
    assert verify(directory, expected=made).unfinished_bytes == 0


def opens_before_writing(strace: str, tmp_path: Path) -> int:
    trace = tmp_path / "trace"
    writer(tmp_path / "dry", 1, under=(strace, "-f", "-qq", "-o", str(trace), "-e", "trace=openat")).communicate(timeout=120)
    lines = trace.read_text().splitlines()
    return next(number for number, line in enumerate(lines) if "audit-0" in line)


def test_the_disk_has_the_record_before_it_is_acknowledged(strace: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    under = (strace, "-f", "-qq", "-y", "-o", str(trace), "-e", "trace=pwrite64,fsync,write")
    made, _ = writer(tmp_path / "audit", 3, under=under, file_bytes=700).communicate(timeout=120)
    calls = [line for line in trace.read_text().splitlines() if str(tmp_path) in line or "write(1<" in line]
    # A line and its end may be told in two writes, where output is not buffered.
    order = [
        "written" if "pwrite64" in one else "told" if "write(1<" in one else "synced"
        for one in calls
        if "write(1<" not in one or '"\\n"' not in one
    ]
    first = order.index("told")
    # The first record: the new directory's parent, the line, the file, the directory that names the new file.
    assert order[:first] == ["synced", "written", "synced", "synced"]
    assert len(made.split()) == 3
    for number, what in enumerate(order):
        if what == "told":
            assert order[number - 1] == "synced"


def test_a_broken_log_is_named_by_verify_in_the_same_words(tmp_path: Path) -> None:
    add(AuditLog(tmp_path), 3)
    path = newest(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"p2"', b'"p9"'))
    with pytest.raises(AuditBroken, match="was changed"):
        verify(tmp_path)
    with pytest.raises(AuditUnavailable, match="was changed"):
        AuditLog(tmp_path)
