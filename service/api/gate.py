"""How many answers are made at the same time, and how many questions may wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from policies.errors import ModelUnavailable


class Gate:
    """A bounded queue: `concurrent` pass, `waiting` wait in order, and one more is refused at once."""

    def __init__(self, concurrent: int, waiting: int) -> None:
        self._limit = anyio.Semaphore(concurrent)
        self._room = concurrent + waiting
        self.inside = 0

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Holds a place for the block. Raises ModelUnavailable where the queue is full."""
        if self.inside >= self._room:
            raise ModelUnavailable("too many questions are waiting", hint="Ask again in a few seconds.")
        self.inside += 1
        try:
            async with self._limit:
                yield
        finally:
            self.inside -= 1
