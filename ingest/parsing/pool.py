"""Parses many files in worker processes; a file that kills its worker costs itself alone."""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ingest.parsing.frames import FrameError, FrameReader, FrameTimeout, encode
from ingest.parsing.ocr import tessdata_folder
from ingest.parsing.types import ParsedDocument, ParseFailure, ParseItem, ParseReason, ParserLimits
from policies.egress.switches import SWITCHES
from vectorstore.types import Page

_FILES_BEFORE_RECYCLING = 200
"""Parsers leak; a fresh process every so often costs less than a second."""

_START_SECONDS = 60.0
_BYTES_PER_CPU_SECOND = 200_000
"""What an honest slow file needs at the least: scanned pages take some 6 s each and are some megabytes."""

_JSON_GROWTH = 6
"""One character becomes at most six in ASCII JSON."""

Outcome = ParsedDocument | ParseFailure


class ParserPool:
    """`workers` child processes under `limits`. Use as a context manager; leaving it ends the children."""

    def __init__(self, limits: ParserLimits, workers: int, temporary: Path | None = None) -> None:
        self._limits = limits
        self._workers = [_Worker(limits, temporary) for _ in range(workers)]

    def parse(self, items: Iterable[ParseItem]) -> Iterator[tuple[ParseItem, Outcome]]:
        """Each item with its outcome, as they come; no more than a few items are taken ahead of what was given out."""
        tasks: queue.Queue[ParseItem | None] = queue.Queue(maxsize=len(self._workers))
        results: queue.Queue[tuple[ParseItem, Outcome] | None] = queue.Queue(maxsize=4 * len(self._workers))
        stop = threading.Event()

        def feed() -> None:
            try:
                for item in items:
                    if not _put(tasks, item, stop):
                        return
            finally:
                for _ in self._workers:
                    _put(tasks, None, stop)

        def work(worker: _Worker) -> None:
            try:
                while (item := _get(tasks, stop)) is not None:
                    if not _put(results, (item, worker.parse(item)), stop):
                        return
            finally:
                _put(results, None, stop)

        threads = [threading.Thread(target=feed, daemon=True)]
        threads += [threading.Thread(target=work, args=(worker,), daemon=True) for worker in self._workers]
        for thread in threads:
            thread.start()
        left = len(self._workers)
        try:
            while left:
                result = results.get()
                if result is None:
                    left -= 1
                else:
                    yield result
        finally:
            stop.set()
            for worker in self._workers:
                worker.end()
            for thread in threads:
                thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self._workers:
            worker.end()


class _Worker:
    def __init__(self, limits: ParserLimits, temporary: Path | None) -> None:
        self._limits = limits
        self._temporary = temporary
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: FrameReader | None = None
        self._parsed = 0

    def parse(self, item: ParseItem) -> Outcome:
        try:
            size = item.path.stat().st_size
        except OSError as error:
            return ParseFailure(ParseReason.UNREADABLE, error.strerror or str(error))
        if size > self._limits.file_bytes:
            return ParseFailure(ParseReason.TOO_LARGE, f"{size} bytes")
        if size == 0:
            return ParseFailure(ParseReason.EMPTY, "the file is empty")
        request = {
            "path": str(item.path),
            "name": item.name,
            "cpu_seconds": self._limits.cpu_seconds + size // _BYTES_PER_CPU_SECOND,
            "output_bytes": self._limits.output_bytes,
        }
        try:
            return self._ask(request)
        except FrameTimeout:
            self.end()
            return ParseFailure(ParseReason.TOO_MUCH_TIME, f"no sign of progress for {self._limits.silence_seconds} s")
        except (FrameError, OSError, KeyError, TypeError, ValueError) as error:
            return self._after_death(error)

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _ask(self, request: dict[str, Any]) -> Outcome:
        if self._process is None or self._parsed >= _FILES_BEFORE_RECYCLING:
            self._start()
        assert self._process is not None
        assert self._reader is not None
        assert self._process.stdin is not None
        self._parsed += 1
        self._process.stdin.write(encode(request))
        self._process.stdin.flush()
        while True:
            answer = self._reader.read(self._limits.silence_seconds)
            if "document" in answer:
                return _document(answer["document"])
            if "failure" in answer:
                return ParseFailure(ParseReason(answer["failure"]["reason"]), str(answer["failure"]["detail"]))

    def _start(self) -> None:
        self.end()
        environment = {switch.variable: switch.value for switch in SWITCHES}
        environment |= {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_THREAD_LIMIT": "1"}
        environment["HOME"] = environment["TMPDIR"] = str(self._temporary or tempfile.gettempdir())
        tessdata = tessdata_folder()
        if tessdata is not None:
            environment["TESSDATA_PREFIX"] = str(tessdata)
        process = subprocess.Popen(  # noqa: S603 (our own interpreter and module, no shell)
            [sys.executable, "-I", "-m", "ingest.parsing.worker", str(self._limits.memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=environment["HOME"],
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        assert process.stdout is not None
        self._process, self._parsed = process, 0
        self._reader = FrameReader(process.stdout.fileno(), self._limits.output_bytes * _JSON_GROWTH + 4096)
        if not self._reader.read(_START_SECONDS).get("ready"):
            raise FrameError("did not say that it is ready")

    def _after_death(self, error: Exception) -> ParseFailure:
        process = self._process
        code = None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=5)
        self.end()
        if str(error) == "over the cap":
            return ParseFailure(ParseReason.TOO_MUCH_OUTPUT, "more text than a worker may give")
        if code in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
            return ParseFailure(ParseReason.TOO_MUCH_TIME, "its processor time was used up")
        if code == -signal.SIGKILL:
            return ParseFailure(ParseReason.TOO_MUCH_MEMORY, "the worker was killed, most likely for memory")
        if code == -signal.SIGABRT:
            # A native allocation that fails ends in abort; Python's own raises MemoryError and is told apart.
            return ParseFailure(ParseReason.CRASHED, "the parser aborted, as it does when memory runs out")
        return ParseFailure(ParseReason.CRASHED, f"the worker ended with {code}" if code is not None else str(error))


def _document(said: dict[str, Any]) -> ParsedDocument:
    text = str(said["text"])
    pages = tuple(Page(int(page["number"]), int(page["start"]), int(page["end"])) for page in said["pages"])
    place = 0
    for page in pages:
        if not place <= page.start <= page.end <= len(text):
            raise FrameError("pages outside the text")
        place = page.end
    return ParsedDocument(
        text=text,
        pages=pages,
        title=str(said["title"]),
        media_type=str(said["media_type"]),
        metadata={str(key): str(value) for key, value in dict(said["metadata"]).items()},
        warnings=tuple(str(one) for one in said["warnings"]),
    )


def _put(target: queue.Queue[Any], value: Any, stop: threading.Event) -> bool:
    while not stop.is_set():
        with contextlib.suppress(queue.Full):
            target.put(value, timeout=0.1)
            return True
    return False


def _get(source: queue.Queue[Any], stop: threading.Event) -> Any:
    while not stop.is_set():
        with contextlib.suppress(queue.Empty):
            return source.get(timeout=0.1)
    return None
