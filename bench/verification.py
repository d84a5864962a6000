"""What of a model's sentences the check against their sources keeps and catches, by kind, over the cases of
tests/service/verification_cases.toml, and how long it takes for one.

    python bench/verification.py [--missed]
"""

from __future__ import annotations

import argparse
import statistics
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policies.egress.switches import set_switches

set_switches()

import datasets  # noqa: E402, F401 (puts this folder behind the packages, one of which has a namesake here)

from service.answer.reading import read  # noqa: E402
from service.answer.verification import Supported, check  # noqa: E402

TABLE = Path(__file__).resolve().parent.parent / "tests" / "service" / "verification_cases.toml"
PARTS = {False: "never set aside", True: "set aside, first", 2: "set aside, second", 3: "set aside, third"}


def cases(passage: dict[str, Any]) -> Iterator[tuple[bool, str, str]]:
    """Whether each sentence is supported, of which kind it is, and the sentence."""
    for verdict in ("supported", "unsupported"):
        for kind, sentences in passage[verdict].items():
            for sentence in sentences:
                yield verdict == "supported", kind, sentence


def main() -> None:
    """Prints the table, one line a kind and column a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--missed", action="store_true", help="Name each sentence that was judged wrongly.")
    arguments = parser.parse_args()
    right: dict[tuple[bool, str], dict[Any, int]] = defaultdict(lambda: defaultdict(int))
    all_of: dict[tuple[bool, str], dict[Any, int]] = defaultdict(lambda: defaultdict(int))
    times, missed = [], []
    for passage in tomllib.loads(TABLE.read_text(encoding="utf-8"))["passage"]:
        part = passage.get("aside", False)
        for supported, kind, sentence in cases(passage):
            read.cache_clear()
            begun = time.perf_counter()
            verdict = check(sentence, passage["sources"])
            times.append(1000 * (time.perf_counter() - begun))
            good = isinstance(verdict, Supported) == supported
            for name in (kind, "all"):
                all_of[supported, name][part] += 1
                right[supported, name][part] += good
            if not good:
                missed.append(f"{'lost' if supported else 'not caught'}: {sentence} {getattr(verdict, 'reason', '')}")
    print(f"{'':26}" + "".join(f"{name:>20}" for name in PARTS.values()))
    for key in sorted(all_of, key=lambda one: (not one[0], one[1] == "all", one[1])):
        shares = "".join(f"{f'{right[key][part]} / {all_of[key][part]}':>20}" for part in PARTS)
        print(f"{'kept' if key[0] else 'caught':>8}, {key[1]:16}{shares}")
    ordered = sorted(times)
    print(
        f"milliseconds a sentence, its sources read anew each time: p50 {statistics.median(times):.2f}, "
        f"p95 {ordered[int(0.95 * len(ordered))]:.2f}, longest {ordered[-1]:.2f}"
    )
    if arguments.missed:
        print(*missed, sep="\n")


if __name__ == "__main__":
    main()
