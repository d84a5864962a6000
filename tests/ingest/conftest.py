"""Parsers planted for tests: real worker processes in which something else than the product's parser runs."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingest.parsing.pool import ParserPool
from ingest.parsing.types import Outcome, ParseItem, ParserLimits

HEAD = """
import ctypes, hashlib, json, os, socket, struct, sys, time
from ingest.parsing.frames import encode
from ingest.parsing.types import ParsedDocument, ParseFailure, ParseReason
"""
PARSER = """
from ingest.parsing.worker import work

def parse(content, name, *, output_bytes, tessdata):
    if name == "good.txt":
        return ParsedDocument(content.decode(), (), "good", "text/plain")
{body}

work(int(sys.argv[1]), parse)
"""
CHILD = """
def say(message):
    sys.stdout.buffer.write(encode(message))
    sys.stdout.flush()

requests = socket.socket(fileno=os.dup(0))
say({{"ready": True, "layers": {{"network": False, "files": False, "calls": False}}}})
requests.recv(1 << 20)
{body}
"""


@dataclass
class Parser:
    """A pool of one worker, and the folder that its files are written to."""

    pool: ParserPool
    folder: Path
    scratch: Path

    def outcomes(self, **files: bytes) -> dict[str, Outcome]:
        """What became of files of these contents, by name; `bad` stands for bad.txt."""
        items = []
        for name, content in files.items():
            path = self.folder / f"{name}.txt"
            path.write_bytes(content)
            items.append(ParseItem(path, path.name))
        return {item.path.stem: outcome for item, outcome in self.pool.parse(items)}

    def outcome(self, path: Path) -> Outcome:
        """What became of one file that is there, or is not."""
        (found,) = self.pool.parse([ParseItem(path, path.name)])
        return found[1]


Plant = Callable[..., Parser]


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """Makes a pool whose worker runs `body` for every file but good.txt; with `raw=True` the body is all that the child
    does once it has said that it is ready. Limits by keyword."""
    pools: list[ParserPool] = []

    def make(body: str | None, *, raw: bool = False, **limits: Any) -> Parser:
        folder, scratch = tmp_path / "files", tmp_path / "scratch"
        folder.mkdir(exist_ok=True)
        scratch.mkdir(exist_ok=True)
        given = ParserLimits(**{"silence_seconds": 20, **limits})
        if body is None:
            pool = ParserPool(given, 1, scratch)
        else:
            program = tmp_path / "planted.py"
            form, indent = (CHILD, "") if raw else (PARSER, "    ")
            written = textwrap.indent(textwrap.dedent(body), indent)
            program.write_text(HEAD + form.format(body=written), encoding="utf-8")
            pool = ParserPool(given, 1, scratch, program=(sys.executable, "-I", str(program)))
        pools.append(pool)
        return Parser(pool, folder, scratch)

    yield make
    for pool in pools:
        pool.__exit__(None, None, None)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The command line, run in this process on an initialised directory of its own with an embedder that starts at once.
    Checks the exit code; gives what it printed, as JSON where that was asked for."""
    from service.cli.application import run

    monkeypatch.setenv("INHOUSE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("INHOUSE_EMBEDDING__KIND", "hashing")

    def call(*arguments: str, code: int = 0) -> Any:
        capsys.readouterr()
        ended = run(list(arguments))
        printed = capsys.readouterr()
        assert ended == code, printed.out + printed.err
        return json.loads(printed.out) if "--json" in arguments else printed.out + printed.err

    call("init")
    return call
