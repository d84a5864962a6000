"""Tells how far a run is."""

from __future__ import annotations

import threading
import time

from ingest.report import RunReport
from ingest.run_state import Listener

_SECONDS_BETWEEN = 0.2


class Progress:
    """Tells the listener where the run is, at most some times a second. Safe for threads: files are read on one while
    passages are embedded on another."""

    def __init__(self, listener: Listener, report: RunReport, total_bytes: int) -> None:
        self._listener = listener
        self._report = report
        self._total_bytes = total_bytes
        self._lock = threading.Lock()
        self._files = self._bytes = self._part = self._made = self._passages = 0
        self._started = time.monotonic()
        self._told = 0.0

    def done(self, size: int) -> None:
        """A file of that many bytes is settled or parsed."""
        with self._lock:
            self._files += 1
            self._bytes += size
            self._part = 0
            self._tell()

    def reading(self, size: int) -> None:
        """That many more bytes of a file are read that is not yet done."""
        with self._lock:
            self._part += size

    def made(self, count: int) -> None:
        """That many more passages wait for their vectors."""
        with self._lock:
            self._made += count

    def embedded(self, count: int) -> None:
        """That many more passages have their vectors."""
        with self._lock:
            self._passages += count
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told < _SECONDS_BETWEEN:
            return
        self._told = now
        self._listener(
            {
                "files": self._files,
                "of": self._report.found,
                "bytes": self._bytes,
                "of_bytes": self._total_bytes,
                "passages": self._passages,
                "share": round(self._share(), 4),
                "seconds": round(now - self._started, 2),
            }
        )

    def _share(self) -> float:
        """The part of the work that is done, in [0, 1]. Embedding is nearly all of it, so it is told by passages: by those
        that were made from what is read so far, as if the rest were alike."""
        read = min(1.0, (self._bytes + self._part) / self._total_bytes) if self._total_bytes else 1.0
        return min(read, self._passages / (self._made / read)) if self._made and read else read
