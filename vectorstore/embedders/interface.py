"""The seam for embedders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from vectorstore.types import IndexFingerprint, Vectors


class Embedder(Protocol):
    """Turns texts into unit vectors. The same text gives the same vector whatever batch it comes in (within 1e-5
    unquantised; a quantised one states its bound). Refuses nothing: longer texts are read up to `window` pieces."""

    @property
    def fingerprint(self) -> IndexFingerprint:
        """What is stamped on an index that holds this embedder's vectors."""

    @property
    def window(self) -> int:
        """How many of its own word pieces the model reads, special tokens included."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """The length of each text in the model's own word pieces, special tokens left out, never cut."""

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> Vectors:
        """One row per text, in order. `progress` is called with the number of texts just done."""

    def embed_query(self, text: str) -> Vectors:
        """Shape (1, dimension): a question, for models that treat questions apart."""
