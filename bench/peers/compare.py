"""The product beside what a user would pick instead, in one run: ingest, a question's time, and nDCG@10.

    python bench/peers/compare.py [--rounds N] [--work DIR] [SET ...]

Run it with the product's environment; `bench/peers/install.sh` makes the peers' own. The machine's pace changes while this
runs, so the product is measured before and after every peer, and each peer is compared with the two beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from policies.egress.switches import set_switches

set_switches()
BENCH = Path(__file__).resolve().parent.parent
sys.path.append(str(BENCH))

from datasets import LABELS, Questions, data_folder, documents_of, ndcg, questions  # noqa: E402
from installations import ingested, initialised, opened  # noqa: E402

from policies.access.scope import UnsafeEverything  # noqa: E402

PROGRAMS = ("llamaindex_stock", "txtai_hybrid", "llamaindex_hybrid")
EVERY = {"squad2_dev": 3}
TOP, DEPTH = 10, 60
PRODUCT = "inhouse"
EVERYTHING = UnsafeEverything("the sets have no labels")


@dataclass(frozen=True)
class Showing:
    """What one program showed on one set in one go: wall and processor seconds of ingest, wall and processor
    milliseconds of each question, and nDCG@10."""

    ingest: float
    ingest_cpu: float
    questions: Sequence[float]
    questions_cpu: Sequence[float]
    ndcg: float


@dataclass
class Figures:
    """What one program showed over all rounds, and the product's mean of the two goes beside each."""

    shown: list[Showing] = field(default_factory=list)
    ratios: list[tuple[float, float, float, float]] = field(default_factory=list)

    def add(self, one: Showing, beside: tuple[Showing, Showing]) -> None:
        """Keeps a go with its ratios: ingest, its processor time, a question's median, its processor time."""
        self.shown.append(one)
        of_peer, *of_product = [
            (it.ingest, it.ingest_cpu, statistics.median(it.questions), statistics.median(it.questions_cpu))
            for it in (one, *beside)
        ]
        ingest, ingest_cpu, asking, asking_cpu = (
            peer / statistics.mean(both) for peer, *both in zip(of_peer, *of_product, strict=True)
        )
        self.ratios.append((ingest, ingest_cpu, asking, asking_cpu))


def python_of_peers() -> Path:
    """The interpreter of the peers' environment; ends the program with a next step where it is not there."""
    found = BENCH.parent / ".venv-peers" / "bin" / "python"
    if not found.exists():
        sys.exit("The peers are not installed. Run: bench/peers/install.sh")
    return found


def ask_product(data: Path, corpus: Path, asked: Questions) -> Showing:
    """Ingests into a new data directory, opens it again and asks."""
    seconds, cpu, report = ingested(opened(initialised(data)), corpus)
    if report["outcome"] != "finished" or report["quarantined"]:
        sys.exit(f"ingest did not take everything: {report}")
    took, ranked = [], {}
    with opened(data) as installation:
        search = installation.search.search
        for text in list(asked.texts.values())[:3]:
            search(text, EVERYTHING, limit=TOP)
        for text in asked.texts.values():
            started, busy = time.perf_counter(), time.process_time()
            search(text, EVERYTHING, limit=TOP)
            took.append((1000 * (time.perf_counter() - started), 1000 * (time.process_time() - busy)))
        for identifier, text in asked.texts.items():
            hits = search(text, EVERYTHING, limit=DEPTH).hits
            ranked[identifier] = documents_of(hit.passage.path for hit in hits)
    return Showing(seconds, cpu, [wall for wall, _ in took], [busy for _, busy in took], quality(ranked, asked))


def ask_peer(program: str, corpus: Path, queries: Path, out: Path, asked: Questions) -> tuple[str, Showing]:
    """Runs one peer program; its name and what it showed."""
    command = [str(python_of_peers()), str(BENCH / "peers" / f"{program}.py"), "--corpus", str(corpus)]
    command += ["--queries", str(queries), "--out", str(out), "--top", str(TOP), "--depth", str(DEPTH)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    said = json.loads(out.read_text(encoding="utf-8"))
    print(f"{said['peer']} on {said['documents']} documents: {said['versions']}", file=sys.stderr, flush=True)
    times = said["ingest_seconds"], said["ingest_cpu"], said["question_ms"], said["question_cpu"]
    return said["peer"], Showing(*times, quality(said["ranked"], asked))


def quality(ranked: Mapping[str, Sequence[str]], asked: Questions) -> float:
    """Mean nDCG@10 by document."""
    return statistics.mean(ndcg(ranked[one], asked.relevant[one]) for one in asked.texts)


def measure(name: str, work: Path, rounds: int, programs: Sequence[str]) -> dict[str, Figures]:
    """Every program on one set; the product, whose ratio to itself is of no use, comes first."""
    asked = questions(name, every=EVERY.get(name, 1))
    folder = work / name / "corpus"
    folder.mkdir(parents=True)
    (folder / "labels.toml").write_text(LABELS, encoding="utf-8")
    corpus, queries = folder / "corpus.jsonl", work / name / "queries.jsonl"
    corpus.write_bytes((data_folder() / name / "corpus.jsonl").read_bytes())
    rows = [json.dumps({"_id": identifier, "text": text}) for identifier, text in asked.texts.items()]
    queries.write_text("\n".join(rows), encoding="utf-8")
    product = [ask_product(work / name / "data-0", folder, asked)]
    found = {PRODUCT: Figures(product)}
    for program in list(programs) * rounds:
        peer, showing = ask_peer(program, corpus, queries, work / name / "result.json", asked)
        product.append(ask_product(work / name / f"data-{len(product)}", folder, asked))
        found.setdefault(peer, Figures()).add(showing, (product[-2], product[-1]))
    return found


def row(name: str, program: str, figures: Figures) -> str:
    """One line of the table."""
    took = sorted(one for showing in figures.shown for one in showing.questions)
    ratios = [f"{statistics.median(column):.2f}" for column in zip(*figures.ratios, strict=True)] or [""] * 4
    cells = [
        name,
        program,
        f"{statistics.median(one.ingest for one in figures.shown):.1f}",
        *ratios[:2],
        f"{statistics.median(took):.1f}",
        f"{took[int(0.95 * (len(took) - 1))]:.1f}",
        *ratios[2:],
        f"{figures.shown[-1].ndcg:.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "set",
    "program",
    "ingest, s",
    "times the product's",
    "in processor time",
    "question p50, ms",
    "p95, ms",
    "p50, times the product's",
    "in processor time",
    "nDCG@10",
)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="Times that each peer is run on each set.")
    parser.add_argument("--work", type=Path, help="An empty folder for the indexes, kept afterwards.")
    parser.add_argument("--only", action="append", choices=PROGRAMS, help="Only these peers.")
    parser.add_argument("sets", nargs="*", default=["hotpotqa100", "scifact", "squad2_dev"])
    given = parser.parse_args()
    python_of_peers()
    print("| " + " | ".join(HEAD) + " |\n|" + " --- |" * len(HEAD), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.sets:
            for program, figures in measure(name, given.work or Path(temporary), given.rounds, given.only or PROGRAMS).items():
                print(row(name, program, figures), flush=True)


if __name__ == "__main__":
    main()
