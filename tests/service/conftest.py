"""A real service in a process of its own, over a small indexed folder, with keys for its people."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

LABELS = """
[[rule]]
glob = "*"
kb = "handbook"
classification = "internal"
groups = ["everyone"]
owner = "hr"

[[rule]]
glob = "board/*"
kb = "board"
classification = "confidential"
groups = ["directors"]
owner = "board"
"""
DOCUMENTS = {
    "leave.md": "# Annual leave\n\nStaff have 30 days of annual leave. Requests go to the line manager by 1 March.\n",
    "travel.md": "# Travel\n\nHotels are paid up to 140 euros a night. Taxis need a receipt.\n",
    "board/merger.md": "# Merger\n\nThe board plans to buy Tannhof Optics for 48 million euros in June.\n",
}
PEOPLE = {
    "ana": ("internal", (), ("user",)),
    "dora": ("confidential", ("directors",), ("user",)),
    "root": ("public", (), ("admin",)),
    "audra": ("public", (), ("auditor",)),
}


@dataclass(frozen=True)
class Service:
    """A running service."""

    data: Path
    url: str
    keys: Mapping[str, str]
    process: subprocess.Popen[str]

    def inhouse(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command line beside it."""
        return inhouse(self.data, *arguments)


def inhouse(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line on a data directory, in a process of its own."""
    command = [sys.executable, "-c", "from service.cli import main; main()", *arguments]
    environment = {**os.environ, "INHOUSE_DATA_DIR": str(data)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def write_folder(folder: Path) -> None:
    """The documents and their labels."""
    for name, text in DOCUMENTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "labels.toml").write_text(LABELS, encoding="utf-8")


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, str]]:
    """A data directory with the documents indexed, their folder, and a key for each person."""
    root = tmp_path_factory.mktemp("s")
    data, folder = root / "data", root / "documents"
    write_folder(folder)
    for arguments in (("init",), ("ingest", str(folder))):
        done = inhouse(data, *arguments)
        assert done.returncode == 0, done.stderr
    keys = {}
    for person, (clearance, groups, roles) in PEOPLE.items():
        given = [part for group in groups for part in ("--group", group)] + [p for role in roles for p in ("--role", role)]
        done = inhouse(data, "people", "add", person, "--name", person.title(), "--clearance", clearance, *given)
        assert done.returncode == 0, done.stderr
        keys[person] = json.loads(inhouse(data, "keys", "create", person, "--json").stdout)["secret"]
    return data, folder, keys


@pytest.fixture(scope="session")
def service(indexed: tuple[Path, Path, dict[str, str]]) -> Iterator[Service]:
    """The service over it, on a free port; it must end in order when it is told to."""
    data, _, keys = indexed
    command = [sys.executable, "-c", "from service.cli import main; main()", "serve", "--port", "0"]
    environment = {**os.environ, "INHOUSE_DATA_DIR": str(data), "INHOUSE_SERVER__MAX_BODY_BYTES": "20000"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "Serving" in line, process.stderr and process.stderr.read()
    url = next(word for word in line.split() if word.startswith("http://"))
    yield Service(data, url, keys, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
