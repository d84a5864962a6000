"""The default embedder: the packaged weights in ONNX Runtime, int8, without torch."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from policies.errors import DataDirectoryError
from vectorstore.embedders.weights import PINNED, packaged_weights, sha256_of
from vectorstore.types import IndexFingerprint, Vectors

WINDOW = 256
"""Word pieces that all-MiniLM-L6-v2 was trained to read, special tokens included (its sentence_bert_config.json)."""

FORM = 1
"""The version of how the graph is built and quantised; a change makes other vectors and so another fingerprint."""

_GRAPH = 2
"""The version of how the same vectors are computed; a change needs the graph built anew, and no index."""

_UNWANTED = ["SkipLayerNormFusion"]
"""A fusion of ONNX Runtime whose kernel is slower than the two that it replaces (bench/embedders.py --ways)."""

_BUILDING = ".building-"
_FULL, _INT8, _MANIFEST, _TOKENIZER = "model.onnx", "model-int8.onnx", "manifest.json", "tokenizer.json"


def prepare(model: Path) -> None:
    """Builds the graph and its int8 form in the directory `model`; does nothing where they are whole and current.

    The directory appears complete or not at all. Raises DataDirectoryError for weights that are missing or not the
    pinned ones, or a disk that is full.
    """
    if _is_current(model):
        return
    source = packaged_weights()
    work = None
    try:
        model.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What a killed build left; whoever builds owns the directory, so no other build is on.
        for left in model.parent.glob(f"{_BUILDING}*"):
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=model.parent))
        _build(source, work)
        if model.exists():
            shutil.rmtree(model)
        os.replace(work, model)
    except OSError as error:
        raise DataDirectoryError(
            f"cannot build the embedding model in {model}: {error.strerror or error}",
            hint="It needs about 250 MB of space while it is built, and 120 MB after.",
        ) from None
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _build(source: Path, work: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from vectorstore.embedders.graph import build_graph

    build_graph(source / "model.safetensors", source / "config.json", work / _FULL)
    # It advises a step for pictures' models through the root logger, where it would reach a steward's terminal.
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    previous, tempfile.tempdir = tempfile.tempdir, str(work)  # the quantiser's own temporary files stay inside
    try:
        quantize_dynamic(
            work / _FULL,
            work / _INT8,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
    finally:
        tempfile.tempdir = previous
        logger.setLevel(level)
    shutil.copyfile(source / _TOKENIZER, work / _TOKENIZER)
    manifest = {
        "form": FORM,
        "graph": _GRAPH,
        "weights": PINNED["model.safetensors"],
        "files": {name: sha256_of(work / name) for name in (_FULL, _INT8, _TOKENIZER)},
    }
    (work / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def _is_current(model: Path) -> bool:
    try:
        manifest = json.loads((model / _MANIFEST).read_text(encoding="utf-8"))
        return bool(
            (manifest["form"], manifest["graph"]) == (FORM, _GRAPH)
            and manifest["weights"] == PINNED["model.safetensors"]
            and all(sha256_of(model / name) == expected for name, expected in manifest["files"].items())
        )
    except (OSError, ValueError, KeyError):
        return False


class OnnxEmbedder:
    """Reads the directory that `prepare` made. A text's vector depends on that text alone: what is embedded beside it, of
    whoever's documents, leaves no trace in it."""

    def __init__(self, model: Path, *, threads: int, quantised: bool = True) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        name = _INT8 if quantised else _FULL
        manifest = json.loads((model / _MANIFEST).read_text(encoding="utf-8")) if (model / _MANIFEST).is_file() else {}
        if manifest.get("graph") != _GRAPH:
            raise DataDirectoryError(f"there is no embedding model of this version in {model}", hint="Build it: inhouse init")
        options = onnxruntime.SessionOptions()
        # Several texts side by side, each on one thread, lose no time waiting for each other inside an operator.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(model / name), options, providers=["CPUExecutionProvider"], disabled_optimizers=_UNWANTED
        )
        self._threads = ThreadPoolExecutor(threads, "embedding") if threads > 1 else None
        self._cutting = Tokenizer.from_file(str(model / _TOKENIZER))
        self._cutting.enable_truncation(WINDOW)
        self._cutting.no_padding()
        self._whole = Tokenizer.from_file(str(model / _TOKENIZER))
        self._whole.no_truncation()
        self._whole.no_padding()
        self._dimension = int(self._session.get_outputs()[0].shape[1])
        kind = "int8" if quantised else "float32"
        self._fingerprint = IndexFingerprint(
            f"all-MiniLM-L6-v2/onnx/{kind}", self._dimension, manifest["weights"], int(manifest["form"])
        )

    @property
    def fingerprint(self) -> IndexFingerprint:
        """Names the weights, the quantisation and the form of the graph."""
        return self._fingerprint

    @property
    def window(self) -> int:
        """256 word pieces."""
        return WINDOW

    def count(self, texts: Sequence[str]) -> list[int]:
        """Word pieces of each text, uncut, without special tokens."""
        return [len(one) for one in self._whole.encode_batch_fast(list(texts), add_special_tokens=False)]

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> Vectors:
        """One unit row a text."""
        # Texts of one run would share the scale of their int8 activations, and pay for the longest of them; one by one they
        # take no more time from some 60 word pieces on (bench/embedders.py --ways).
        inputs = [one.ids for one in self._cutting.encode_batch_fast(list(texts))]
        vectors = np.empty((len(texts), self._dimension), np.float32)
        outputs = self._threads.map(self._run, inputs) if self._threads and len(inputs) > 1 else map(self._run, inputs)
        for row, output in enumerate(outputs):
            vectors[row] = output
            if progress is not None:
                progress(1)
        return vectors

    def embed_query(self, text: str) -> Vectors:
        """The model reads questions as it reads passages."""
        return self.embed([text])

    def _run(self, pieces: list[int]) -> Any:
        return self._session.run(None, {"input_ids": np.array([pieces], np.int64)})[0][0]
