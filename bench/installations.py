"""Installations of the product for measuring: made in an empty folder, opened with the model loaded before any clock."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.operations.run import run_in
from service.settings import load_settings
from service.wiring import Installation

COMMAND = (sys.executable, "-c", "from service.cli import main; main()")
"""The command line, whether or not it is on the path."""


def initialised(data: Path) -> Path:
    """A data directory made by `inhouse init`; one that is there is kept."""
    if not (data / "people.db").exists():
        subprocess.run([*COMMAND, "init", "--data", str(data)], check=True, stdout=subprocess.DEVNULL)
    return data


def opened(data: Path) -> Installation:
    """The installation with its model loaded and its store open, so that the clock sees neither."""
    installation = Installation(data, load_settings(data))
    installation.embedder.embed_query("warm")
    assert installation.store is not None
    return installation


def ingested(installation: Installation, folder: Path) -> tuple[float, float, Mapping[str, Any]]:
    """A whole ingest of a folder, from the request to the closed store: seconds, processor seconds, and the run's report.

    It is what `inhouse ingest` does after its start: walk, parse in worker processes (whose own start counts), label, cut,
    embed, commit, audit, save. The installation is closed after it.
    """
    cpu, started = _processor_seconds(), time.perf_counter()
    report = run_in(installation, "ingest", {"folder": str(folder)}, lambda event: None, threading.Event())["run"]
    installation.close()
    return time.perf_counter() - started, _processor_seconds() - cpu, report


def _processor_seconds() -> float:
    """Of this process and of every child that has ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
