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
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from ingest.parsing.confinement import Layers
from ingest.parsing.frames import FrameError, FrameReader, FrameTimeout, send_file
from ingest.parsing.ocr import tessdata_folder
from ingest.parsing.types import Outcome, ParsedDocument, ParseFailure, ParseItem, ParseReason, ParserLimits
from policies.egress.switches import SWITCHES
from policies.errors import InhouseError
from vectorstore.types import Page

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

_HIGHEST_PAGE = 10_000_000
_LONGEST_WORDS = 1000
_MOST_WARNINGS = 100
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
        try:
            descriptor = os.open(item.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            return ParseFailure(ParseReason.UNREADABLE, getattr(error, "strerror", None) or str(error))
        try:
            before = os.fstat(descriptor)
            refused = self._refused(before)
            if refused is not None:
                return refused
            outcome = self._parse(descriptor, item.name, before.st_size)
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

    def _parse(self, descriptor: int, name: str, size: int) -> Outcome:
        request = {
            "name": name,
            "cpu_seconds": self._limits.cpu_seconds + size // _BYTES_PER_CPU_SECOND,
            "output_bytes": self._limits.output_bytes,
            "beat_seconds": min(_BEAT_SECONDS, self._limits.silence_seconds / 10),
        }
        if self._process is None or self._parsed >= _FILES_BEFORE_RECYCLING:
            self._start()
        try:
            outcome = self._ask(request, descriptor)
        except FrameTimeout:
            self.end()
            return ParseFailure(ParseReason.TOO_MUCH_TIME, f"no sign of progress for {self._limits.silence_seconds} s")
        except (FrameError, OSError, KeyError, TypeError, ValueError, OverflowError) as error:
            return self._after_death(error)
        if isinstance(outcome, ParseFailure) and outcome.reason in _TAINTED:
            self.end()
        return outcome

    def _ask(self, request: dict[str, Any], descriptor: int) -> Outcome:
        assert self._reader is not None
        assert self._requests is not None
        self._parsed += 1
        send_file(self._requests, request, descriptor)
        moved_at, cpu, read = time.monotonic(), 0.0, 0
        while True:
            left = moved_at + self._limits.silence_seconds - time.monotonic()
            answer = self._reader.read(left)
            if "document" in answer:
                return _document(answer["document"])
            if "failure" in answer:
                return ParseFailure(
                    ParseReason(answer["failure"]["reason"]), _unicode(answer["failure"]["detail"])[:_LONGEST_WORDS]
                )
            # A beat alone proves that the interpreter runs. What the parser used or read since proves that it works.
            if float(answer["cpu"]) - cpu >= _PROGRESS_SECONDS or int(answer["read"]) - read >= _PROGRESS_BYTES:
                moved_at, cpu, read = time.monotonic(), float(answer["cpu"]), int(answer["read"])
            elif left <= 0:
                raise FrameTimeout("no progress")

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


def _document(said: dict[str, Any]) -> ParsedDocument:
    """What the worker said, taken as from a stranger: typed, in order, and no longer than it needs to be."""
    text = _unicode(said["text"])
    pages = tuple(Page(int(page["number"]), int(page["start"]), int(page["end"])) for page in said["pages"])
    place = 0
    for page in pages:
        if not place <= page.start <= page.end <= len(text) or not 0 <= page.number <= _HIGHEST_PAGE:
            raise FrameError("pages outside the text")
        place = page.end
    return ParsedDocument(
        text=text,
        pages=pages,
        title=_unicode(said["title"])[:_LONGEST_WORDS],
        media_type=_unicode(said["media_type"])[:_LONGEST_WORDS],
        metadata={_unicode(key): _unicode(value)[:_LONGEST_WORDS] for key, value in dict(said["metadata"]).items()},
        warnings=tuple(_unicode(one)[:_LONGEST_WORDS] for one in said["warnings"][:_MOST_WARNINGS]),
    )


def _unicode(value: object) -> str:
    """A string that can be stored; half a surrogate pair, which JSON can say, cannot."""
    if not isinstance(value, str):
        raise FrameError("not a string")
    value.encode("utf-8")
    return value
