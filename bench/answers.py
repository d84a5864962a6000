"""How good quoted answers are on SQuAD 2: does the quotation hold the gold answer; what is refused, rightly and wrongly.

    python bench/answers.py [--work DIR] [--every N]

Refusal is asked for with questions of other sets (nothing in SQuAD's passages answers them) and with the answerable ones.
SQuAD's own unanswerable questions are about the right subject: reported as risk at coverage, without a target.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from policies.egress.switches import set_switches

set_switches()

from datasets import data_folder, indexed, lines, questions  # noqa: E402

from policies.access.scope import UnsafeEverything  # noqa: E402
from service.answer.abstain import Refuse, judge  # noqa: E402
from service.runtimes.extractive import ENOUGH, ExtractiveRuntime  # noqa: E402
from service.runtimes.interface import AnswerRequest, Source  # noqa: E402
from service.settings import load_settings  # noqa: E402
from service.wiring import Installation  # noqa: E402

PASSAGES = 8
EVERYTHING = UnsafeEverything("the sets have no labels")


class Asker:
    """Asks one installation as the answer engine does, without its records."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._runtime = ExtractiveRuntime(installation.embedder)

    def ask(self, text: str, sentences: int) -> tuple[float, bool, str]:
        """The evidence, whether it is refused, and what would be quoted if it were not for its evidence."""
        found = self._installation.search.search(text, EVERYTHING, limit=PASSAGES)
        sources = [Source(number, hit.passage, hit.score) for number, hit in enumerate(found.hits, 1)]
        request = AnswerRequest(text, sources, found.weights, (), sentences)
        texts = {one.number: one.passage.text for one in sources}
        evidence, quotes = self._runtime.weigh(request)
        quoted = " ".join(texts[one.number][one.start : one.end] for one in quotes)
        refused = not quotes or evidence < ENOUGH or isinstance(judge(text, found.hits), Refuse)
        return evidence, refused, quoted


def held(quoted: str, answers: Sequence[str]) -> bool:
    """Whether a gold answer stands in the quotation, whatever its case and spacing."""
    plain = " ".join(quoted.lower().split())
    return any(" ".join(one.lower().split()) in plain for one in answers)


def quotations(asker: Asker, answerable: Sequence[Mapping[str, Any]]) -> tuple[float, float, float, float]:
    """Share of answerable questions whose one and two sentences hold the answer, share refused, and the evidence below
    which 5 % of every second one would be refused, which is how ENOUGH was fitted."""
    one = two = refused = 0
    found = []
    for question in answerable:
        score, no, first = asker.ask(question["question"], 1)
        _, _, both = asker.ask(question["question"], 2)
        one += held(first, question["answers"])
        two += held(both, question["answers"])
        refused += no
        found.append(score)
    count = len(answerable)
    return one / count, two / count, refused / count, statistics.quantiles(found[::2], n=20)[0]


def risk_at_coverage(asker: Asker, answerable: Sequence[Any], impossible: Sequence[Any]) -> list[tuple[float, float]]:
    """Answering those with the most evidence first: at each coverage, the share of answers that do not hold a gold answer."""
    scored = []
    for question in [*answerable, *impossible]:
        score, _, quoted = asker.ask(question["question"], 2)
        scored.append((score, not question["is_impossible"] and held(quoted, question["answers"])))
    scored.sort(reverse=True)
    found = []
    for coverage in (0.25, 0.5, 0.75, 1.0):
        part = scored[: max(1, int(coverage * len(scored)))]
        found.append((coverage, 1 - sum(right for _, right in part) / len(part)))
    return found


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="Keep the index here for the next run.")
    parser.add_argument("--every", type=int, default=3, help="Every n-th question; 1 takes all.")
    arguments = parser.parse_args()
    everything: list[Any] = lines(data_folder() / "squad2_dev" / "answers.jsonl")
    answerable = [one for one in everything if not one["is_impossible"]][:: arguments.every]
    impossible = [one for one in everything if one["is_impossible"]][:: arguments.every]
    with tempfile.TemporaryDirectory() as temporary:
        data = indexed("squad2_dev", arguments.work or Path(temporary))
        with Installation(data, load_settings(data)) as installation:
            asker = Asker(installation)
            one, two, refused, fitted = quotations(asker, answerable)
            print(f"| answerable questions | {len(answerable)} |\n| --- | --- |")
            print(f"| one sentence holds the answer | {one:.3f} |\n| two sentences | {two:.3f} |")
            print(f"| answerable ones refused | {refused:.3f} |")
            print(f"| evidence below which 5 % of half of them lie | {fitted:.3f} |")
            for name in ("hotpotqa100", "scifact"):
                foreign = list(questions(name).texts.values())
                share = sum(asker.ask(text, 1)[1] for text in foreign) / len(foreign)
                print(f"| questions of {name} refused | {share:.3f} |")
            for coverage, risk in risk_at_coverage(asker, answerable, impossible):
                print(f"| risk at coverage {coverage:.2f}, adversarial ones among them | {risk:.3f} |")


if __name__ == "__main__":
    main()
