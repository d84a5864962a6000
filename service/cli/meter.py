"""The progress line on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from service.cli.display import note, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS_BETWEEN = 10.0

Described = Callable[[Mapping[str, Any]], str]


@contextmanager
def meter(described: Described, *, shown: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Gives what takes an operation's events and shows those that tell its `progress`, in the words of `described`: drawn
    over itself on a terminal and gone at the end, a line every ten seconds elsewhere."""
    terminal, told = sys.stderr.isatty(), time.monotonic()

    def take(event: Mapping[str, Any]) -> None:
        nonlocal told
        progress = event.get("progress")
        if progress is None or not shown:
            return
        if terminal:
            sys.stderr.write("\r\x1b[K" + plain(described(progress)))
            sys.stderr.flush()
        elif time.monotonic() - told >= _SECONDS_BETWEEN:
            told = time.monotonic()
            note(described(progress))

    try:
        yield take
    finally:
        if terminal and shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
