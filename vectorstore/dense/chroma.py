"""The only door to chromadb: the store of record for vectors, one collection for each knowledge base."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from policies.errors import IndexMismatch
from vectorstore.ranking import NOTHING, Scored, best
from vectorstore.types import PassageId, Vectors

_BATCH = 5_000
"""Chroma refuses batches past 5,461 and is many times slower in small ones."""


class ChromaVectors:
    """Ids and vectors only: no text, no metadata, no embedding function, so that nothing of a request reaches one."""

    def __init__(self, directory: Path) -> None:
        import chromadb
        from chromadb.config import Settings

        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._client: Any = chromadb.PersistentClient(
            str(directory), settings=Settings(anonymized_telemetry=False, allow_reset=False)
        )
        self._collections: dict[str, Any] = {}

    def add(self, kb: str, ids: Sequence[PassageId], vectors: Vectors) -> None:
        """Adds or replaces rows in batches."""
        collection = self._collection(kb)
        for start in range(0, len(ids), _BATCH):
            part = [str(one) for one in ids[start : start + _BATCH]]
            collection.upsert(ids=part, embeddings=vectors[start : start + _BATCH])

    def delete(self, kb: str, ids: Sequence[PassageId]) -> None:
        """Removes rows from the collection; their bytes go when the collection is rebuilt."""
        collection = self._collection(kb)
        for start in range(0, len(ids), _BATCH):
            part = [str(one) for one in ids[start : start + _BATCH]]
            there = collection.get(ids=part, include=[])["ids"]
            if there:
                collection.delete(ids=there)

    def get(self, kb: str, ids: Sequence[PassageId]) -> dict[PassageId, Vectors]:
        """The vectors of those of the ids that are there."""
        found: dict[PassageId, Vectors] = {}
        collection = self._collection(kb)
        for start in range(0, len(ids), _BATCH):
            part = [str(one) for one in ids[start : start + _BATCH]]
            answer = collection.get(ids=part, include=["embeddings"])
            for name, vector in zip(answer["ids"], answer["embeddings"], strict=True):
                found[PassageId(int(name))] = np.asarray(vector, np.float32)
        return found

    def all(self, kb: str) -> Iterator[tuple[list[PassageId], Vectors]]:
        """Every row in blocks of some thousands."""
        collection = self._collection(kb)
        offset = 0
        while True:
            answer = collection.get(include=["embeddings"], limit=_BATCH, offset=offset)
            if not answer["ids"]:
                return
            yield [PassageId(int(name)) for name in answer["ids"]], np.asarray(answer["embeddings"], np.float32)
            offset += len(answer["ids"])

    def nearest(self, kb: str, query: Vectors, count: int) -> Scored:
        """The rows that the graph finds nearest."""
        collection = self._collection(kb)
        wanted = min(count, collection.count())
        if not wanted:
            return NOTHING
        answer = collection.query(query_embeddings=query, n_results=wanted, include=["distances"])
        return best([int(name) for name in answer["ids"][0]], 1.0 - np.asarray(answer["distances"][0]), wanted)

    def close(self) -> None:
        """Lets go of the files."""
        self._client.close()

    def _collection(self, kb: str) -> Any:
        if kb not in self._collections:
            # Chroma restricts names; a hash of ours admits any name of a knowledge base and leads back from none.
            name = "kb-" + hashlib.sha256(kb.encode()).hexdigest()[:32]
            collection = self._client.get_or_create_collection(
                name, embedding_function=None, configuration={"hnsw": {"space": "ip", "ef_search": 200}}
            )
            stored = collection.configuration_json.get("embedding_function")
            if stored and stored.get("type") not in (None, "legacy"):
                raise IndexMismatch(
                    f"the vector collection of {kb} names an embedding function, which this product never writes",
                    hint="The directory was changed from outside: restore it from a backup.",
                )
            self._collections[kb] = collection
        return self._collections[kb]
