"""A double: words hashed into a vector, so that texts with the same words are near each other and nothing else is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

import numpy as np

from vectorstore.types import IndexFingerprint, Vectors

_WORD = re.compile(r"\w+")


class HashingEmbedder:
    """Needs no weights and knows no meaning: for tests, and for trying out the plumbing."""

    def __init__(self, dimension: int = 64) -> None:
        self._dimension = dimension

    @property
    def fingerprint(self) -> IndexFingerprint:
        """Names the dimension; there are no weights."""
        return IndexFingerprint("hashing", self._dimension, hashlib.sha256(b"hashing").hexdigest(), 1)

    @property
    def window(self) -> int:
        """Reads everything; the figure is what the default embedder has, so that passages come out alike."""
        return 256

    def count(self, texts: Sequence[str]) -> list[int]:
        """Words of each text."""
        return [len(_WORD.findall(text)) for text in texts]

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> Vectors:
        """One unit row a text."""
        vectors = np.zeros((len(texts), self._dimension), np.float32)
        for row, text in enumerate(texts):
            # A component that every text shares keeps a text without words at unit length.
            vectors[row, 0] = 0.1
            for word in _WORD.findall(text.lower()):
                digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                place = int.from_bytes(digest[:6], "big") % self._dimension
                vectors[row, place] += 1.0 if digest[7] & 1 else -1.0
            length = float(np.linalg.norm(vectors[row]))
            if length == 0.0:
                vectors[row, 0] = length = 1.0
            vectors[row] /= length
        if progress is not None:
            progress(len(texts))
        return vectors

    def embed_query(self, text: str) -> Vectors:
        """Questions are texts."""
        return self.embed([text])
