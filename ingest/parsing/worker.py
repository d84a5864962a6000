"""The child that parses: limited, without a network, one file at a time, until its standard input ends."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ingest.parsing.frames import FrameError, FrameReader, encode
from ingest.parsing.types import ParsedDocument, ParseFailure, ParseReason

_HEARTBEAT_SECONDS = 1.0
_REQUEST_CAP = 1 << 20
_NEW_USER, _NEW_NETWORK, _DIE_WITH_PARENT = 0x10000000, 0x40000000, 1


def main() -> None:
    """Reads requests as frames on standard input and writes heartbeats and results on the descriptor of its stdout."""
    output = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not look like a frame
    sealed = _seal()
    lock = threading.Lock()
    _send(output, lock, {"ready": True, "sealed": sealed})
    reader = FrameReader(0, _REQUEST_CAP)
    busy = threading.Event()
    threading.Thread(target=_beat, args=(output, lock, busy), daemon=True).start()
    while True:
        try:
            request = reader.read(86_400)
        except FrameError:
            return
        _arm(int(request["cpu_seconds"]))
        busy.set()
        answer = _answer(request)
        busy.clear()
        _send(output, lock, answer)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from ingest.parsing.kreuzberg_door import parse

    try:
        outcome = parse(
            Path(str(request["path"])),
            str(request["name"]),
            output_bytes=int(request["output_bytes"]),
            tessdata=os.environ.get("TESSDATA_PREFIX"),
        )
    except MemoryError:
        outcome = ParseFailure(ParseReason.TOO_MUCH_MEMORY, "memory ran out")
    except OSError as error:
        outcome = ParseFailure(ParseReason.UNREADABLE, error.strerror or str(error))
    if isinstance(outcome, ParsedDocument) and len(outcome.text.encode("utf-8", "surrogatepass")) > request["output_bytes"]:
        outcome = ParseFailure(ParseReason.TOO_MUCH_OUTPUT, f"{len(outcome.text)} characters of text")
    if isinstance(outcome, ParseFailure):
        return {"failure": {"reason": outcome.reason.value, "detail": outcome.detail}}
    return {"document": asdict(outcome)}


def _seal() -> bool:
    """Leaves the network, dies with the parent, keeps no core; says whether the network is gone."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    flags = _NEW_NETWORK if os.geteuid() == 0 else _NEW_USER | _NEW_NETWORK
    return bool(library.unshare(flags) == 0)


def _arm(cpu_seconds: int) -> None:
    """Processor time counts for the whole process, so each file's limit starts from what is used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + cpu_seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _beat(output: int, lock: threading.Lock, busy: threading.Event) -> None:
    while True:
        time.sleep(_HEARTBEAT_SECONDS)
        if busy.is_set():
            _send(output, lock, {"alive": True})


def _send(output: int, lock: threading.Lock, message: dict[str, Any]) -> None:
    frame = memoryview(encode(message))
    with lock:
        while frame:
            frame = frame[os.write(output, frame) :]


if __name__ == "__main__":
    memory = int(sys.argv[1])
    if sys.platform.startswith("linux"):
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    os.nice(10)
    main()
