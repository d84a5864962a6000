"""Parses many files, or draws many pages, in worker processes; a file that kills its worker costs itself alone."""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ingest.parsing.child import PROGRAM, SCRATCH_PREFIX, ParserChild
from ingest.parsing.confinement import Layers
from ingest.parsing.types import Outcome, ParseItem, ParserLimits, PictureItem, PictureOutcome
from policies.errors import InhouseError

__all__ = ["Outcome", "ParserPool"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Drawn = TypeVar("Drawn", bound=PictureItem)

_LOOK_SECONDS = 0.1


class ParserPool:
    """`workers` child processes under `limits`. Use as a context manager; leaving it ends the children.

    `temporary` is a folder that no other pool uses; what a pool that was killed left there is removed.
    """

    def __init__(
        self, limits: ParserLimits, workers: int, temporary: Path | None = None, program: Sequence[str] = PROGRAM
    ) -> None:
        if temporary is not None:
            for left in temporary.glob(SCRATCH_PREFIX + "*"):
                shutil.rmtree(left, ignore_errors=True)
        self._workers = [ParserChild(limits, temporary, program) for _ in range(workers)]

    def parse(self, items: Iterable[ParseItem]) -> Iterator[tuple[ParseItem, Outcome]]:
        """Each item with its outcome, as they come; no more than a few items are taken ahead of what was given out.

        Raises what `items` raises, and InhouseError when a worker does not even start: neither is a file's fault. A pool
        does one thing at a time: no second `parse` or `draw` before the end of the first.
        """
        return self._each(items, ParserChild.parse)

    def draw(self, items: Iterable[Drawn]) -> Iterator[tuple[Drawn, PictureOutcome | InhouseError]]:
        """Each page with its picture, or why there is none, in the same manner; but that a worker does not start is told
        with the page that it was needed for, because others, asked for later, do not hang on it."""
        return self._each(items, _drawn)

    def _each(self, items: Iterable[Item], do: Callable[[ParserChild, Item], Result]) -> Iterator[tuple[Item, Result]]:
        tasks: queue.Queue[Item | None] = queue.Queue(maxsize=len(self._workers))
        results: queue.Queue[tuple[Item, Result] | BaseException | None] = queue.Queue(maxsize=4 * len(self._workers))
        stop = threading.Event()

        def feed() -> None:
            try:
                for item in items:
                    if not _put(tasks, item, stop):
                        return
            except BaseException as error:
                _put(results, error, stop)
            finally:
                for _ in self._workers:
                    _put(tasks, None, stop)

        def work(worker: ParserChild) -> None:
            try:
                while (item := _get(tasks, stop)) is not None:
                    if not _put(results, (item, do(worker, item)), stop):
                        return
            except BaseException as error:
                _put(results, error, stop)
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
                if isinstance(result, BaseException):
                    raise result
                if result is None:
                    left -= 1
                else:
                    yield result
        finally:
            stop.set()
            self._end(threads)

    def _end(self, threads: list[threading.Thread]) -> None:
        while any(thread.is_alive() for thread in threads):
            # Killed from here, closed by its own thread: a pipe closed under a reader may already be another file.
            self.kill()
            threads[-1].join(_LOOK_SECONDS)
            threads = [thread for thread in threads if thread.is_alive()]
        for worker in self._workers:
            worker.end()

    def kill(self) -> None:
        """Kills the children that run now, from whichever thread: what they are at has failed."""
        for worker in self._workers:
            worker.kill()

    def layers(self) -> Layers:
        """Which walls hold around a worker. Raises InhouseError when it does not start."""
        return self._workers[0].layers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self._workers:
            worker.end()


def _drawn(worker: ParserChild, item: PictureItem) -> PictureOutcome | InhouseError:
    try:
        return worker.draw(item)
    except InhouseError as error:
        return error


def _put(target: queue.Queue[Any], value: Any, stop: threading.Event) -> bool:
    while not stop.is_set():
        with contextlib.suppress(queue.Full):
            target.put(value, timeout=_LOOK_SECONDS)
            return True
    return False


def _get(source: queue.Queue[Any], stop: threading.Event) -> Any:
    while not stop.is_set():
        with contextlib.suppress(queue.Empty):
            return source.get(timeout=_LOOK_SECONDS)
    return None
