"""LlamaIndex's metadata filter on Chroma: passages with vectors made elsewhere, questions restricted to permitted classes.

    python bench/peers/llamaindex_filter.py --passages passages.jsonl --vectors vectors.npy --requests requests.json \
        --out result.json

passages.jsonl has `id`, `text` and `class` a line, vectors.npy a row for each; requests.json is a list of
`{"text", "permitted"}`, `permitted` null where nothing is held back. The result has, for each request in order,
`milliseconds` and the `found` ids; questions are embedded while the clock runs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llamaindex
from contract import lines

TOP = 10
_BATCH = 5000


def loaded(passages: Path, vectors: Path, folder: Path) -> Any:
    """The index over a new collection with every passage in it."""
    import numpy
    from llama_index.core import VectorStoreIndex
    from llama_index.core.schema import TextNode

    store = llamaindex.vector_store(folder)
    rows = numpy.load(vectors)
    said = lines(passages)
    for start in range(0, len(said), _BATCH):
        part = zip(said[start : start + _BATCH], rows[start : start + _BATCH], strict=True)
        store.add(
            [
                TextNode(id_=str(one["id"]), text=one["text"], embedding=row.tolist(), metadata={"class": one["class"]})
                for one, row in part
            ]
        )
    return VectorStoreIndex.from_vector_store(store, embed_model=llamaindex.embedding())


def retriever(index: Any, permitted: list[str] | None) -> Any:
    """The index's own retriever, with the documented filter where something is held back."""
    from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters

    if permitted is None:
        return index.as_retriever(similarity_top_k=TOP)
    only = MetadataFilter(key="class", operator=FilterOperator.IN, value=permitted)
    return index.as_retriever(similarity_top_k=TOP, filters=MetadataFilters(filters=[only]))


def main() -> None:
    """Writes the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("passages", "vectors", "requests", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="peer-", dir=given.out.parent))
    try:
        started = time.perf_counter()
        index = loaded(given.passages, given.vectors, folder)
        load_seconds = time.perf_counter() - started
        requests = json.loads(given.requests.read_text(encoding="utf-8"))
        for one in requests[:3]:
            retriever(index, one["permitted"]).retrieve(one["text"])
        milliseconds, found = [], []
        for one in requests:
            asked = retriever(index, one["permitted"])
            started = time.perf_counter()
            hits = asked.retrieve(one["text"])
            milliseconds.append((time.perf_counter() - started) * 1000)
            found.append([hit.node.node_id for hit in hits])
        result = {
            "peer": "LlamaIndex + Chroma, metadata filter",
            "versions": {package: version(package) for package in llamaindex.PACKAGES},
            "load_seconds": load_seconds,
            "milliseconds": milliseconds,
            "found": found,
        }
        given.out.write_text(json.dumps(result), encoding="utf-8")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
