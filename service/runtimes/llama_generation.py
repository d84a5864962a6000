"""One answer that llama.cpp writes in this process, on a thread of its own, for an event loop that may leave at any time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from policies.errors import ModelUnavailable
from service.runtimes.openai_client import failed
from service.runtimes.patience import Patience

_LOOK_SECONDS = 0.1


class Generation:
    """Begins when it is made, within an event loop. `leave` ends it after the token that is being made; whoever listens no
    more need not wait for that. `slots` bounds how many are written side by side; the others wait their turn."""

    def __init__(self, server: Any, body: Mapping[str, Any], slots: threading.Semaphore) -> None:
        self._server = server
        self._body = dict(body)
        self._slots = slots
        self._left = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Queue[dict[str, Any] | ModelUnavailable | None] = asyncio.Queue()
        # No daemon: the interpreter must not end under the library's feet.
        threading.Thread(target=self._run, name="llama.cpp").start()

    async def next(self, patience: Patience) -> dict[str, Any] | None:
        """The next chunk of the answer; None after the last. Raises ModelUnavailable."""
        # What was heard while the listener was away is not held against the model.
        patience.heard()
        try:
            item = await asyncio.wait_for(self._heard.get(), patience.left())
        except TimeoutError:
            raise patience.over() from None
        if isinstance(item, ModelUnavailable):
            raise item
        return item

    def leave(self) -> None:
        """Nobody listens any more."""
        self._left.set()

    def _run(self) -> None:
        while not self._slots.acquire(timeout=_LOOK_SECONDS):
            if self._left.is_set():
                return
        try:
            if not self._left.is_set():
                self._server.handle_chat_completions(self._body, self._hear)
            self._tell(None)
        except Exception as error:
            # What the library says may hold what the model wrote.
            why = f"the model failed: {type(error).__name__}"
            self._tell(ModelUnavailable(why, hint="Ask again; see what the process wrote to its standard error."))
        finally:
            self._slots.release()

    def _hear(self, event: Any) -> bool:
        """What the library calls with each chunk. True stops it; an exception would only be printed, and stop nothing."""
        try:
            for chunk in event if isinstance(event, list) else [event]:
                self._tell(failed(chunk) if "error" in chunk else chunk)
        except Exception:
            # Nobody would ever understand the rest either; the answer has no end then, which is an error.
            return True
        return self._left.is_set()

    def _tell(self, item: dict[str, Any] | ModelUnavailable | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._heard.put_nowait, item)
        except RuntimeError:
            # The loop has ended, and with it whoever listened.
            self._left.set()
