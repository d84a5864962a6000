"""How fast files are parsed and in how much memory, by kind, through the product's own worker processes and limits.

    python bench/parsing.py [FOLDER ...]

Without folders: docs_docling and docs_pypdf_samples of the test data. For each kind a new pool of one worker; its start is
not counted, its resident memory is (sampled twenty times a second). What is refused is counted with its reasons.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from policies.egress.switches import set_switches

set_switches()

from datasets import data_folder  # noqa: E402
from processes import Memory  # noqa: E402

from ingest.parsing.pool import ParserPool  # noqa: E402
from ingest.parsing.types import ParsedDocument, ParseItem, ParserLimits  # noqa: E402

SETS = ("docs_docling", "docs_pypdf_samples")
MIB = 2**20


def by_kind(folders: list[Path]) -> dict[str, list[Path]]:
    """The files under the folders by what their name ends with, largest kinds first."""
    kinds: dict[str, list[Path]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                kinds.setdefault(path.suffix.lower() or "(none)", []).append(path)
    return dict(sorted(kinds.items(), key=lambda one: (-len(one[1]), one[0])))


def parse(kind: str, paths: list[Path], temporary: Path) -> str:
    """One row of the table."""
    warm = temporary / "warm.txt"
    warm.write_text("A file that makes the worker start.", encoding="utf-8")
    first = 0.0

    def items() -> Iterator[ParseItem]:
        yield ParseItem(warm, warm.name)
        for path in paths:
            yield ParseItem(path, path.name)

    characters, refused, slowest, last = 0, Counter[str](), 0.0, 0.0
    with Memory(os.getpid(), without_root=True, every=0.05) as sampled, ParserPool(ParserLimits(), 1, temporary) as pool:
        for item, outcome in pool.parse(items()):
            now = time.perf_counter()
            if item.path == warm:
                first = last = now
                continue
            slowest, last = max(slowest, now - last), now
            if isinstance(outcome, ParsedDocument):
                characters += len(outcome.text)
            else:
                refused[str(outcome.reason)] += 1
    seconds = max(last - first, 1e-9)
    size = sum(path.stat().st_size for path in paths) / MIB
    reasons = ", ".join(f"{count} {reason}" for reason, count in refused.most_common()) or "none"
    speed = f"{len(paths) / seconds:.1f} | {slowest:.2f}"
    return f"| {kind} | {len(paths)} | {size:.1f} | {characters} | {speed} | {sampled.peak / MIB:.0f} | {reasons} |"


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    given = parser.parse_args()
    folders = given.folders or [data_folder() / name for name in SETS]
    print("| kind | files | MiB | characters | files/s | slowest, s | peak, MiB | refused |\n|" + " --- |" * 8)
    with tempfile.TemporaryDirectory() as temporary:
        for kind, paths in by_kind(folders).items():
            print(parse(kind, paths, Path(temporary)), flush=True)


if __name__ == "__main__":
    main()
