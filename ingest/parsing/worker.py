"""The child that parses and draws: limited and confined, one file at a time, until its end of the socket is closed."""

from __future__ import annotations

import base64
import contextlib
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ingest.parsing.confinement import confine, readable_places
from ingest.parsing.frames import FrameError, encode, receive_file
from ingest.parsing.pdfium_door import draw as draw_with_pdfium
from ingest.parsing.types import NoSuchPage, ParsedDocument, ParseFailure, ParseReason, Picture, PictureOutcome

_REQUEST_CAP = 1 << 20
_FILE_CAP = 1 << 30

Parse = Callable[..., ParsedDocument | ParseFailure]
"""Takes a file's bytes and its name, and `output_bytes` and `tessdata` by keyword."""

Draw = Callable[..., PictureOutcome]
"""Takes a file's bytes, and page, quote and before as a `PictureItem` has them."""


def work(memory_bytes: int, parse: Parse, draw: Draw = draw_with_pdfium) -> None:
    """Limits and confines this process, then takes requests with open files from the socket that is standard input, and
    writes heartbeats and results to the pipe that was standard output. Call it while there is one thread."""
    if sys.platform.startswith("linux"):
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_CAP, _FILE_CAP))
    os.nice(10)
    output = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not look like a frame
    requests = socket.socket(fileno=os.dup(0))
    tessdata = os.environ.get("TESSDATA_PREFIX")
    counters = _Counters()
    layers = confine(readable_places([Path(tessdata)] if tessdata else []), Path(os.environ["TMPDIR"]))
    lock, busy = threading.Lock(), _Busy()
    _send(output, lock, {"ready": True, "layers": asdict(layers)})
    threading.Thread(target=_beat, args=(output, lock, busy, counters), daemon=True).start()
    while True:
        try:
            request, file = receive_file(requests, _REQUEST_CAP)
        except FrameError:
            return
        _arm(int(request["cpu_seconds"]))
        busy.seconds = float(request["beat_seconds"])
        busy.event.set()
        answer = _answer(request, file, partial(_outcome, parse, draw, tessdata))
        busy.event.clear()
        _send(output, lock, answer)


class _Busy:
    """Set while a file is parsed, with the seconds between two heartbeats."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.seconds = 1.0


class _Counters:
    """What shows that work goes on: processor time, the heartbeat's own left out, and bytes read."""

    def __init__(self) -> None:
        self._read: int | None = None
        # Once confined, the process cannot open it; where there is none, processor time alone counts.
        with contextlib.suppress(OSError):
            self._read = os.open("/proc/self/io", os.O_RDONLY | os.O_CLOEXEC)

    def now(self) -> dict[str, float]:
        """Call it on the heartbeat's thread."""
        read = 0
        if self._read is not None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                read = int(os.pread(self._read, 512, 0).split()[1])
        return {"cpu": time.process_time() - time.thread_time(), "read": read}


def _answer(
    request: dict[str, Any], file: int, outcome: Callable[[bytes, dict[str, Any]], ParsedDocument | PictureOutcome]
) -> dict[str, Any]:
    most = int(request["output_bytes"])
    try:
        with open(file, "rb") as opened:
            content = opened.read()
        return _said(outcome(content, request), most)
    except MemoryError:
        failure = ParseFailure(ParseReason.TOO_MUCH_MEMORY, "memory ran out")
    except OSError as error:
        failure = ParseFailure(ParseReason.UNREADABLE, error.strerror or str(error))
    except BaseException as error:
        # A panic in native code is no Exception; what it leaves behind is not trusted with another file (see the parent).
        failure = ParseFailure(ParseReason.CRASHED, f"{type(error).__name__} in the parser")
    return _said(failure, most)


def _outcome(
    parse: Parse, draw: Draw, tessdata: str | None, content: bytes, request: dict[str, Any]
) -> ParsedDocument | PictureOutcome:
    if "page" in request:
        return draw(content, int(request["page"]), str(request["quote"]), int(request["before"]))
    return parse(content, str(request["name"]), output_bytes=int(request["output_bytes"]), tessdata=tessdata)


def _said(outcome: ParsedDocument | PictureOutcome, most: int) -> dict[str, Any]:
    """The outcome in JSON's types; one of more than `most` bytes is a failure."""
    if isinstance(outcome, ParsedDocument):
        if len(outcome.text.encode("utf-8", "surrogatepass")) <= most:
            return {"document": asdict(outcome)}
        outcome = ParseFailure(ParseReason.TOO_MUCH_OUTPUT, f"{len(outcome.text)} characters of text")
    if isinstance(outcome, Picture):
        if len(outcome.png) <= most:
            return {"picture": {**asdict(outcome), "png": base64.b64encode(outcome.png).decode("ascii")}}
        outcome = ParseFailure(ParseReason.TOO_MUCH_OUTPUT, f"a picture of {len(outcome.png)} bytes")
    if isinstance(outcome, NoSuchPage):
        return {"pages": outcome.pages}
    return {"failure": {"reason": outcome.reason.value, "detail": outcome.detail}}


def _arm(cpu_seconds: int) -> None:
    """Processor time counts for the whole process, so each file's limit starts from what is used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + cpu_seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _beat(output: int, lock: threading.Lock, busy: _Busy, counters: _Counters) -> None:
    while busy.event.wait():
        time.sleep(busy.seconds)
        if busy.event.is_set():
            _send(output, lock, counters.now())


def _send(output: int, lock: threading.Lock, message: dict[str, Any]) -> None:
    frame = memoryview(encode(message))
    with lock:
        while frame:
            frame = frame[os.write(output, frame) :]


if __name__ == "__main__":
    from ingest.parsing.kreuzberg_door import parse

    work(int(sys.argv[1]), parse)
