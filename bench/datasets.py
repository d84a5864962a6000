"""Public question sets in BEIR's form, and an index of one made by the product's own commands.

The data are not part of this project. INHOUSE_TEST_DATA names the folder that holds one folder for each set, with
`corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`) and `qrels.tsv`.
"""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_HERE = str(Path(__file__).resolve().parent)
if _HERE in sys.path:
    # Python puts a program's own folder first, where `ingest.py` would hide the package of that name.
    sys.path.remove(_HERE)
    sys.path.append(_HERE)

LABELS = """
[[rule]]
glob = "*"
kb = "bench"
classification = "public"
groups = ["everyone"]
owner = "bench"

[[collection]]
glob = "corpus.jsonl"
id = "_id"
title = "title"
text = ["text"]
"""


@dataclass(frozen=True)
class Questions:
    """The questions of a set by id, and for each the ids of the documents that answer it, with their grades."""

    texts: Mapping[str, str]
    relevant: Mapping[str, Mapping[str, int]]


def data_folder() -> Path:
    """Where the sets are; ends the program with a next step where they are not."""
    here = Path(__file__).resolve().parent.parent
    folder = Path(os.environ.get("INHOUSE_TEST_DATA") or here.parent / "shared" / "data")
    if not folder.is_dir():
        sys.exit("The data sets are not here. Set INHOUSE_TEST_DATA to the folder that holds scifact, squad2_dev, hotpotqa100.")
    return folder


def lines(path: Path) -> list[dict[str, object]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def questions(name: str, *, every: int = 1) -> Questions:
    """The judged questions of a set; `every` keeps each n-th one, from the first on."""
    folder = data_folder() / name
    relevant: dict[str, dict[str, int]] = {}
    with (folder / "qrels.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if int(row["score"]) > 0:
                relevant.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    judged = [one for one in lines(folder / "queries.jsonl") if str(one["_id"]) in relevant][::every]
    return Questions({str(one["_id"]): str(one["text"]) for one in judged}, relevant)


def indexed(name: str, work: Path) -> Path:
    """A data directory with the set's corpus in it, made by `inhouse init` and `inhouse ingest`; kept for the next run."""
    return indexed_files(name, [data_folder() / name / "corpus.jsonl"], work)


def indexed_files(name: str, files: Iterable[Path], work: Path) -> Path:
    """The same for files of any kind."""
    data, folder = work / name / "data", work / name / "corpus"
    if not (work / name / "whole").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "labels.toml").write_text(LABELS, encoding="utf-8")
        for path in files:
            (folder / path.name).write_bytes(path.read_bytes())
        for arguments in (["init"], ["ingest", str(folder)]):
            command = [sys.executable, "-c", "from service.cli import main; main()", *arguments, "--data", str(data)]
            subprocess.run(command, check=True)
        (work / name / "whole").touch()
    return data


def ndcg(ranked: Sequence[str], relevant: Mapping[str, int], depth: int = 10) -> float:
    """nDCG at a depth, gains as graded (Järvelin and Kekäläinen 2002)."""
    gained = sum(relevant.get(one, 0) / math.log2(place + 2) for place, one in enumerate(ranked[:depth]))
    best = sorted(relevant.values(), reverse=True)[:depth]
    ideal = sum(grade / math.log2(place + 2) for place, grade in enumerate(best))
    return gained / ideal if ideal else 0.0


def documents_of(passages: Iterable[str]) -> list[str]:
    """Documents in the order of their best passage; a collection's document is named `file#id`."""
    return list(dict.fromkeys(one.partition("#")[2] for one in passages))
