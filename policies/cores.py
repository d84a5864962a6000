"""How many processor cores there are to use."""

from __future__ import annotations

import os


def granted_cores() -> int:
    """The cores that this process may run on, which a container or a scheduler may have cut."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
