"""What every Embedder does, whatever model is behind it and in whatever process it runs."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.embedding_process import ProcessEmbedder
from vectorstore.embedders.factory import load_embedder
from vectorstore.embedders.hashing import HashingEmbedder
from vectorstore.embedders.interface import Embedder
from vectorstore.embedders.onnx import OnnxEmbedder
from vectorstore.embedders.weights import packaged_weights

WITHOUT_EXTRA = importlib.util.find_spec("sentence_transformers") is None
REASON = "needs the extra: pip install torch 'inhouse[sentence-transformers]'"


@dataclass(frozen=True)
class Kind:
    """How an embedder is made, and what is promised of the vector of one text beside different ones: that it is the same to
    the last bit, or within 1e-5."""

    make: Callable[[Path], Any]
    exact: bool
    cuts: bool = True


def _of_torch(model: Path) -> Embedder:
    return load_embedder("sentence-transformers", model=packaged_weights(), threads=2)


KINDS = {
    "onnx-int8": Kind(lambda model: OnnxEmbedder(model, threads=2), True),
    "onnx-float32": Kind(lambda model: OnnxEmbedder(model, threads=2, quantised=False), True),
    "hashing": Kind(lambda model: HashingEmbedder(), True, cuts=False),
    "process": Kind(lambda model: ProcessEmbedder({"kind": "onnx", "model": str(model), "threads": 2}), True),
    "sentence-transformers": Kind(_of_torch, False),
}
TEXTS = [
    "How many days of annual leave do staff have?",
    "Leave",
    "Staff have 30 days of annual leave; requests go to the line manager by 1 March of the year before. " * 3,
    "Hotels are paid up to 140 euros a night.",
    "",
    "| Grade | From | To |\n| --- | --- | --- |\n| A1 | 41,000 | 52,500 |",
    "Größe, naïve café — 4 °C … “quoted”",
    "你好。再见。 日本語の文章 🙂",
    "0123456789 " * 40,
    "\x00\u200b\t\n",
    "The calibration of the HM-40 is repeated every twelve months against the reference block. " * 12,
    "x" * 3000,
]


@dataclass(frozen=True)
class Made:
    """An embedder and what it is held to."""

    name: str
    kind: Kind
    embedder: Embedder


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.skipif(name == "sentence-transformers" and WITHOUT_EXTRA, reason=REASON))
        for name in KINDS
    ],
)
def made(request: pytest.FixtureRequest, onnx_model: Path) -> Iterator[Made]:
    kind = KINDS[request.param]
    embedder = kind.make(onnx_model)
    yield Made(request.param, kind, embedder)
    if hasattr(embedder, "close"):
        embedder.close()


def assert_same(made: Made, one: Any, other: Any) -> None:
    """Rows of the same texts, as near as this kind promises."""
    np.testing.assert_allclose(one, other, rtol=0, atol=0 if made.kind.exact else 1e-5)


def test_every_text_becomes_a_row_of_length_one(made: Made) -> None:
    vectors = made.embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), made.embedder.fingerprint.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_a_text_has_the_same_vector_whatever_comes_with_it_and_rows_keep_the_order(made: Made) -> None:
    vectors = made.embedder.embed(TEXTS)
    assert_same(made, made.embedder.embed(TEXTS[::-1])[::-1], vectors)
    assert_same(made, np.concatenate([made.embedder.embed([text]) for text in TEXTS]), vectors)
    # Different texts are not the same row, so a wrong order would show.
    distinct = [row for row, text in enumerate(TEXTS) if text.strip("\x00\u200b\t\n")]
    cosines = vectors[distinct] @ made.embedder.embed([TEXTS[row] for row in distinct[::-1]])[::-1].T
    assert cosines.argmax(axis=1).tolist() == list(range(len(distinct)))


def test_the_same_call_gives_the_same_vectors(made: Made) -> None:
    assert np.array_equal(made.embedder.embed(TEXTS), made.embedder.embed(TEXTS))


def test_a_question_is_one_row_near_the_text_that_it_shares_words_with(made: Made) -> None:
    question = made.embedder.embed_query("annual leave days of staff")
    assert question.shape == (1, made.embedder.fingerprint.dimension)
    np.testing.assert_allclose(np.linalg.norm(question), 1.0, atol=1e-5)
    about, other = (made.embedder.embed([TEXTS[row]]) for row in (2, 3))
    assert (question @ about.T).item() > (question @ other.T).item() + 0.1


def test_no_texts_are_no_rows(made: Made) -> None:
    assert made.embedder.embed([]).shape == (0, made.embedder.fingerprint.dimension)
    assert made.embedder.count([]) == []


def test_pieces_are_counted_in_order_without_special_ones_and_never_cut(made: Made) -> None:
    long = "word " * (10 * made.embedder.window)
    counts = made.embedder.count(["", "leave", long, "leave days", "leave"])
    assert counts[0] == 0
    assert 0 < counts[1] == counts[4] < counts[3]
    assert counts[2] == 10 * made.embedder.window
    assert made.embedder.window > 16


def test_a_text_longer_than_the_window_is_read_up_to_it(made: Made) -> None:
    long = "annual leave of staff " * 4000
    vectors = made.embedder.embed([long, f"{long} hotels and taxis"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    if made.kind.cuts:
        assert_same(made, vectors[:1], vectors[1:])
        # What stands within the window counts, to its last piece, and no piece more.
        whole = "leave " * (made.embedder.window - 2)
        last, past, plain = made.embedder.embed([whole.removesuffix("leave ") + "hotel", f"{whole}hotel", whole])
        assert not np.allclose(last, plain, atol=1e-3)
        np.testing.assert_allclose(past, plain, atol=1e-5)


def test_progress_adds_up_to_the_texts(made: Made) -> None:
    seen: list[int] = []
    made.embedder.embed(TEXTS * 3, progress=seen.append)
    assert sum(seen) == 3 * len(TEXTS)
    assert min(seen) > 0


def test_many_threads_may_ask_and_count_at_once(made: Made) -> None:
    # Counting must not cut and embedding must, at the same time, with a tokenizer that both share.
    long = "The annual leave of staff in the winter months. " * 60
    texts = [TEXTS[0], long, TEXTS[3], long]
    expected, counted = made.embedder.embed(texts), made.embedder.count([long])
    failed: list[object] = []

    def ask() -> None:
        try:
            for row in range(4):
                assert_same(made, made.embedder.embed([texts[row]]), expected[[row]])
        except BaseException as error:
            failed.append(error)

    def count() -> None:
        try:
            for _ in range(60):
                assert made.embedder.count([long]) == counted
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one) for one in (ask, count, ask, count, ask)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failed


def test_a_fingerprint_is_the_same_each_time_and_one_line(made: Made, onnx_model: Path) -> None:
    again = made.kind.make(onnx_model)
    assert again.fingerprint == made.embedder.fingerprint
    assert "\n" not in made.embedder.fingerprint.as_text()
    assert len(made.embedder.fingerprint.weights_sha256) == 64
    if hasattr(again, "close"):
        again.close()


def test_fingerprints_tell_kinds_and_forms_apart_and_a_process_changes_none(onnx_model: Path) -> None:
    names = [name for name in KINDS if name != "sentence-transformers" or not WITHOUT_EXTRA]
    made = {name: KINDS[name].make(onnx_model) for name in names}
    stamps = {name: embedder.fingerprint.as_text() for name, embedder in made.items()}
    made["process"].close()
    assert stamps.pop("process") == stamps["onnx-int8"]
    assert len(set(stamps.values())) == len(stamps)
    assert HashingEmbedder(32).fingerprint.as_text() != HashingEmbedder(64).fingerprint.as_text()
