"""A file that its parser dies of, hangs on or drowns in costs itself alone: each limit, planted for real."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ingest.parsing.types import ParsedDocument, ParseFailure, ParseItem, ParseReason
from policies.errors import InhouseError

MIB = 2**20


def reason(outcome: object) -> ParseReason:
    assert isinstance(outcome, ParseFailure), outcome
    return outcome.reason


def costs_itself_alone(parser: Any, *, expected: ParseReason) -> ParseFailure:
    """Parses good, bad, good in one pool: the good ones come through, the bad one does not; returns why."""
    before = parser.outcomes(good=b"first")
    outcome = parser.outcomes(bad=b"x")["bad"]
    after = parser.outcomes(good=b"second")
    assert before["good"].text == "first"
    assert after["good"].text == "second"
    assert reason(outcome) is expected, outcome
    assert isinstance(outcome, ParseFailure)
    return outcome


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("os._exit(3)", "ended with 3"),
        ("class Panic(BaseException): pass\nraise Panic", "Panic"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_a_crash_is_told_as_one(plant: Any, body: str, said: str) -> None:
    assert said in costs_itself_alone(plant(body), expected=ParseReason.CRASHED).detail


@pytest.mark.parametrize("body", ["time.sleep(3600)", "ctypes.CDLL(None).sleep(3600)", "os.read(os.pipe()[0], 1)"])
def test_a_parser_that_stands_still_is_ended_although_its_interpreter_runs(plant: Any, body: str) -> None:
    costs_itself_alone(plant(body, silence_seconds=1), expected=ParseReason.TOO_MUCH_TIME)


@pytest.mark.parametrize(
    "work",
    [
        "sum(range(2_000_000))",  # some 20 to 50 ms of processor time
        "open(os.__file__, 'rb', buffering=0).read(8192)",
    ],
)
def test_a_slow_file_passes_as_long_as_its_parser_computes_or_reads(plant: Any, work: str) -> None:
    body = f"""
    for _ in range(12):
        {work}
        time.sleep(0.25)
    return ParsedDocument("slow and honest", (), "t", "text/plain")
    """
    outcome = plant(body, silence_seconds=1).outcomes(bad=b"x")["bad"]
    assert isinstance(outcome, ParsedDocument), outcome


@pytest.mark.parametrize("body", ["while True: pass", "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"])
def test_a_parser_that_spins_is_ended_by_the_kernel_when_its_processor_time_is_used_up(plant: Any, body: str) -> None:
    told = costs_itself_alone(plant(body, cpu_seconds=1), expected=ParseReason.TOO_MUCH_TIME)
    assert "processor time" in told.detail


def test_processor_time_is_counted_for_each_file_anew(plant: Any) -> None:
    body = """
    started = time.process_time()
    while time.process_time() - started < 0.8: pass
    return ParsedDocument("done", (), "t", "text/plain")
    """
    parser = plant(body, cpu_seconds=2)
    for _ in range(4):
        assert isinstance(parser.outcomes(bad=b"x")["bad"], ParsedDocument)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the kernel has no limit of address space that holds")
@pytest.mark.parametrize(
    "body",
    [
        "b'x' * (1 << 40)",
        "kept = []\nwhile True: kept.append(bytearray(1 << 24))",
        # As Rust and C++ end when an allocation fails.
        "os.write(2, b'memory allocation of 4294967296 bytes failed'); os.abort()",
    ],
)
def test_memory_without_end_is_told_as_that(plant: Any, body: str) -> None:
    costs_itself_alone(plant(body, memory_bytes=600 * MIB), expected=ParseReason.TOO_MUCH_MEMORY)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the kernel has no limit of address space that holds")
def test_memory_taken_natively_is_refused_by_the_kernel(plant: Any) -> None:
    body = """
    take = ctypes.CDLL(None).malloc
    take.restype, take.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    got = [take(1 << 26) for _ in range(64)]
    return ParsedDocument(f"{sum(one is not None for one in got)}", (), "t", "text/plain")
    """
    outcome = plant(body, memory_bytes=600 * MIB).outcomes(bad=b"x")["bad"]
    assert 0 < int(outcome.text) < 10


def test_more_text_than_allowed_is_too_much(plant: Any) -> None:
    body = "return ParsedDocument('x' * 3_000_000, (), 't', 'text/plain')"
    costs_itself_alone(plant(body, output_bytes=2 * MIB), expected=ParseReason.TOO_MUCH_OUTPUT)


def test_a_file_over_the_limit_is_not_read_at_all(plant: Any) -> None:
    parser = plant("ctypes.string_at(0)", file_bytes=1000)
    assert reason(parser.outcomes(bad=b"x" * 1001)["bad"]) is ParseReason.TOO_LARGE


def test_an_empty_file_has_no_text(plant: Any) -> None:
    assert reason(plant("ctypes.string_at(0)").outcomes(bad=b"")["bad"]) is ParseReason.EMPTY


def test_a_file_that_has_gone_is_unreadable(plant: Any, tmp_path: Path) -> None:
    assert reason(plant(None).outcome(tmp_path / "files" / "gone.txt")) is ParseReason.UNREADABLE


def test_what_became_a_link_or_a_pipe_since_it_was_found_is_not_read(plant: Any) -> None:
    parser = plant(None)
    link, pipe = parser.folder / "link.txt", parser.folder / "pipe.txt"
    link.symlink_to("/etc/hostname")
    os.mkfifo(pipe)
    assert reason(parser.outcome(link)) is ParseReason.UNREADABLE
    assert reason(parser.outcome(pipe)) is ParseReason.UNREADABLE


def test_a_file_without_permission_is_unreadable(plant: Any) -> None:
    parser = plant(None)
    assert isinstance(parser.outcomes(good=b"the worker runs now")["good"], ParsedDocument)
    secret = parser.folder / "secret.txt"
    secret.write_text("secret", encoding="utf-8")
    secret.chmod(0)
    if os.geteuid() == 0:
        # Permissions do not bind root: the file is opened as somebody who may come as far as its folder.
        closed = {one: one.stat().st_mode for one in parser.folder.parents if not one.stat().st_mode & 0o001}
        try:
            for folder, mode in closed.items():
                folder.chmod(mode | 0o001)
            os.seteuid(65534)
            outcome = parser.outcome(secret)
        finally:
            os.seteuid(0)
            for folder, mode in closed.items():
                folder.chmod(mode)
    else:
        outcome = parser.outcome(secret)
    assert reason(outcome) is ParseReason.UNREADABLE
    assert outcome.detail == "Permission denied"


def test_a_file_that_is_written_to_while_it_is_read_is_left_for_the_next_run(plant: Any) -> None:
    parser = plant("time.sleep(2)\nreturn ParsedDocument('half of it', (), 't', 'text/plain')")
    path = parser.folder / "growing.txt"
    path.write_bytes(b"half of it")

    def write() -> None:
        time.sleep(1)
        with path.open("ab") as file:
            file.write(b", and the other half")

    writer = threading.Thread(target=write)
    writer.start()
    outcome = parser.outcome(path)
    writer.join()
    assert reason(outcome) is ParseReason.CHANGED


def test_a_file_that_is_deleted_while_it_is_read_is_read_to_its_end(plant: Any) -> None:
    parser = plant("time.sleep(1)\nreturn ParsedDocument(content.decode(), (), 't', 'text/plain')")
    path = parser.folder / "going.txt"
    path.write_bytes(b"all of it")
    deleter = threading.Timer(0.3, path.unlink)
    deleter.start()
    outcome = parser.outcome(path)
    deleter.join()
    assert outcome.text == "all of it"


def test_a_worker_that_does_not_start_fails_the_run_and_blames_no_file(plant: Any) -> None:
    parser = plant("", raw=True)
    (parser.folder.parent / "planted.py").write_text("raise RuntimeError('no such library')", encoding="utf-8")
    with pytest.raises(InhouseError, match=r"does not start.*no such library"):
        parser.outcomes(bad=b"x")


def test_what_breaks_while_files_are_listed_reaches_the_run(plant: Any) -> None:
    def items() -> Any:
        yield ParseItem(Path("/nowhere/a.txt"), "a.txt")
        raise OSError("the disk has gone")

    with pytest.raises(OSError, match="the disk has gone"):
        list(plant(None).pool.parse(items()))


def test_leaving_early_ends_the_worker_in_the_middle_of_a_file(plant: Any) -> None:
    parser = plant("time.sleep(3600)", silence_seconds=3600)
    good, bad = parser.folder / "good.txt", parser.folder / "bad.txt"
    for path in (good, bad):
        path.write_bytes(b"x")
    results = parser.pool.parse(ParseItem(path, path.name) for path in (good, bad))
    assert next(results)[0].path == good
    results.close()
    assert list(parser.scratch.iterdir()) == []


def test_what_a_killed_run_left_behind_is_removed_by_the_next(plant: Any, tmp_path: Path) -> None:
    left = tmp_path / "scratch" / "parser-killed"
    left.mkdir(parents=True)
    (left / "text-of-a-document").write_text("confidential", encoding="utf-8")
    plant(None)
    assert not left.exists()
