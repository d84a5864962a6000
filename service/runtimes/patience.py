"""How long a model may be silent, and how long its answer may take."""

from __future__ import annotations

import anyio

from policies.errors import ModelUnavailable


class Patience:
    """The time left for the next line of one answer, in seconds: `start` until `begin` is called, which whoever hears the
    first token does, then `token` after each line; `total` for the whole. Made when the answer is asked for."""

    def __init__(self, start: float, token: float, total: float) -> None:
        self._limit = start
        self._token = token
        self._heard = anyio.current_time()
        self._end = self._heard + total

    def begin(self) -> None:
        """The model has begun to answer."""
        self._limit = self._token

    def heard(self) -> None:
        """Something of the answer came, and whoever listens waits for more."""
        self._heard = anyio.current_time()

    def left(self) -> float:
        """Seconds until nothing more is waited for; at least 0."""
        return max(0.0, min(self._heard + self._limit, self._end) - anyio.current_time())

    def over(self) -> ModelUnavailable:
        """The error of an answer that was waited for long enough."""
        if anyio.current_time() >= self._end:
            return ModelUnavailable("the answer took too long", hint="See runtime.total_seconds.")
        name = "runtime.token_seconds" if self._limit == self._token else "runtime.start_seconds"
        return ModelUnavailable(
            f"the model said nothing for {self._limit:g} s", hint=f"Is the machine overloaded, or still loading? See {name}."
        )
