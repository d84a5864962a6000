"""How much of what a question needs stands in a context of 1,000 word pieces: gold characters of the long documents of
chunking_evaluation that the product's own passages bring, best first, until the next one would not fit.

    python bench/passages.py [--work DIR] [--pieces N]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from policies.egress.switches import set_switches

set_switches()

import numpy as np  # noqa: E402
from datasets import data_folder, indexed_files, lines  # noqa: E402

from policies.access.scope import UnsafeEverything  # noqa: E402
from service.settings import load_settings  # noqa: E402
from service.wiring import Installation  # noqa: E402
from vectorstore.types import Passage  # noqa: E402

EVERYTHING = UnsafeEverything("the set has no labels")
MOST = 60
"""Passages asked for: more than any budget here takes."""


class Places:
    """Counts a text's characters without its white space, which parsing may shorten."""

    def __init__(self, text: str) -> None:
        solid = np.fromiter((not character.isspace() for character in text), bool, len(text))
        self._before = np.concatenate([[0], np.cumsum(solid)])

    def span(self, start: int, end: int) -> range:
        """The same span in those counts."""
        return range(int(self._before[start]), int(self._before[end]))


def context(installation: Installation, question: str, pieces: int) -> list[Passage]:
    """The best passages that together have at most that many word pieces."""
    found = [hit.passage for hit in installation.search.search(question, EVERYTHING, limit=MOST).hits]
    taken, total = [], 0
    for passage, length in zip(found, installation.embedder.count([one.text for one in found]), strict=True):
        if total + length > pieces:
            break
        taken.append(passage)
        total += length
    return taken


def recall(question: Mapping[str, Any], passages: Sequence[Passage], gold: Places, parsed: Mapping[str, Places]) -> float:
    """The share of the question's gold characters that stand in the passages."""
    name = f"{question['corpus_id']}.md"
    wanted = {place for one in question["references"] for place in gold.span(one["start_index"], one["end_index"])}
    held = {place for one in passages if one.path == name for place in parsed[name].span(one.start, one.end)}
    return len(wanted & held) / len(wanted)


def main() -> None:
    """Prints the mean over the questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="Keep the index here for the next run.")
    parser.add_argument("--pieces", type=int, default=1000)
    arguments = parser.parse_args()
    folder = data_folder() / "chunking_evaluation"
    asked: list[dict[str, Any]] = lines(folder / "questions.jsonl")
    with tempfile.TemporaryDirectory() as temporary:
        data = indexed_files("chunking_evaluation", sorted((folder / "corpora").iterdir()), arguments.work or Path(temporary))
        with Installation(data, load_settings(data)) as installation:
            store = installation.store
            parsed = {one.path: Places(store.document_text(EVERYTHING, one.id)[0]) for one in store.documents(EVERYTHING)}
            gold = {path.stem: Places(path.read_bytes().decode("utf-8")) for path in (folder / "corpora").iterdir()}
            shares, counts = [], []
            for question in asked:
                taken = context(installation, question["question"], arguments.pieces)
                shares.append(recall(question, taken, gold[question["corpus_id"]], parsed))
                counts.append(len(taken))
    print("| questions | pieces of context | passages in it | gold characters in it |\n| --- | --- | --- | --- |")
    print(f"| {len(asked)} | {arguments.pieces} | {np.mean(counts):.1f} | {np.mean(shares):.3f} |")


if __name__ == "__main__":
    main()
