"""How well passages are found: nDCG@10 by document through the product's own ingest and search, beside each leg alone.

    python bench/retrieval.py [--work DIR] [SET ...]

squad2_dev is measured whole and on each third of its answerable questions, because figures published elsewhere are on a third:
every third one from the first, the second and the third on.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from policies.egress.switches import set_switches

set_switches()

from datasets import documents_of, indexed, ndcg, questions  # noqa: E402

from policies.access.scope import UnsafeEverything  # noqa: E402
from service.settings import load_settings  # noqa: E402
from service.wiring import Installation  # noqa: E402
from vectorstore.lexical.analysis import query_terms  # noqa: E402
from vectorstore.types import PassageId  # noqa: E402

PARTS = 3
DEPTH = 60
EVERYTHING = UnsafeEverything("the sets have no labels")


Figures = list[tuple[float, float, float]]
"""For each question nDCG@10 of the whole, of BM25 alone and of dense alone."""


def measure(name: str, work: Path) -> Figures:
    """Asks every question of a set."""
    asked = questions(name)
    data = indexed(name, work)
    figures: Figures = []
    with Installation(data, load_settings(data)) as installation:
        store, embedder = installation.store, installation.embedder

        def paths(ids: Sequence[PassageId]) -> list[str]:
            found = store.fetch(ids, EVERYTHING)
            return [found[one].path for one in ids if one in found]

        for identifier, text in asked.texts.items():
            relevant = asked.relevant[identifier]
            hits = installation.search.search(text, EVERYTHING, limit=DEPTH).hits
            lexical = store.lexical.query(query_terms(text), None).best(DEPTH)
            dense = store.dense.search(embedder.embed_query(text), None, DEPTH)
            figures.append(
                (
                    ndcg(documents_of(hit.passage.path for hit in hits), relevant),
                    ndcg(documents_of(paths(lexical.ids.tolist())), relevant),
                    ndcg(documents_of(paths(dense.ids.tolist())), relevant),
                )
            )
    return figures


def rows(name: str, work: Path) -> Iterator[tuple[str, Figures]]:
    """A set, and its parts where it has some."""
    figures = measure(name, work)
    yield name, figures
    if name == "squad2_dev":
        for part in range(PARTS):
            yield f"{name}, third {part + 1}", figures[part::PARTS]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="Keep the indexes here for the next run.")
    parser.add_argument("sets", nargs="*", default=["scifact", "hotpotqa100", "squad2_dev"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        found = [row for name in arguments.sets for row in rows(name, work)]
    print("| set | questions | nDCG@10 | BM25 alone | dense alone |")
    print("| --- | --- | --- | --- | --- |")
    for name, figures in found:
        means = [statistics.mean(one) for one in zip(*figures, strict=True)]
        print(f"| {name} | {len(figures)} | " + " | ".join(f"{one:.3f}" for one in means) + " |")


if __name__ == "__main__":
    main()
