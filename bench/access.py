"""What permissions cost and miss: few and many access classes, and people who may read 1 %, 10 % or all of the passages.

    python bench/access.py [--passages N] [--classes N ...] [--questions N] [--judged N] [--peers N] [--work DIR]

Classes have Zipf's sizes; ten of them fall with the square of their place, as otherwise none is as small as 1 %. A person's
classes are drawn at random as long as they fit into the share, so that a person of a hundredth of 20,000 classes has some 200;
the share that came of it is printed. Someone who may read all is asked for with every class named. Questions of every kind of
person take turns within one loop, those of a search that nothing restricts among them. Recall@10 is against every permitted
passage scored exactly (`Oracle` of bench/search.py).

--peers N asks LlamaIndex's metadata filter on Chroma N of the same questions for each kind of person, over the same vectors
(bench/peers/README.md), and prints its time and its recall, of meaning alone since it looks at nothing else.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import synthetic
from installations import initialised, opened
from peers.filtering import ask_filter
from search import EVERYTHING, PEOPLE, TOP, UNRESTRICTED, Oracle, Person, asked, built, permitted, share_found, timed

from policies.access.scope import AccessScope

SHARES = {"1 %": 0.01, "10 %": 0.1, "100 %": 1.0}
EACH = 4
"""Passages of a made document, few enough that there are as many documents as the most classes."""

EXPONENTS = {10: 2.0}
"""How fast classes fall in size, 1 where nothing is said."""

COLUMNS = (
    "classes",
    "may read",
    "share",
    "classes of a person",
    "p50, ms",
    "p95, ms",
    "times unrestricted",
    "recall@10",
    "forbidden or missing",
)
FILTER = ("the filter's p50, ms", "times the product's", "its recall@10", "forbidden or missing in it")

Kinds = Mapping[str, Sequence[Person]]
Judged = tuple[float, float, int]
"""Median milliseconds, mean recall@10, and how many hits are forbidden or missing."""


def people(numbers: Sequence[int], share: float) -> list[Person]:
    """Persons whose classes hold at most that share of the passages, and as much of it as classes at random fill."""
    there, sizes = np.unique(np.asarray(numbers), return_counts=True)
    found = []
    for number in range(PEOPLE):
        random = np.random.default_rng([number, int(1000 * share)])
        left, drawn = round(share * len(numbers)), []
        for place in random.permutation(len(there)):
            if sizes[place] <= left:
                left -= sizes[place]
                drawn.append(int(there[place]))
        ids = frozenset(synthetic.access_class(one).id for one in drawn)
        found.append(Person(AccessScope(f"person-{share}-{number}", ids, "bench"), frozenset(drawn)))
    return found


def product(
    data: Path, texts: Sequence[str], judged: int, made: synthetic.Passages, numbers: Sequence[int], who: Kinds
) -> dict[str, tuple[list[float], Judged]]:
    """For each kind of person the milliseconds of every question, in order, and what comes of them."""
    with opened(data) as installation:
        timed(installation, texts[: 2 * PEOPLE], who)
        took = timed(installation, texts, who)
        oracle = Oracle(installation, made, numbers)
        said = {}
        for name, persons in who.items():
            walls = sorted(wall for wall, _ in took[name])
            recalls = [oracle.recall(text, persons[place % len(persons)]) for place, text in enumerate(texts[:judged])]
            recall = statistics.mean(whole for whole, _, _ in recalls)
            said[name] = walls, (statistics.median(walls), recall, sum(wrong for _, _, wrong in recalls))
    return said


def filtered(
    work: Path, texts: Sequence[str], made: synthetic.Passages, numbers: Sequence[int], who: Kinds
) -> dict[str, Judged]:
    """What LlamaIndex's filter does with the same questions, for each kind of person."""
    requests = [
        (name, text, persons[place % len(persons)]) for name, persons in who.items() for place, text in enumerate(texts)
    ]
    answers = ask_filter(work, made, numbers, [(text, person.permitted) for _, text, person in requests])
    with opened(work.parent / "embedding") as installation:
        cosines = {text: made.vectors @ installation.embedder.embed_query(text).reshape(-1) for text in texts}
    said: dict[str, list[Judged]] = {name: [] for name in who}
    for (name, text, person), took, hits in zip(requests, *answers, strict=True):
        allowed = permitted(person, numbers)
        wanted = min(TOP, int(allowed.sum()))
        wrong = sum(not allowed[row] for row in hits) + wanted - len(hits)
        said[name].append((took, share_found(cosines[text], allowed, hits, wanted), wrong))
    return {name: _together(some) for name, some in said.items()}


def _together(some: Sequence[Judged]) -> Judged:
    took, recall, wrong = zip(*some, strict=True)
    return statistics.median(took), statistics.mean(recall), sum(wrong)


def main() -> None:
    """Prints a row for each number of classes and each share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 1000, 20_000])
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--judged", type=int, default=40, help="Questions whose recall is measured, at least one.")
    parser.add_argument("--peers", type=int, default=0, help="So many questions for LlamaIndex's filter too.")
    parser.add_argument("--work", type=Path, help="Keep vectors and stores here for the next run.")
    given = parser.parse_args()
    work = (given.work or Path(tempfile.mkdtemp(prefix="bench-"))) / "access"
    work.mkdir(parents=True, exist_ok=True)
    texts = asked(given.questions)
    with opened(initialised(work.parent / "embedding")) as installation:
        base = synthetic.real(work.parent, installation.embedder)
    made = synthetic.passages(given.passages, base, each=EACH)
    columns = [*COLUMNS, *(FILTER if given.peers else ())]
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns), flush=True)
    for count in given.classes:
        numbers = synthetic.zipf_classes(count, made.documents, EXPONENTS.get(count, 1.0))
        who: Kinds = {UNRESTRICTED: [Person(EVERYTHING, None)]}
        who = {**who, **{name: people(numbers, share) for name, share in SHARES.items()}}
        ours = product(built(work, given.passages, count, made, numbers), texts, max(1, given.judged), made, numbers, who)
        theirs = filtered(work, texts[: given.peers], made, numbers, who) if given.peers else {}
        for name, (walls, (median, recall, wrong)) in ours.items():
            share = statistics.mean(float(permitted(one, numbers).mean()) for one in who[name])
            named = statistics.mean(len(one.permitted or ()) for one in who[name])
            slower = median / ours[UNRESTRICTED][1][0]
            row = f"| {count} | {name} | {share:.3f} | {named:.0f} | {median:.1f} | {walls[int(0.95 * (len(walls) - 1))]:.1f} "
            row += f"| {slower:.2f} | {recall:.3f} | {wrong} |"
            if theirs:
                took, found, amiss = theirs[name]
                row += f" {took:.1f} | {took / median:.1f} | {found:.3f} | {amiss} |"
            print(row, flush=True)
    if given.work is None:
        shutil.rmtree(work.parent)


if __name__ == "__main__":
    main()
