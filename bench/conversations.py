"""How well follow-up questions find their passages: the last question alone, with what it refers back to as the product adds
it, and as a person rewrote it; nDCG@10 over the conversations of mtrag_subset.

    python bench/conversations.py [--work DIR]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from policies.egress.switches import set_switches

set_switches()

from datasets import data_folder, documents_of, indexed, lines, ndcg, questions  # noqa: E402

from policies.access.scope import UnsafeEverything  # noqa: E402
from service.answer.conversation import standalone  # noqa: E402
from service.runtimes.interface import Turn  # noqa: E402
from service.settings import load_settings  # noqa: E402
from service.wiring import Installation  # noqa: E402

EVERYTHING = UnsafeEverything("the set has no labels")


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="Keep the index here for the next run.")
    given = parser.parse_args()
    relevant = questions("mtrag_subset").relevant
    tasks: list[dict[str, Any]] = [
        one for one in lines(data_folder() / "mtrag_subset" / "tasks.jsonl") if one["task_id"] in relevant
    ]
    with tempfile.TemporaryDirectory() as temporary:
        data = indexed("mtrag_subset", given.work or Path(temporary))
        with Installation(data, load_settings(data)) as installation:

            def gain(text: str, task: str) -> float:
                hits = installation.search.search(text, EVERYTHING, limit=60).hits
                return ndcg(documents_of(hit.passage.path for hit in hits), relevant[task])

            reached: dict[str, list[tuple[float, float, float]]] = {
                "first questions": [],
                "follow-ups": [],
                "of them, added to": [],
            }
            for one in tasks:
                turns = [Turn(said["role"], said["content"]) for said in one["messages"]]
                asked, added = turns[-1].content, standalone(turns[-1].content, turns[:-1])
                row = tuple(gain(text, one["task_id"]) for text in (asked, added, one["standalone_rewrite"]))
                reached["follow-ups" if len(turns) > 1 else "first questions"].append(row)
                if added != asked:
                    reached["of them, added to"].append(row)
    print("| questions | number | last question alone | as the product asks | rewritten by a person |\n|" + " --- |" * 5)
    for name, rows in reached.items():
        figures = " | ".join(f"{statistics.mean(column):.3f}" for column in zip(*rows, strict=True))
        print(f"| {name} | {len(rows)} | {figures} |")


if __name__ == "__main__":
    main()
