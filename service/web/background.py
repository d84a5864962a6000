"""Ingest that a page began: it goes on when the page is left, and ends with the service after the commit under way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import anyio.to_thread

from policies.errors import InhouseError

T = TypeVar("T")
_AT_ONCE_SECONDS = 1.0


class Background:
    """The work that pages began, of one application."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._problems: dict[str, str] = {}
        self.receiving = 0
        """Files that come in."""

    async def begin(self, person: str, work: Callable[[threading.Event], object]) -> None:
        """Begins the work and returns while it goes on. What it raises soon is raised here; what it raises later is kept
        as the person's problem."""
        self._problems.pop(person, None)
        task = asyncio.create_task(_carried_out(work))
        self._tasks.add(task)

        def ended(done: asyncio.Task[Any]) -> None:
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

    async def carry_out(self, work: Callable[[threading.Event], T]) -> T:
        """Does the work and returns what it returns, or raises. It goes on where the caller is gone, as what `begin` began."""
        task = asyncio.create_task(_carried_out(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    @property
    def busy(self) -> bool:
        """Whether work goes on, which may be about to begin a run."""
        return bool(self._tasks)

    def problem(self, person: str) -> str:
        """What went wrong with the last work of a person, told once."""
        return self._problems.pop(person, "")


async def _carried_out(work: Callable[[threading.Event], T]) -> T:
    stop = threading.Event()
    try:
        # Abandoned when the service ends: the stop that follows lets the thread end after its commit.
        return await anyio.to_thread.run_sync(work, stop, abandon_on_cancel=True)
    finally:
        stop.set()
