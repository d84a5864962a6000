"""LlamaIndex hybrid: the stock index and its BM25 retriever, joined by reciprocal rank; no query is made up by a model.

python bench/peers/llamaindex_hybrid.py --corpus corpus.jsonl --queries queries.jsonl --out result.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import llamaindex
from contract import Search, arguments, lines, peer


def fused(index: Any, made: list[Any], count: int) -> Any:
    """Both retrievers asked for as many pieces as are wanted in the end."""
    from llama_index.core.llms import MockLLM
    from llama_index.core.retrievers import QueryFusionRetriever
    from llama_index.retrievers.bm25 import BM25Retriever

    both = [
        index.as_retriever(similarity_top_k=count),
        BM25Retriever.from_defaults(nodes=made, similarity_top_k=min(count, len(made))),
    ]
    return QueryFusionRetriever(
        both,
        # With one query the model is never called; without any given, the class looks for a vendor's.
        llm=MockLLM(),
        similarity_top_k=count,
        num_queries=1,
        mode="reciprocal_rerank",
    )


def main() -> None:
    """Writes the result file."""
    given = arguments(__doc__)
    import llama_index.core.node_parser
    import llama_index.core.retrievers
    import llama_index.retrievers.bm25
    import llama_index.vector_stores.chroma  # noqa: F401 (imports come before the clock)

    model = llamaindex.embedding()

    def ingest(corpus: Path, folder: Path) -> Search:
        made = llamaindex.nodes(corpus)
        index = llamaindex.index_of(made, folder, model)
        first = fused(index, made, given.top)
        later: dict[int, Any] = {given.top: first}

        def search(text: str, count: int) -> list[str]:
            if count not in later:
                later[count] = fused(index, made, count)
            return llamaindex.names(later[count].retrieve(text))

        return search

    peer("LlamaIndex hybrid", llamaindex.PACKAGES, given, ingest, len(lines(given.corpus)))


if __name__ == "__main__":
    main()
