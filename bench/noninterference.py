"""How much documents that a person may not read change what that person finds, where the graph of all vectors is asked.

    python bench/noninterference.py [--size N] [--questions N] [--copies N] [--work DIR]

A store of that many permitted passages is told to ask the graph from 1,000 on, where it would score each one otherwise. The
same questions are asked before near copies of them, forbidden to who asks, come in, while they are there, and after they went;
and in a second store that was built of the same passages in the same order: a graph is built by chance, and that is the noise.
All is compared with the answers to the same questions where each permitted passage is scored.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from policies.egress.switches import set_switches

set_switches()

import datasets  # noqa: E402, F401 -- puts this folder behind the packages, whose names its modules share
import numpy as np  # noqa: E402
import synthetic  # noqa: E402
from installations import initialised, opened  # noqa: E402
from search import asked  # noqa: E402

from policies.access.scope import AccessScope  # noqa: E402
from vectorstore.embedders.interface import Embedder  # noqa: E402
from vectorstore.search import CANDIDATES, Search  # noqa: E402
from vectorstore.store import Store  # noqa: E402
from vectorstore.types import DocumentId  # noqa: E402

TOP = 10
GRAPH_FROM = 1_000
EVERYTHING_EXACT = 10**9
PERMITTED, FORBIDDEN = 0, 1
EVERY = 8
"""Each so many-th real passage is embedded: the rest are made of these."""

_NEAR = 0.3
"""Length of the random vector that makes a near copy of a question."""


@dataclass(frozen=True)
class Answer:
    """What one question finds: passages with their scores of the ten best, of the ten nearest by meaning alone, and of all
    candidates by meaning."""

    found: dict[int, float]
    nearest: dict[int, float]
    candidates: dict[int, float]


def ask(store: Store, embedder: Embedder, texts: Sequence[str], person: AccessScope) -> list[Answer]:
    """Each question once. Every candidate is one that the person may read, else this raises."""
    search, classes = Search(store, embedder), store.class_numbers(person, None)
    answers = []
    for text in texts:
        hits = search.search(text, person, limit=TOP).hits
        scored = store.dense.search(embedder.embed_query(text), classes, CANDIDATES)
        assert classes is not None
        assert set(store.exact.class_of(scored.ids).tolist()) <= classes
        found = {int(hit.passage.id): hit.score for hit in hits}
        meant = {int(one): score for one, score in scored.pairs()}
        answers.append(Answer(found, dict(list(meant.items())[:TOP]), meant))
    return answers


def forbid(store: Store, embedder: Embedder, texts: Sequence[str], copies: int) -> list[DocumentId]:
    """Puts in near copies of each question, which nobody who asks may read."""
    random = np.random.default_rng(5)
    asked_for = np.concatenate([embedder.embed_query(text) for text in texts])
    vectors = np.repeat(asked_for, copies, axis=0)
    noise = random.standard_normal(vectors.shape)
    vectors = vectors + _NEAR * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    words = [text for text in texts for _ in range(copies)]
    numbers = list(np.repeat(np.arange(len(texts)), copies))
    made = synthetic.Passages(words, words, numbers, [0] * len(words), vectors)
    return [one.id for one in synthetic.fill(store, made, [FORBIDDEN] * len(words), source="forbidden")]


def share_changed(one: Sequence[dict[int, float]], other: Sequence[dict[int, float]]) -> float:
    """The share of what was found that is found no more."""
    return float(
        np.mean([len(before.keys() - now.keys()) / max(1, len(before)) for before, now in zip(one, other, strict=True)])
    )


def scores_changed(one: Sequence[dict[int, float]], other: Sequence[dict[int, float]]) -> float:
    """Of what is found both times, the share whose score differs in any bit."""
    pairs = [(before[row], now[row]) for before, now in zip(one, other, strict=True) for row in before.keys() & now.keys()]
    return float(np.mean([before != now for before, now in pairs]))


def row(name: str, now: Sequence[Answer], before: Sequence[Answer], exact: Sequence[Answer]) -> str:
    """A row of the table."""
    cells = []
    for part in ("found", "nearest", "candidates"):
        here, there, all_of = ([getattr(one, part) for one in answers] for answers in (now, before, exact))
        cells += [f"{share_changed(there, here):.4f}", f"{1 - share_changed(all_of, here):.4f}"]
    parts = [[getattr(one, part) for one in answers for part in ("found", "nearest")] for answers in (before, now)]
    return f"| {name} | {' | '.join(cells)} | {scores_changed(*parts):.4f} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=30_000)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--copies", type=int, default=50, help="Near copies of each question.")
    parser.add_argument("--work", type=Path, help="Keep the vectors of the real passages here for the next run.")
    given = parser.parse_args()
    texts = asked(given.questions)
    person = AccessScope("ana", frozenset({synthetic.access_class(PERMITTED).id}), "bench")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        with opened(initialised(root / "embedding")) as installation:
            embedder = installation.embedder
            made = synthetic.passages(given.size, synthetic.real(given.work or root, embedder, every=EVERY))
            answers = {}
            for name in ("first", "second"):
                Store.create(root / name, embedder.fingerprint)
                store = Store.open(root / name, embedder.fingerprint, exact_rows=EVERYTHING_EXACT)
                synthetic.fill(store, made, [PERMITTED] * given.size)
                answers[name, "exact"] = ask(store, embedder, texts, person)
                store.close()
                store = Store.open(root / name, embedder.fingerprint, exact_rows=GRAPH_FROM)
                answers[name, "graph"] = ask(store, embedder, texts, person)
                if name == "first":
                    there = forbid(store, embedder, texts, given.copies)
                    answers[name, "with"] = ask(store, embedder, texts, person)
                    store.remove(there)
                    answers[name, "after"] = ask(store, embedder, texts, person)
                store.close()
        print(f"{given.size} permitted passages, {len(texts)} questions, {given.copies} forbidden near copies of each\n")
        heads = ["of ten changed", "recall", "of the ten nearest changed", "recall"]
        heads += [f"of {CANDIDATES} candidates changed", "recall", "scores changed"]
        print(f"| | {' | '.join(heads)} |\n|" + " --- |" * (len(heads) + 1))
        before, exact = answers["first", "graph"], answers["first", "exact"]
        print(row("asked before", before, before, exact))
        print(row("with forbidden copies", answers["first", "with"], before, exact))
        print(row("after they went", answers["first", "after"], before, exact))
        print(row("the same built again", answers["second", "graph"], before, answers["second", "exact"]))


if __name__ == "__main__":
    main()
