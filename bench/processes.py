"""How much memory a process and everything that it started hold, read from Linux's /proc."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(root: int) -> list[int]:
    """The process and its living descendants; one whose parent ended before it is not found."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                # The name in brackets may hold anything; the parent is the second word after it.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += children.get(one, [])
    return found


def resident(process: int) -> int:
    """Resident bytes, 0 for a process that is gone; pages shared with others count in full."""
    try:
        return int((PROC / str(process) / "statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


class Memory:
    """Samples the resident bytes of a process tree from entry to exit. `without` leaves out the root itself."""

    def __init__(self, root: int, *, without_root: bool = False, every: float = 0.1) -> None:
        self.samples: list[tuple[float, int]] = []
        self._root = root
        self._without_root = without_root
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._started = time.monotonic()

    @property
    def peak(self) -> int:
        """The largest sum that was seen, in bytes."""
        return max((size for _, size in self.samples), default=0)

    def peak_between(self, first: float, last: float) -> int:
        """The largest sum seen in that part of the time, both between 0 and 1."""
        if not self.samples:
            return 0
        end = self.samples[-1][0]
        return max((size for at, size in self.samples if first * end <= at <= last * end), default=0)

    def _sample(self) -> None:
        while not self._stop.is_set():
            processes = tree(self._root)
            sizes = [resident(one) for one in processes if not (self._without_root and one == self._root)]
            self.samples.append((time.monotonic() - self._started, sum(sizes)))
            self._stop.wait(self._every)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
