"""Any local sentence-transformers model; the only module that imports torch, and only when it is chosen."""

from __future__ import annotations

import hashlib
import importlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from policies.errors import SettingsError
from vectorstore.embedders.weights import sha256_of
from vectorstore.types import IndexFingerprint, Vectors

_BATCH = 16


class SentenceTransformersEmbedder:
    """A model directory as sentence-transformers saves it, on this machine's disk; never a name on a hub.

    Raises SettingsError where the extra is not installed or the directory is not a model. Safe for threads.
    """

    def __init__(self, model: Path, *, threads: int) -> None:
        if not (model / "modules.json").is_file():
            raise SettingsError(
                f"{model} is not the directory of a sentence-transformers model",
                hint="embedding.model must name a local directory with a modules.json; nothing is ever downloaded.",
            )
        try:
            import torch
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise SettingsError(
                "embedding.kind = 'sentence-transformers' needs the extra of that name",
                hint="Install it beside the product: pip install torch 'inhouse[sentence-transformers]'",
            ) from None
        torch.set_num_threads(threads)
        # A bar for each model that is loaded would stand between the lines of a command.
        importlib.import_module("transformers.utils.logging").disable_progress_bar()
        self._model = SentenceTransformer(str(model), device="cpu", local_files_only=True)
        self._model.eval()
        # The tokenizer keeps whether it cuts as its own state: counting beside embedding would let whole texts through.
        self._lock = threading.Lock()
        # The method that tells the dimension has another name in each of the versions in use.
        dimension = len(self._model.encode([""], show_progress_bar=False)[0])
        self._fingerprint = IndexFingerprint(f"{model.name}/sentence-transformers", dimension, _hash(model), 1)

    @property
    def fingerprint(self) -> IndexFingerprint:
        """Names the directory and the hash of all its weights."""
        return self._fingerprint

    @property
    def window(self) -> int:
        """What the model says that it reads."""
        return int(self._model.max_seq_length or 512)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Pieces of the model's own tokenizer, uncut, without special tokens."""
        if not texts:
            return []
        # Its advice about texts longer than the window would reach a steward's terminal; here they are only counted.
        with self._lock:
            encoded = self._model.tokenizer(
                list(texts), add_special_tokens=False, truncation=False, padding=False, verbose=False
            )
        return [len(ids) for ids in encoded["input_ids"]]

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> Vectors:
        """One unit row a text; texts of like length run together."""
        vectors = np.empty((len(texts), self._fingerprint.dimension), np.float32)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            vectors[rows] = self._encode([texts[row] for row in rows])
            if progress is not None:
                progress(len(rows))
        return vectors

    def embed_query(self, text: str) -> Vectors:
        """A question, with the prompt that the model keeps for questions where it has one."""
        prompt = "query" if "query" in (self._model.prompts or {}) else None
        return self._encode([text], prompt)

    def _encode(self, texts: list[str], prompt: str | None = None) -> Vectors:
        with self._lock:
            vectors = self._model.encode(
                texts, prompt_name=prompt, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False
            )
        return np.asarray(vectors, np.float32)


def _hash(model: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(model.rglob("*")):
        if path.suffix in {".safetensors", ".bin", ".json", ".txt"} and path.is_file():
            digest.update(f"{path.relative_to(model)} {sha256_of(path)}\n".encode())
    return digest.hexdigest()
