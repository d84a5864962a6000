"""A double: says what it is told, piece by piece, with pauses and errors where the script has them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import anyio

from service.runtimes.interface import AnswerRequest, End, ModelCard, Piece


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing comes for this long."""

    seconds: float


Step = Piece | Pause | Exception


class ScriptedRuntime:
    """Plays its script for every request, an Exception by raising it, and keeps what it was asked.

    `room` is how many sources fit (None: all). Refuses, by ValueError, a script that does not end with an End or an
    Exception, or that goes on after one: no runtime may speak so.
    """

    def __init__(self, script: Sequence[Step], *, room: int | None = None) -> None:
        if not script or [isinstance(step, End | Exception) for step in script] != [False] * (len(script) - 1) + [True]:
            raise ValueError("a script ends with its only End or Exception")
        self._script = tuple(script)
        self._room = room
        self.requests: list[AnswerRequest] = []
        """Each request whose stream was begun."""
        self.cancelled = 0
        """How many streams were left before their last step."""

    async def card(self) -> ModelCard:
        """The digest is of the script."""
        return ModelCard("script", "scripted", hashlib.sha256(repr(self._script).encode()).hexdigest(), None)

    async def fit(self, request: AnswerRequest) -> AnswerRequest:
        """The first sources, as many as there is room for."""
        return dataclasses.replace(request, sources=request.sources[: self._room])

    async def stream(self, request: AnswerRequest) -> AsyncIterator[Piece]:
        """Plays the script."""
        self.requests.append(request)
        finished = False
        try:
            for step in self._script:
                finished = step is self._script[-1]
                if isinstance(step, Pause):
                    await anyio.sleep(step.seconds)
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.cancelled += not finished
