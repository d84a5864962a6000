"""How long a question takes and how exact it is: 10,000 and 100,000 passages, with and without access restriction.

    python bench/search.py [--size N ...] [--questions N] [--peers] [--work DIR]

A question is timed from its text to its ten best passages: embedded, looked up by meaning and by words, fused, fetched.
Restricted and unrestricted searches take turns within one loop. Recall@10 is against an oracle that scores every permitted
passage on both sides, with no cut, and fuses alike: meaning from the vectors that went in, words by BM25 from the index,
proximity and lift for all that these could bring into the ten. A passage of the product's ten counts where its oracle's score
reaches the oracle's tenth.

--peers asks LlamaIndex's metadata filter on Chroma the same, over the same vectors (bench/peers/README.md).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from policies.egress.switches import set_switches

set_switches()

import numpy as np  # noqa: E402
import synthetic  # noqa: E402
from datasets import questions  # noqa: E402
from installations import initialised, opened  # noqa: E402
from peers.filtering import ask_filter  # noqa: E402

from policies.access.scope import AccessScope, Scope, UnsafeEverything  # noqa: E402
from service.wiring import Installation  # noqa: E402
from vectorstore.fusion import DENSE, LEXICAL, NEIGHBOUR, PROXIMITY  # noqa: E402
from vectorstore.lexical.analysis import bound, idf, terms  # noqa: E402
from vectorstore.proximity import proximity  # noqa: E402

TOP = 10
LAYOUTS = {10: (1, 5), 2000: (200,)}
"""Access classes, and how many of them a person may read."""

CLASSES = {10: synthetic.equal_classes, 2000: synthetic.zipf_classes}
"""How the classes differ in size."""

PEOPLE = 5
"""Persons with other permissions each, who take turns."""

EVERYTHING = UnsafeEverything("what nobody is restricted from is the measure of what restriction costs")
UNRESTRICTED = "all"
_SAME = 1e-4
"""Scores that differ by less are equal: the two sides of the comparison sum in another order."""


@dataclass(frozen=True)
class Person:
    """Whose question it is: what the product is told, and the class numbers for the oracle, None for all."""

    scope: Scope
    permitted: frozenset[int] | None


def people(layout: int, count: int) -> list[Person]:
    """Persons who may read that many of the classes, drawn at random for each."""
    random = np.random.default_rng(count)
    found = []
    for number in range(PEOPLE):
        drawn = frozenset(random.choice(layout, size=count, replace=False).tolist())
        ids = frozenset(synthetic.access_class(one).id for one in drawn)
        found.append(Person(AccessScope(f"person-{count}-{number}", ids, "bench"), drawn))
    return found


def asked(count: int) -> list[str]:
    """Real questions of every set, evenly spaced, sets in turn."""
    each = -(-count // len(synthetic.SETS))
    found = []
    for name in synthetic.SETS:
        texts = list(questions(name).texts.values())
        found.append([texts[place * len(texts) // each] for place in range(each)])
    return [one for turn in zip(*found, strict=True) for one in turn][:count]


class Oracle:
    """Scores every permitted passage exactly."""

    def __init__(self, installation: Installation, made: synthetic.Passages, numbers: Sequence[int]) -> None:
        self._installation = installation
        self._made = made
        self._vectors = made.vectors
        self._numbers = np.asarray(numbers)
        store = installation.store
        places: dict[int, list[tuple[int, int]]] = {}
        ids = store.exact.ids()
        for start in range(0, len(ids), 1000):
            for one, passage in store.fetch(ids[start : start + 1000], EVERYTHING).items():
                places.setdefault(int(passage.path), []).append((passage.start, int(one)))
        self.row_of = {one: first + place for first, there in places.items() for place, (_, one) in enumerate(sorted(there))}
        # A document has one title, that of its first passage.
        first_of = np.concatenate([[0], np.flatnonzero(np.diff(made.documents)) + 1])
        self._titles = [made.titles[first_of[one]] for one in np.searchsorted(first_of, np.arange(len(numbers)), "right") - 1]
        if len(self.row_of) != len(numbers):
            raise SystemExit(f"{len(self.row_of)} of {len(numbers)} passages are in the store")

    def recall(self, question: str, person: Person) -> tuple[float, float, int]:
        """Recall@10 of the whole and of meaning alone; how many hits the person may not read or are missing."""
        store, embedder = self._installation.store, self._installation.embedder
        allowed = permitted(person, self._numbers)
        wanted = min(TOP, int(allowed.sum()))
        vector, classes = embedder.embed_query(question), store.class_numbers(person.scope, None)
        cosines = self._vectors @ vector.reshape(-1)
        whole = self._scores(question, classes, cosines, allowed, wanted)
        hits = self._installation.search.search(question, person.scope, limit=TOP).hits
        rows = [self.row_of[int(hit.passage.id)] for hit in hits]
        own = [(row, hit.score - hit.lift) for row, hit in zip(rows, hits, strict=True)]
        if any(abs(whole[row] - score) > _SAME for row, score in own if whole[row] > -np.inf):
            raise SystemExit(f"the oracle and the product score {question!r} differently")
        nearest = [self.row_of[one] for one in store.dense.search(vector, classes, TOP).ids.tolist()]
        wrong = sum(not allowed[row] for row in rows) + wanted - len(rows)
        return share_found(self._lifted(whole), allowed, rows, wanted), share_found(cosines, allowed, nearest, wanted), wrong

    def _scores(
        self, question: str, classes: frozenset[int] | None, cosines: np.ndarray, allowed: np.ndarray, wanted: int
    ) -> np.ndarray:
        """Every permitted passage's own score; -inf where that cannot reach the best ten, nor be lifted into them."""
        asked = terms(question)
        distinct = list(dict.fromkeys(asked))
        query = self._installation.store.lexical.query(distinct, classes)
        frequencies, count = query.frequencies, query.passages
        weights = {term: idf(frequency, count) for term, frequency in zip(distinct, frequencies, strict=True)}
        words = np.zeros(len(self._numbers))
        for one, score in query.best(len(words)).pairs():
            words[self.row_of[one]] = score
        base = LEXICAL * words / (bound(frequencies, count) or 1.0) + DENSE * np.maximum(cosines, 0)
        whole = np.full(len(base), -np.inf)
        best: list[float] = []

        def look_at(row: int) -> None:
            near = 0.0
            if words[row]:
                near = proximity(asked, weights, terms(self._titles[row]), terms(self._made.texts[row]))
            whole[row] = base[row] + PROXIMITY * near

        order = np.argsort(-np.where(allowed, base, -np.inf), kind="stable")[: int(allowed.sum())]
        for row in order:
            if len(best) == wanted and base[row] + PROXIMITY <= best[0]:
                break
            look_at(row)
            best = sorted([*best, whole[row]])[-wanted:]
        for row in np.flatnonzero(whole >= (best or [np.inf])[0]):
            for beside in (row - 1, row + 1):
                if 0 <= beside < len(whole) and allowed[beside] and whole[beside] == -np.inf:
                    look_at(beside)
        return whole

    def _lifted(self, scores: np.ndarray) -> np.ndarray:
        """The scores with those beside a better passage of the same document lifted towards it; -inf stays."""
        same = np.diff(self._made.documents) == 0
        beside = np.full(len(scores), -np.inf)
        beside[:-1][same] = scores[1:][same]
        beside[1:][same] = np.maximum(beside[1:][same], scores[:-1][same])
        better = (beside > scores) & (scores > -np.inf)
        found = scores.copy()
        found[better] += NEIGHBOUR * (beside[better] - scores[better])
        return found


def permitted(person: Person, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
    """Which passages the person may read, for each the number of its class."""
    if person.permitted is None:
        return np.ones(len(numbers), bool)
    return np.isin(numbers, list(person.permitted))


def share_found(scores: np.ndarray, allowed: np.ndarray, rows: Sequence[int], wanted: int) -> float:
    """The share of the wanted permitted rows of the highest scores that `rows` are; 1 where none is wanted."""
    if not wanted:
        return 1.0
    tenth = np.partition(scores[allowed], -wanted)[-wanted]
    return sum(bool(allowed[row] and scores[row] >= tenth - _SAME / 100) for row in rows) / wanted


Times = dict[str, list[tuple[float, float]]]
"""For each kind of person, for each question, milliseconds on the wall and of processor time in all threads."""


def timed(installation: Installation, texts: Sequence[str], who: Mapping[str, Sequence[Person]]) -> Times:
    """How long each question takes for each kind of person, who take turns question by question."""
    random = np.random.default_rng(3)
    search = installation.search.search
    took: Times = {name: [] for name in who}
    for place, text in enumerate(texts):
        for name in random.permutation(list(who)):
            person = who[name][place % len(who[name])]
            started, busy = time.perf_counter(), time.process_time()
            search(text, person.scope, limit=TOP)
            wall, busy = time.perf_counter() - started, time.process_time() - busy
            took[name].append((1000 * wall, 1000 * busy))
    return took


def built(work: Path, size: int, layout: int, made: synthetic.Passages, numbers: Sequence[int]) -> Path:
    """A data directory with the passages in it, made anew."""
    data = initialised(work / f"data-{size}-{layout}")
    with opened(data) as installation:
        if installation.store.status().knowledge_bases.get("bench", {}).get("passages") != size:
            synthetic.fill(installation.store, made, numbers)
    return data


def cell(data: Path, texts: Sequence[str], layout: int, made: synthetic.Passages, numbers: Sequence[int], depth: int) -> None:
    """Prints the rows of one store."""
    who = {UNRESTRICTED: [Person(EVERYTHING, None)]}
    who |= {f"{count} of {layout}": people(layout, count) for count in LAYOUTS[layout]}
    with opened(data) as installation:
        first = timed(installation, texts[:1], who)
        timed(installation, texts[: 2 * PEOPLE], who)
        took = timed(installation, texts, who)
        oracle = Oracle(installation, made, numbers)
        size = len(numbers)
        for name, persons in who.items():
            judged = [oracle.recall(text, persons[place % len(persons)]) for place, text in enumerate(texts[:depth])]
            whole, meaning, wrong = zip(*judged, strict=True)
            ordered = sorted(wall for wall, _ in took[name])
            busy = statistics.median(one for _, one in took[name])
            share = statistics.mean(float(permitted(one, numbers).mean()) for one in persons)
            ratio = statistics.median(ordered) / statistics.median(wall for wall, _ in took[UNRESTRICTED])
            recalls = " | ".join(f"{statistics.mean(one):.3f}" for one in (whole, meaning))
            print(
                f"| {size} | {layout} | {name} | {share:.3f} | {statistics.median(ordered):.1f} "
                f"| {ordered[int(0.95 * (len(ordered) - 1))]:.1f} | {ratio:.2f} | {busy:.1f} | {first[name][0][0]:.0f} "
                f"| {recalls} | {sum(wrong)} |",
                flush=True,
            )


def beside_filter(data: Path, texts: Sequence[str], layout: int, made: synthetic.Passages, numbers: Sequence[int]) -> None:
    """Prints what LlamaIndex's filter does with the same questions of the same persons, the product before and after it, both
    in the same order: one kind of person after the other."""
    kinds: dict[str, list[Person]] = {UNRESTRICTED: [Person(EVERYTHING, None)]}
    kinds |= {f"{count} of {layout}": people(layout, count) for count in LAYOUTS[layout]}
    requests = [(name, text, kinds[name][place % len(kinds[name])]) for name in kinds for place, text in enumerate(texts)]
    product: dict[str, list[float]] = {name: [] for name in kinds}

    def ask() -> None:
        with opened(data) as installation:
            timed(installation, texts[: 2 * PEOPLE], kinds)
            for name, text, person in requests:
                started = time.perf_counter()
                installation.search.search(text, person.scope, limit=TOP)
                product[name].append(1000 * (time.perf_counter() - started))

    ask()
    found = ask_filter(data.parent, made, numbers, [(text, person.permitted) for _, text, person in requests])
    ask()
    for name in kinds:
        rows = [(took, hits, person) for (kind, _, person), took, hits in zip(requests, *found, strict=True) if kind == name]
        forbidden = sum(
            numbers[row] not in person.permitted for _, hits, person in rows if person.permitted is not None for row in hits
        )
        short = sum(len(hits) < TOP for _, hits, _ in rows)
        theirs, ours = statistics.median(took for took, _, _ in rows), statistics.median(product[name])
        print(
            f"| {len(numbers)} | {layout} | {name} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.1f} | {forbidden} | {short} |",
            flush=True,
        )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--layout", type=int, nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS))
    parser.add_argument("--questions", type=int, default=240)
    parser.add_argument("--judged", type=int, default=60, help="Questions whose recall is measured, at least one.")
    parser.add_argument("--peers", action="store_true", help="LlamaIndex's filter too, on the largest size.")
    parser.add_argument("--work", type=Path, help="Keep vectors and stores here for the next run.")
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp(prefix="bench-search-"))
    work.mkdir(parents=True, exist_ok=True)
    texts = asked(given.questions)
    with opened(initialised(work / "embedding")) as installation:
        base = synthetic.real(work, installation.embedder)
    print(
        "| passages | classes | permitted | share | p50, ms | p95, ms | times unrestricted | processor, ms | first, ms "
        "| recall@10 | meaning alone | forbidden or missing |\n|" + " --- |" * 12
    )
    stores = []
    for size in given.size:
        made = synthetic.passages(size, base)
        for layout in given.layout:
            numbers = CLASSES[layout](layout, made.documents)
            data = built(work, size, layout, made, numbers)
            cell(data, texts, layout, made, numbers, max(1, given.judged))
            stores.append((data, layout, made, numbers))
    if given.peers:
        print("\n| passages | classes | permitted | p50, ms | the filter's, ms | times | forbidden | short |\n|" + " --- |" * 8)
        for data, layout, made, numbers in stores:
            if len(numbers) == max(given.size):
                beside_filter(data, texts[:40], layout, made, numbers)
    if given.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
