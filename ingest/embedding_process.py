"""An embedder in a process of its own at lower priority, so that a service answers while it ingests."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cached_property
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies.errors import InhouseError
from vectorstore.types import IndexFingerprint, Vectors

if TYPE_CHECKING:
    from vectorstore.embedders.interface import Embedder

_SLICE = 512
"""Texts that cross to the other process at a time: enough that the crossing costs nothing, few enough to show progress."""

_NICENESS = 10


class ProcessEmbedder:
    """The `Embedder` that `words` name (see `load_embedder`), run in a child. The child starts with the first call and ends
    with `close`, or with this process however that ends. A child that dies is replaced once; InhouseError the next time."""

    def __init__(self, words: Mapping[str, Any]) -> None:
        self._words = dict(words)
        self._lock = threading.Lock()
        self._executor: ProcessPoolExecutor | None = None

    @cached_property
    def fingerprint(self) -> IndexFingerprint:
        """As the model in the child gives it."""
        found: IndexFingerprint = self._call("fingerprint")
        return found

    @cached_property
    def window(self) -> int:
        """As the model in the child gives it."""
        return int(self._call("window"))

    def count(self, texts: Sequence[str]) -> list[int]:
        """See `Embedder.count`."""
        counted: list[int] = self._call("count", list(texts))
        return counted

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> Vectors:
        """See `Embedder.embed`."""
        import numpy

        if not texts:
            empty: Vectors = self._call("embed", [])
            return empty
        rows = []
        for start in range(0, len(texts), _SLICE):
            piece = list(texts[start : start + _SLICE])
            rows.append(self._call("embed", piece))
            if progress is not None:
                progress(len(piece))
        return numpy.concatenate(rows)

    def embed_query(self, text: str) -> Vectors:
        """See `Embedder.embed_query`."""
        found: Vectors = self._call("embed_query", text)
        return found

    def close(self) -> None:
        """Ends the child; what it was doing is lost."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)

    def _call(self, name: str, *arguments: Any) -> Any:
        for attempt in (1, 2):
            with self._lock:
                if self._executor is None:
                    self._executor = ProcessPoolExecutor(
                        1, mp_context=get_context("spawn"), initializer=_start, initargs=(self._words,)
                    )
                executor = self._executor
            try:
                return executor.submit(_do, name, arguments).result()
            except BrokenProcessPool:
                self.close()
                if attempt == 2:
                    raise InhouseError(
                        "the process that embeds documents died twice",
                        hint="Look whether the machine ran out of memory; what was committed is kept. Then ingest again.",
                    ) from None
        raise AssertionError("both attempts return or raise")


_model: Embedder | None = None


def _start(words: Mapping[str, Any]) -> None:
    """In the child: quiet, polite, and gone when its parent is."""
    from policies.egress.switches import set_switches

    set_switches()
    # Ctrl-C is the parent's to answer: it stops after the commit that is under way, which may need this child.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from vectorstore.embedders.factory import load_embedder

    global _model
    _model = load_embedder(words["kind"], model=Path(words["model"]), threads=int(words["threads"]))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(name: str, arguments: tuple[Any, ...]) -> Any:
    assert _model is not None
    found = getattr(_model, name)
    return found(*arguments) if callable(found) else found
