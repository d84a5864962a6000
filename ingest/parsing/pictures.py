"""Pages of PDF files as pictures with the words of a quote marked, drawn in limited worker processes while somebody asks."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ingest.parsing.child import PROGRAM
from ingest.parsing.pool import ParserPool
from ingest.parsing.types import NoSuchPage, ParseFailure, ParseReason, ParserLimits, Picture, PictureItem, PictureOutcome
from policies.errors import InhouseError, NotFoundError

__all__ = ["PICTURE_LIMITS", "PagePictures", "Picture", "PictureRefused", "PicturesBusy"]

PICTURE_LIMITS = ParserLimits(
    memory_bytes=2**30, cpu_seconds=10, silence_seconds=15, output_bytes=16 * 2**20, whole_seconds=30.0
)
"""Somebody waits for it: a page that takes longer is not shown."""

_LONGEST_QUOTE = 8000
"""Characters; a passage has some two thousand."""

_LOOK_SECONDS = 0.1
_OPEN_IT = "Open the document itself."
_REFUSALS = {
    ParseReason.CHANGED: ("the document was written to while its page was drawn", "Ask again."),
    ParseReason.CRASHED: ("the page could not be drawn: what draws it crashed on this document", _OPEN_IT),
    ParseReason.DAMAGED: ("the page could not be drawn: the document is damaged, or is no PDF", _OPEN_IT),
    ParseReason.EMPTY: ("the page could not be drawn: the file is empty", "Ingest again: the document has changed."),
    ParseReason.PASSWORD: ("the page could not be drawn: the document is protected by a password", _OPEN_IT),
    ParseReason.TOO_LARGE: ("the page could not be drawn: the document is too large for it", _OPEN_IT),
    ParseReason.TOO_MUCH_MEMORY: ("the page could not be drawn: it needs more memory than a page may", _OPEN_IT),
    ParseReason.TOO_MUCH_OUTPUT: ("the page could not be drawn: its picture is too large", _OPEN_IT),
    ParseReason.TOO_MUCH_TIME: ("the page could not be drawn: it takes longer than a page may", _OPEN_IT),
    ParseReason.UNREADABLE: ("the page could not be drawn: the file cannot be read", "Look whether it is still there."),
}


class PictureRefused(InhouseError):
    """This document's page cannot be drawn; `reason` says why in the words of the quarantine."""

    http_status = 422
    kind = "picture-refused"

    def __init__(self, reason: ParseReason) -> None:
        message, hint = _REFUSALS.get(reason, _REFUSALS[ParseReason.DAMAGED])
        super().__init__(message, hint=hint)
        self.reason = reason


class PicturesBusy(InhouseError):
    """Pages are not drawn at this moment: too many are asked for, or the service is going down."""

    http_status = 503
    kind = "pictures-busy"


Answer = Future[PictureOutcome | InhouseError]


@dataclass(frozen=True, slots=True)
class _Asked(PictureItem):
    answer: Answer


class PagePictures:
    """Draws pages in up to `workers` processes under `limits`; they start with the first page that is asked for, and end
    when for `idle_seconds` none was. Use it from as many threads as there are, as a context manager or until `close`.

    `temporary` is a folder that nobody else uses; see `ParserPool`. Of what is asked for, `waiting` pages may wait, each for
    `wait_seconds`."""

    def __init__(
        self,
        limits: ParserLimits = PICTURE_LIMITS,
        *,
        workers: int = 2,
        temporary: Path | None = None,
        idle_seconds: float = 60.0,
        wait_seconds: float = 60.0,
        waiting: int = 32,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._pool = ParserPool(limits, workers, temporary, program)
        self._idle_seconds = idle_seconds
        self._wait_seconds = wait_seconds
        self._waiting = waiting
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._unanswered: set[Answer] = set()
        self._quiet_since = time.monotonic()
        self._thread: threading.Thread | None = None
        self._taking = self._closed = False

    def render(self, path: Path, page: int, quote: str, *, before: int = 0) -> Picture:
        """The page, its number from 1, of the PDF file at `path`, with the words of `quote` marked where they are found; of
        a quote that goes on over several pages, give the part on this one. Where the page holds the same words more than
        once, `before` says how often it does before the place that is meant.

        The file is drawn as it is now: whether it is still the one that is meant is the caller's to know, and so is whether
        whoever asks may see it. Raises NotFoundError where it has no such page, PictureRefused where its pages cannot be
        drawn, PicturesBusy where it would take too long to begin, and InhouseError where no worker starts."""
        asked = _Asked(path, page, quote[:_LONGEST_QUOTE], before, Future())
        self._ask(asked)
        try:
            outcome = asked.answer.result(self._wait_seconds)
        except TimeoutError:
            asked.answer.cancel()
            raise PicturesBusy("pages are being drawn for others", hint="Ask again in a moment.") from None
        finally:
            with self._lock:
                self._unanswered.discard(asked.answer)
                self._quiet_since = time.monotonic()
        if isinstance(outcome, InhouseError):
            raise outcome
        if isinstance(outcome, NoSuchPage):
            raise NotFoundError(f"the document has no page {page}: it has {outcome.pages}", hint=_OPEN_IT)
        if isinstance(outcome, ParseFailure):
            raise PictureRefused(outcome.reason)
        return outcome

    def close(self) -> None:
        """Ends the workers; who still waits gets PicturesBusy, and so does who asks later."""
        with self._lock:
            self._closed = True
            thread, self._taking = self._thread, False
            self._queue.put(None)
            self._fail(_closing())
        while thread is not None and thread.is_alive():
            self._pool.kill()
            thread.join(_LOOK_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _ask(self, asked: _Asked) -> None:
        with self._lock:
            if self._closed:
                raise _closing()
            if len(self._unanswered) >= self._waiting:
                raise PicturesBusy("too many pages are asked for", hint="Ask again in a moment.")
            self._unanswered.add(asked.answer)
            self._queue.put(asked)
            if not self._taking:
                # Workers end with the thread that started them, so they need one that outlives each request.
                self._thread = threading.Thread(target=self._draw, args=(self._thread,), daemon=True)
                self._taking = True
                self._thread.start()

    def _draw(self, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        try:
            for asked, outcome in self._pool.draw(self._asked()):
                with contextlib.suppress(InvalidStateError):
                    asked.answer.set_result(outcome)
        except BaseException as error:
            with self._lock:
                self._taking = False
                self._fail(error)

    def _asked(self) -> Iterator[_Asked]:
        while True:
            idle_at = self._quiet_since + self._idle_seconds
            try:
                asked = self._queue.get(timeout=max(_LOOK_SECONDS, idle_at - time.monotonic()))
            except queue.Empty:
                with self._lock:
                    if not self._unanswered and idle_at == self._quiet_since + self._idle_seconds:
                        self._taking = False
                        return
                continue
            if asked is None:
                return
            if not asked.answer.done():
                yield asked

    def _fail(self, error: BaseException) -> None:
        for answer in self._unanswered:
            with contextlib.suppress(InvalidStateError):
                answer.set_exception(error)


def _closing() -> PicturesBusy:
    return PicturesBusy("pages are not drawn any more", hint="The service is going down; ask again when it is up.")
