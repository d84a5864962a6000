"""Makes the embedder that a setting names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from policies.errors import SettingsError
from vectorstore.embedders.interface import Embedder


def load_embedder(kind: str, *, model: Path, threads: int) -> Embedder:
    """`onnx`, `sentence-transformers` or `hashing`; raises SettingsError for any other, and what the adapter raises."""
    if kind not in _KINDS:
        raise SettingsError(f"there is no embedder {kind!r}", hint=f"One of: {', '.join(sorted(_KINDS))}.")
    return _KINDS[kind](model, threads)


def _onnx(model: Path, threads: int) -> Embedder:
    from vectorstore.embedders.onnx import OnnxEmbedder

    return OnnxEmbedder(model, threads=threads)


def _sentence_transformers(model: Path, threads: int) -> Embedder:
    from vectorstore.embedders.sentence_transformers import SentenceTransformersEmbedder

    return SentenceTransformersEmbedder(model, threads=threads)


def _hashing(model: Path, threads: int) -> Embedder:
    from vectorstore.embedders.hashing import HashingEmbedder

    return HashingEmbedder()


_KINDS: dict[str, Callable[[Path, int], Embedder]] = {
    "onnx": _onnx,
    "sentence-transformers": _sentence_transformers,
    "hashing": _hashing,
}
