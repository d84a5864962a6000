"""Whether the time of a search tells that there are forbidden documents about what is asked.

    python bench/subjects.py [--permitted N] [--forbidden N] [--rounds N]

Four stores have the same permitted passages: one has nothing else, one as many forbidden passages about other things, in one a
hundredth of these is about the subject of the question, and in one all are. Each round asks the same question of each, in an
order drawn by lot, within this process. What is compared is the processor's time: of the time on the wall it is the part that
documents can change, and no network and no other program adds noise to it. Embedding the question is left out, which knows of
no document. bench/pairs.py says how the differences are judged.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from policies.egress.switches import set_switches

set_switches()

import datasets  # noqa: E402, F401 -- puts this folder behind the packages, whose names its modules share
import numpy as np  # noqa: E402
import synthetic  # noqa: E402
from pairs import difference, real  # noqa: E402

from policies.access.scope import AccessScope  # noqa: E402
from vectorstore.embedders.hashing import HashingEmbedder  # noqa: E402
from vectorstore.search import Search  # noqa: E402
from vectorstore.store import Store  # noqa: E402

QUESTION = "merger with quintessa costs millions"
SUBJECT = ("merger", "quintessa", "costs", "millions")
WORDS_OF_A_PASSAGE = 60
VOCABULARY = [f"word{number}" for number in range(2_000)]
NOTHING, OTHERS, FEW, ALL = "nothing forbidden", "about other things", "a hundredth about it", "all about it"
PERMITTED, FORBIDDEN = 0, 1


def texts(count: int, about: float, random: np.random.Generator) -> list[str]:
    """Passages of words drawn by Zipf, of which so large a share has the words of the question too."""
    weights = 1 / np.arange(1, len(VOCABULARY) + 1)
    drawn = random.choice(VOCABULARY, size=(count, WORDS_OF_A_PASSAGE), p=weights / weights.sum())
    made = [" ".join(row) for row in drawn]
    return [f"{text} {' '.join(SUBJECT)}" if place < about * count else text for place, text in enumerate(made)]


def store_of(directory: Path, permitted: Sequence[str], forbidden: Sequence[str]) -> Store:
    """A store of both, each document of some passages."""
    embedder = HashingEmbedder()
    Store.create(directory, embedder.fingerprint)
    store = Store.open(directory, embedder.fingerprint)
    for words, number, source in ((permitted, PERMITTED, "permitted"), (forbidden, FORBIDDEN, "forbidden")):
        if words:
            documents = [place // synthetic.PASSAGES_OF_A_DOCUMENT for place in range(len(words))]
            made = synthetic.Passages([source] * len(words), words, documents, [0] * len(words), embedder.embed(words))
            synthetic.fill(store, made, [number] * len(words), source)
    return store


def timed(stores: Mapping[str, Store], rounds: int) -> dict[str, list[float]]:
    """Microseconds of the processor for each round in each store; raises where one finds or scores anything else."""
    random, embedder = np.random.default_rng(3), HashingEmbedder()
    person = AccessScope("ana", frozenset({synthetic.access_class(PERMITTED).id}), "bench")
    searches = {name: Search(store, embedder) for name, store in stores.items()}
    took: dict[str, list[float]] = {name: [] for name in stores}
    for number in range(-10, rounds):
        told = set()
        for name in random.permutation(list(stores)):
            began = time.process_time_ns()
            hits = searches[name].search(QUESTION, person, limit=10).hits
            if number >= 0:
                took[name].append((time.process_time_ns() - began) / 1000)
            told.add(tuple((hit.passage.path, hit.passage.start, hit.score) for hit in hits))
        assert len(told) == 1, "what is forbidden changed what is found"
    return took


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--permitted", type=int, default=2_000)
    parser.add_argument("--forbidden", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=600)
    given = parser.parse_args()
    random = np.random.default_rng(1)
    # Some of what is permitted is about the subject, so that there is something to score.
    permitted = texts(given.permitted, 0.02, random)
    forbidden = {
        NOTHING: [],
        **{name: texts(given.forbidden, about, random) for name, about in ((OTHERS, 0), (FEW, 0.01), (ALL, 1))},
    }
    with tempfile.TemporaryDirectory() as root:
        stores = {
            name: store_of(Path(root) / str(place), permitted, words) for place, (name, words) in enumerate(forbidden.items())
        }
        took = timed(stores, given.rounds)
        for store in stores.values():
            store.close()
    print(f"{given.permitted} permitted passages, {given.forbidden} forbidden, {given.rounds} rounds\n")
    print("| forbidden passages | processor, median µs | beside | longer by, µs | between | p | real |\n|" + " --- |" * 7)
    print(f"| {NOTHING} | {statistics.median(took[NOTHING]):.0f} | | | | | |")
    beside = [(OTHERS, NOTHING), (FEW, OTHERS), (ALL, OTHERS)]
    found = [difference(took[name], took[other]) for name, other in beside]
    for (name, other), seen, sure in zip(beside, found, real(found), strict=True):
        between = f"{seen.low:+.1f} to {seen.high:+.1f}"
        middle = statistics.median(took[name])
        print(f"| {name} | {middle:.0f} | {other} | {seen.typical:+.1f} | {between} | {seen.p:.4f} | {'yes' if sure else ''} |")


if __name__ == "__main__":
    main()
