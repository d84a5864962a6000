"""Stock LlamaIndex with Chroma: default splitter, all-MiniLM-L6-v2, the vector index's own retriever.

python bench/peers/llamaindex_stock.py --corpus corpus.jsonl --queries queries.jsonl --out result.json
"""

from __future__ import annotations

from pathlib import Path

import llamaindex
from contract import Search, arguments, lines, peer


def main() -> None:
    """Writes the result file."""
    given = arguments(__doc__)
    import llama_index.core.node_parser
    import llama_index.vector_stores.chroma  # noqa: F401

    model = llamaindex.embedding()

    def ingest(corpus: Path, folder: Path) -> Search:
        index = llamaindex.index_of(llamaindex.nodes(corpus), folder, model)
        retrievers = {count: index.as_retriever(similarity_top_k=count) for count in {given.top, given.depth}}
        return lambda text, count: llamaindex.names(retrievers[count].retrieve(text))

    peer("LlamaIndex + Chroma", llamaindex.PACKAGES, given, ingest, len(lines(given.corpus)))


if __name__ == "__main__":
    main()
