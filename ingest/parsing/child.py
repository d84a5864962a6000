"""The parent's side of one parser process: starts it, hands it open files, ends it when it overruns, and says why."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from ingest.parsing.answers import document_in, failure_in, picture_in
from ingest.parsing.confinement import Layers
from ingest.parsing.frames import FrameError, FrameReader, FrameTimeout, send_file
from ingest.parsing.ocr import tessdata_folder
from ingest.parsing.types import (
    Outcome,
    ParseFailure,
    ParseItem,
    ParseReason,
    ParserLimits,
    PictureItem,
    PictureOutcome,
)
from policies.egress.switches import SWITCHES
from policies.errors import InhouseError

Answer = TypeVar("Answer")

PROGRAM = (sys.executable, "-I", "-m", "ingest.parsing.worker")
"""Our own interpreter and module; started without a shell, with the bytes of memory that it may use as its argument."""

SCRATCH_PREFIX = "parser-"
_FILES_BEFORE_RECYCLING = 200
"""Parsers leak; a fresh process every so often costs less than a second."""

_START_SECONDS = 60.0
_DEATH_SECONDS = 5.0
_BEAT_SECONDS = 1.0
_BYTES_PER_CPU_SECOND = 200_000
"""What an honest slow file needs at the least: scanned pages take some 6 s each and are some megabytes."""

_JSON_GROWTH = 6
"""One character becomes at most six in ASCII JSON."""

_PROGRESS_SECONDS, _PROGRESS_BYTES = 0.02, 4096
"""Processor time and bytes read that count as a sign of progress; what an idle process uses by itself is far below."""

_NO_MEMORY = (b"memory allocation", b"bad_alloc", b"out of memory", b"Cannot allocate memory")
_TAINTED = (ParseReason.CRASHED, ParseReason.TOO_MUCH_MEMORY)


class ParserChild:
    """One worker process under `limits`, with a private folder under `temporary` that goes with it. A file that kills it
    costs itself alone: the next one gets a new process."""

    def __init__(self, limits: ParserLimits, temporary: Path | None, program: Sequence[str] = PROGRAM) -> None:
        self._limits = limits
        self._temporary = temporary
        self._program = tuple(program)
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._reader: FrameReader | None = None
        self._said: IO[bytes] | None = None
        self._scratch: Path | None = None
        self._layers = Layers(network=False, files=False, calls=False)
        self._parsed = 0

    def parse(self, item: ParseItem) -> Outcome:
        """The file's text, or why there is none. Raises InhouseError when the process does not start, and nothing that a
        file could cause."""
        return self._answer(item.path, {"name": item.name}, document_in)

    def draw(self, item: PictureItem) -> PictureOutcome:
        """A page's picture, or why there is none. Raises as `parse` does."""
        return self._answer(item.path, {"page": item.page, "quote": item.quote, "before": item.before}, picture_in)

    def _answer(
        self, path: Path, words: dict[str, Any], understood: Callable[[dict[str, Any]], Answer | None]
    ) -> Answer | ParseFailure:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            return ParseFailure(ParseReason.UNREADABLE, getattr(error, "strerror", None) or str(error))
        try:
            before = os.fstat(descriptor)
            refused = self._refused(before)
            if refused is not None:
                return refused
            outcome = self._attempt(descriptor, self._request(words, before.st_size), understood)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            return ParseFailure(ParseReason.CHANGED, f"{before.st_size} bytes before, {after.st_size} after")
        return outcome

    def layers(self) -> Layers:
        """Which walls hold around the process; starts it where it does not run. Raises InhouseError when it does not start."""
        if self._process is None:
            self._start()
        return self._layers

    def kill(self) -> None:
        """Kills the process and nothing else, from whichever thread; `parse` on its own thread then returns."""
        process = self._process
        if process is not None:
            process.kill()

    def end(self) -> None:
        """Kills the process and removes its private folder."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for opened in (self._requests, self._said):
            if opened is not None:
                opened.close()
        self._requests = self._said = None
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)

    def _refused(self, found: os.stat_result) -> ParseFailure | None:
        if not stat.S_ISREG(found.st_mode):
            return ParseFailure(ParseReason.UNREADABLE, "not a regular file any more")
        if found.st_size > self._limits.file_bytes:
            return ParseFailure(ParseReason.TOO_LARGE, f"{found.st_size} bytes")
        if found.st_size == 0:
            return ParseFailure(ParseReason.EMPTY, "the file is empty")
        return None

    def _request(self, words: dict[str, Any], size: int) -> dict[str, Any]:
        return {
            **words,
            "cpu_seconds": self._limits.cpu_seconds + size // _BYTES_PER_CPU_SECOND,
            "output_bytes": self._limits.output_bytes,
            "beat_seconds": min(_BEAT_SECONDS, self._limits.silence_seconds / 10),
        }

    def _attempt(
        self, descriptor: int, request: dict[str, Any], understood: Callable[[dict[str, Any]], Answer | None]
    ) -> Answer | ParseFailure:
        # One that died between two files (the system ran out of memory, say) did not die of this one.
        if self._process is None or self._process.poll() is not None or self._parsed >= _FILES_BEFORE_RECYCLING:
            self._start()
        started = time.monotonic()
        try:
            outcome = self._ask(request, descriptor, understood)
        except FrameTimeout:
            self.end()
            return ParseFailure(ParseReason.TOO_MUCH_TIME, self._overrun(time.monotonic() - started))
        except (FrameError, OSError, KeyError, TypeError, ValueError, OverflowError) as error:
            return self._after_death(error)
        if isinstance(outcome, ParseFailure) and outcome.reason in _TAINTED:
            self.end()
        return outcome

    def _ask(
        self, request: dict[str, Any], descriptor: int, understood: Callable[[dict[str, Any]], Answer | None]
    ) -> Answer | ParseFailure:
        assert self._reader is not None
        assert self._requests is not None
        self._parsed += 1
        send_file(self._requests, request, descriptor)
        moved_at, cpu, read = time.monotonic(), 0.0, 0
        ends_at = moved_at + self._limits.whole_seconds
        while True:
            left = min(moved_at + self._limits.silence_seconds, ends_at) - time.monotonic()
            answer = self._reader.read(left)
            outcome = understood(answer) or failure_in(answer)
            if outcome is not None:
                return outcome
            # A beat alone proves that the interpreter runs. What the parser used or read since proves that it works.
            if float(answer["cpu"]) - cpu >= _PROGRESS_SECONDS or int(answer["read"]) - read >= _PROGRESS_BYTES:
                moved_at, cpu, read = time.monotonic(), float(answer["cpu"]), int(answer["read"])
            elif left <= 0:
                raise FrameTimeout("no progress")
            if time.monotonic() >= ends_at:
                raise FrameTimeout("no end")

    def _overrun(self, seconds: float) -> str:
        if seconds >= self._limits.whole_seconds:
            return f"not done after {self._limits.whole_seconds} s"
        return f"no sign of progress for {self._limits.silence_seconds} s"

    def _start(self) -> None:
        self.end()
        try:
            self._open()
            assert self._reader is not None
            ready = self._reader.read(_START_SECONDS)
            self._layers = Layers(**{name: bool(holds) for name, holds in ready["layers"].items()})
        except (FrameError, OSError, KeyError, TypeError, AttributeError) as error:
            said = " ".join(self._last_words().decode(errors="replace").split())[-200:]
            self.end()
            raise InhouseError(
                f"the parser process does not start: {said or error}", hint="Look at `inhouse doctor`, then ingest again."
            ) from None

    def _open(self) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=self._temporary))
        self._said = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115 (it is open as long as the process)
        self._requests, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603 (our own interpreter and module, no shell)
                [*self._program, str(self._limits.memory_bytes)],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=self._said,
                env=self._environment(),
                cwd=self._scratch,
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        assert process.stdout is not None
        self._process, self._parsed = process, 0
        self._reader = FrameReader(process.stdout.fileno(), self._limits.output_bytes * _JSON_GROWTH + 4096)

    def _environment(self) -> dict[str, str]:
        """What a worker knows of the world; libraries keep what they write to its private folder."""
        environment = {switch.variable: switch.value for switch in SWITCHES}
        environment |= {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_THREAD_LIMIT": "1"}
        # A library that starts threads as it is imported would have them outside the walls.
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment["HOME"] = environment["TMPDIR"] = str(self._scratch)
        tessdata = tessdata_folder()
        if tessdata is not None:
            environment["TESSDATA_PREFIX"] = str(tessdata)
        return environment

    def _after_death(self, error: Exception) -> ParseFailure:
        code = None
        if self._process is not None and (isinstance(error, OSError) or str(error) == "ended"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(timeout=_DEATH_SECONDS)
        said = self._last_words()
        self.end()
        if str(error) == "over the cap":
            return ParseFailure(ParseReason.TOO_MUCH_OUTPUT, "more text than a worker may give")
        if code in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
            return ParseFailure(ParseReason.TOO_MUCH_TIME, "its processor time was used up")
        if code == -signal.SIGKILL:
            return ParseFailure(ParseReason.TOO_MUCH_MEMORY, "the worker was killed, most likely for memory")
        if code is not None and any(words in said for words in _NO_MEMORY):
            return ParseFailure(ParseReason.TOO_MUCH_MEMORY, "memory ran out in the parser")
        return ParseFailure(ParseReason.CRASHED, _ended(code, error))

    def _last_words(self) -> bytes:
        if self._said is None:
            return b""
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - 4096))
        return self._said.read()


def _ended(code: int | None, error: Exception) -> str:
    if code is None:
        return f"what the worker said was not understood: {type(error).__name__}"
    if code < 0:
        return f"the worker was ended by {signal.Signals(-code).name}"
    return f"the worker ended with {code}"
