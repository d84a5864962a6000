"""What quantising costs on SciFact's abstracts: the cosine between the int8 and the float32 vector of the same text, and
between the int8 vectors of a text in a batch and alone.

python bench/embedders.py [--texts N]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from policies.egress.switches import set_switches

set_switches()

import numpy as np  # noqa: E402
from datasets import data_folder, lines  # noqa: E402

from service.wiring import granted_cores  # noqa: E402
from vectorstore.embedders.onnx import OnnxEmbedder, prepare  # noqa: E402


def main() -> None:
    """Prints the lowest and the mean cosine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=400)
    count = parser.parse_args().texts
    texts = [f"{one['title']}\n{one['text']}" for one in lines(data_folder() / "scifact" / "corpus.jsonl")[:count]]
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / "model"
        prepare(model)
        small, full = (OnnxEmbedder(model, threads=granted_cores(), quantised=kind) for kind in (True, False))
        batched = small.embed(texts)
        compared = {
            "int8 and float32": full.embed(texts),
            "int8 in a batch and alone": np.concatenate([small.embed([one]) for one in texts]),
        }
    print(f"| {count} texts | lowest cosine | mean cosine |\n| --- | --- | --- |")
    for name, vectors in compared.items():
        cosines = np.sum(batched * vectors, axis=1)
        print(f"| {name} | {cosines.min():.3f} | {cosines.mean():.3f} |")


if __name__ == "__main__":
    main()
