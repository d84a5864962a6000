"""What quantising costs on SciFact: the cosine between the int8 and the float32 vector of the same abstract; with --ndcg,
nDCG@10 of int8, of float32 and, where the extra is installed, of sentence-transformers with the same weights, by meaning
alone over whole abstracts cut at the model's window; with --ways, what the way in which the graph is run saves.

python bench/embedders.py [--texts N]
python bench/embedders.py --ways [--texts N]
python bench/embedders.py --ndcg [--texts N]    # all 5,183 abstracts and 300 questions, or the first N abstracts
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from policies.egress.switches import set_switches

set_switches()

import numpy as np  # noqa: E402
from datasets import data_folder, lines, ndcg, questions  # noqa: E402

from policies.cores import granted_cores  # noqa: E402
from vectorstore.embedders import onnx  # noqa: E402
from vectorstore.embedders.interface import Embedder  # noqa: E402
from vectorstore.embedders.onnx import OnnxEmbedder, prepare  # noqa: E402
from vectorstore.embedders.weights import packaged_weights  # noqa: E402
from vectorstore.types import Vectors  # noqa: E402


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, help="abstracts; 400 for cosines, all for nDCG")
    parser.add_argument("--ndcg", action="store_true", help="nDCG@10 instead of cosines")
    parser.add_argument("--ways", action="store_true", help="processor time of each way to run the graph")
    chosen = parser.parse_args()
    count = chosen.texts if chosen.texts or chosen.ndcg else 400
    corpus = lines(data_folder() / "scifact" / "corpus.jsonl")[:count]
    texts = {str(one["_id"]): f"{one['title']}\n{one['text']}" for one in corpus}
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / "model"
        prepare(model)
        small, full = (OnnxEmbedder(model, threads=granted_cores(), quantised=kind) for kind in (True, False))
        if chosen.ways:
            print_ways(list(texts.values()), model)
        elif chosen.ndcg:
            print_ndcg(texts, {"int8": small, "float32": full, **with_torch()})
        else:
            print_cosines(list(texts.values()), small, full)


def with_torch() -> Mapping[str, Embedder]:
    """sentence-transformers over the packaged weights, where the extra is installed."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return {}
    from vectorstore.embedders.sentence_transformers import SentenceTransformersEmbedder

    return {"sentence-transformers": SentenceTransformersEmbedder(packaged_weights(), threads=granted_cores())}


def print_cosines(texts: list[str], small: Embedder, full: Embedder) -> None:
    """The lowest and the mean cosine."""
    cosines = np.sum(small.embed(texts) * full.embed(texts), axis=1)
    print(f"| {len(texts)} texts | lowest cosine | mean cosine |\n| --- | --- | --- |")
    print(f"| int8 and float32 | {cosines.min():.3f} | {cosines.mean():.3f} |")


class InBatches(OnnxEmbedder):
    """Eight texts of like length in one run, padded to the longest. For its pace alone: the graph reads padding as words."""

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> Vectors:
        """See `Embedder.embed`."""
        encoded = [one.ids for one in self._cutting.encode_batch_fast(list(texts))]
        order = sorted(range(len(texts)), key=lambda row: len(encoded[row]))
        batches = [order[start : start + 8] for start in range(0, len(order), 8)]
        assert self._threads is not None, "this way needs more than one core"
        vectors = np.empty((len(texts), self.fingerprint.dimension), np.float32)
        outputs = self._threads.map(self._together, [[encoded[row] for row in rows] for rows in batches])
        for rows, output in zip(batches, outputs, strict=True):
            vectors[rows] = output
        return vectors

    def _together(self, batch: list[list[int]]) -> Any:
        ids = np.zeros((len(batch), max(map(len, batch))), np.int64)
        for row, one in enumerate(batch):
            ids[row, : len(one)] = one
        return self._session.run(None, {"input_ids": ids})[0]


def print_ways(texts: list[str], model: Path) -> None:
    """Each way to run the int8 graph: as shipped, with the fusion that is switched off, eight texts at a time, and with one
    thread alone. They take turns; the median of three rounds."""
    shipped = list(onnx._UNWANTED)
    ways: dict[str, Embedder] = {}
    for name, kind, unwanted, threads in (
        ("as shipped", OnnxEmbedder, shipped, granted_cores()),
        ("with SkipLayerNormFusion", OnnxEmbedder, [], granted_cores()),
        ("eight texts a run", InBatches, shipped, granted_cores()),
        ("one thread", OnnxEmbedder, shipped, 1),
    ):
        onnx._UNWANTED = unwanted
        ways[name] = kind(model, threads=threads)
    onnx._UNWANTED = shipped
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(3):
        for name, embedder in ways.items():
            started, busy = time.perf_counter(), time.process_time()
            embedder.embed(texts)
            took[name].append((time.perf_counter() - started, time.process_time() - busy))
    print(f"| {len(texts)} texts | texts/s | processor ms a text |\n| --- | --- | --- |")
    for name, rounds in took.items():
        wall, busy = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"| {name} | {len(texts) / wall:.0f} | {1000 * busy / len(texts):.1f} |")


def print_ndcg(texts: Mapping[str, str], embedders: Mapping[str, Embedder]) -> None:
    """nDCG@10 over the questions that these abstracts answer, each embedder's share of float32's, and its pace."""
    asked = questions("scifact")
    kept = {one: text for one, text in asked.texts.items() if asked.relevant[one].keys() & texts.keys()}
    names, reached = list(texts), dict[str, tuple[float, float]]()
    for name, embedder in embedders.items():
        started = time.perf_counter()
        vectors = embedder.embed(list(texts.values()))
        pace = len(texts) / (time.perf_counter() - started)
        scores = np.concatenate([embedder.embed_query(text) for text in kept.values()]) @ vectors.T
        gains = [
            ndcg([names[place] for place in np.argsort(-row, kind="stable")[:10]], asked.relevant[one])
            for one, row in zip(kept, scores, strict=True)
        ]
        reached[name] = float(np.mean(gains)), pace
    print(f"| {len(texts)} abstracts, {len(kept)} questions | nDCG@10 | of float32's | texts/s |\n| --- | --- | --- | --- |")
    for name, (gain, pace) in reached.items():
        print(f"| {name} | {gain:.4f} | {gain / reached['float32'][0]:.4f} | {pace:.0f} |")


if __name__ == "__main__":
    main()
