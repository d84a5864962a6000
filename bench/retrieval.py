"""How well passages are found: nDCG@10 by document through the product's own ingest and search, beside each leg alone.

    python bench/retrieval.py [--work DIR] [SET ...]

squad2_dev is cut to every third answerable question, from the first on.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from policies.egress.switches import set_switches

set_switches()

from datasets import documents_of, indexed, ndcg, questions  # noqa: E402

from policies.access.scope import UnsafeEverything  # noqa: E402
from service.settings import load_settings  # noqa: E402
from service.wiring import Installation  # noqa: E402
from vectorstore.lexical.analysis import query_terms  # noqa: E402

EVERY = {"squad2_dev": 3}
DEPTH = 60
EVERYTHING = UnsafeEverything("the sets have no labels")


def measure(name: str, work: Path) -> tuple[int, float, float, float]:
    """Questions, and nDCG@10 of the whole, of BM25 alone and of dense alone."""
    asked = questions(name, every=EVERY.get(name, 1))
    data = indexed(name, work)
    whole, words, meaning = [], [], []
    with Installation(data, load_settings(data)) as installation:
        store, embedder = installation.store, installation.embedder

        def paths(ids: list[int]) -> list[str]:
            found = store.fetch(ids, EVERYTHING)  # type: ignore[arg-type]
            return [found[one].path for one in ids if one in found]  # type: ignore[index]

        for identifier, text in asked.texts.items():
            relevant = asked.relevant[identifier]
            hits = installation.search.search(text, EVERYTHING, limit=DEPTH).hits
            whole.append(ndcg(documents_of(hit.passage.path for hit in hits), relevant))
            lexical = store.lexical.search(query_terms(text), None, DEPTH)
            words.append(ndcg(documents_of(paths([one for one, _ in lexical])), relevant))
            dense = store.dense.search(embedder.embed_query(text), None, DEPTH)
            meaning.append(ndcg(documents_of(paths([one for one, _ in dense])), relevant))
    return len(whole), statistics.mean(whole), statistics.mean(words), statistics.mean(meaning)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="Keep the indexes here for the next run.")
    parser.add_argument("sets", nargs="*", default=["scifact", "hotpotqa100", "squad2_dev"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        rows = [(name, *measure(name, arguments.work or Path(temporary))) for name in arguments.sets]
    print("| set | questions | nDCG@10 | BM25 alone | dense alone |")
    print("| --- | --- | --- | --- | --- |")
    for name, count, *figures in rows:
        print(f"| {name} | {count} | " + " | ".join(f"{one:.3f}" for one in figures) + " |")


if __name__ == "__main__":
    main()
