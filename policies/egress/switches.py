"""What dependencies would do unasked, stopped in one table that is set before anything else is imported; and where temporary
files go, which hold what the documents say."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Switch:
    """One environment variable and what it stops."""

    dependency: str
    variable: str
    value: str
    why: str


SWITCHES: tuple[Switch, ...] = (
    Switch("chromadb", "ANONYMIZED_TELEMETRY", "False", "sends usage events to its vendor"),
    Switch(
        "onnxruntime", "ORT_DISABLE_TELEMETRY", "1", "looks up its vendor's host on import and writes a database under home"
    ),
    Switch("fastapi", "OTEL_SDK_DISABLED", "true", "records query strings and exceptions once a provider is set"),
    Switch("huggingface-hub", "HF_HUB_OFFLINE", "1", "asks the hub about models that are on disk"),
    Switch("huggingface-hub", "HF_HUB_DISABLE_TELEMETRY", "1", "sends usage with each request to the hub"),
    Switch("transformers", "TRANSFORMERS_OFFLINE", "1", "asks the hub about models that are on disk"),
    Switch("several", "DO_NOT_TRACK", "1", "the common switch, honoured by some"),
    Switch("numpy", "OPENBLAS_NUM_THREADS", "1", "has a thread on every core wait for more work by turning in a circle"),
)


def set_switches() -> None:
    """Sets every switch in this process's environment, for itself and its children."""
    for switch in SWITCHES:
        os.environ[switch.variable] = switch.value


def keep_temporary_files_in(folder: Path) -> None:
    """Makes `folder` (mode 0700) the place of this process's temporary files and of those of its children. Where it cannot
    be made, nothing is changed: whatever needs it will say so. SQLite looks once, so this comes before the first database."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        for variable in ("TMPDIR", "SQLITE_TMPDIR"):
            os.environ[variable] = str(folder)
        tempfile.tempdir = str(folder)
