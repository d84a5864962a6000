"""Ingest that a page began: it goes on when the page is left, and ends with the service after the commit under way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import anyio.to_thread

from policies.errors import InhouseError

_AT_ONCE_SECONDS = 1.0


class Background:
    """The work that pages began, of one application."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._problems: dict[str, str] = {}

    async def begin(self, person: str, work: Callable[[threading.Event], object]) -> None:
        """Begins the work and returns while it goes on. What it raises soon is raised here; what it raises later is kept
        as the person's problem."""
        self._problems.pop(person, None)
        task = asyncio.create_task(_carried_out(work))
        self._tasks.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            error = None if done.cancelled() else done.exception()
            if error is not None:
                told = f"{error.message}. {error.hint}" if isinstance(error, InhouseError) else type(error).__name__
                self._problems[person] = told

        finished, _ = await asyncio.wait({task}, timeout=_AT_ONCE_SECONDS)
        if finished:
            self._tasks.discard(task)
            task.result()
        task.add_done_callback(ended)

    @property
    def busy(self) -> bool:
        """Whether work goes on, which may be about to begin a run."""
        return bool(self._tasks)

    def problem(self, person: str) -> str:
        """What went wrong with the last work of a person, told once."""
        return self._problems.pop(person, "")


async def _carried_out(work: Callable[[threading.Event], object]) -> None:
    stop = threading.Event()
    try:
        # Abandoned when the service ends: the stop that follows lets the thread end after its commit.
        await anyio.to_thread.run_sync(work, stop, abandon_on_cancel=True)
    finally:
        stop.set()
