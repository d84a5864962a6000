"""txtai hybrid: its own dense and BM25 indexes with the content in its database, on the same weights.

python bench/peers/txtai_hybrid.py --corpus corpus.jsonl --queries queries.jsonl --out result.json
"""

from __future__ import annotations

from pathlib import Path

from contract import Search, arguments, joined, lines, peer, weights


def main() -> None:
    """Writes the result file."""
    given = arguments(__doc__)
    from txtai import Embeddings

    embeddings = Embeddings(path=weights(), hybrid=True, content=True)
    # Without this the weights would be loaded while the clock runs.
    embeddings.batchtransform(["warm"])

    def ingest(corpus: Path, folder: Path) -> Search:
        embeddings.index((str(one["_id"]), joined(one)) for one in lines(corpus))
        embeddings.save(str(folder / "index"))
        return lambda text, count: [str(one["id"]) for one in embeddings.search(text, count)]

    peer("txtai hybrid", ("txtai", "faiss-cpu", "transformers", "torch"), given, ingest, len(lines(given.corpus)))


if __name__ == "__main__":
    main()
