"""How fast documents go in, beside the embedder alone over the same passages in the same run, and in how much memory.

    python bench/ingest.py [--rounds N] [--text N] [--records N]
    python bench/ingest.py --documents 10000

The text corpus is one `.txt` file for each abstract of SciFact and one `.md` file for each article of squad2_dev; the records
are hotpotqa100 as a JSON Lines collection. The embedder alone gets the passages' texts in one call, so its batches are sorted
by length over the whole corpus. It and the whole ingest take turns, each with its model loaded before the clock; the
ingest's clock runs from the request to the closed store, the start of its parser processes included.

--documents measures the memory of `inhouse ingest` as a process of its own, with its children: resident bytes summed over the
tree, sampled ten times a second (pages that they share count twice). Where a set ends, documents are put together anew from
its sentences.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from policies.egress.switches import set_switches

set_switches()

import sentencex  # noqa: E402
from datasets import LABELS, data_folder, lines  # noqa: E402
from installations import COMMAND, ingested, initialised, opened  # noqa: E402
from processes import Memory  # noqa: E402

from policies.access.scope import UnsafeEverything  # noqa: E402
from service.wiring import Installation  # noqa: E402
from vectorstore.context import context_text  # noqa: E402

EVERYTHING = UnsafeEverything("the sets have no labels")
MIB = 2**20


def text_files(folder: Path, count: int) -> int:
    """Writes that many files, Markdown articles among plain abstracts; returns how many it wrote."""
    written = 0
    for name, text in itertools.islice(_files(), count):
        (folder / name).write_text(text, encoding="utf-8")
        written += 1
    return written


def _files() -> Iterator[tuple[str, str]]:
    articles: dict[str, list[str]] = {}
    for one in lines(data_folder() / "squad2_dev" / "corpus.jsonl"):
        articles.setdefault(str(one["title"]), []).append(str(one["text"]))
    for place, (title, paragraphs) in enumerate(articles.items()):
        sections = [f"## Part {number}\n\n{text}" for number, text in enumerate(paragraphs, 1)]
        yield f"article-{place}.md", "\n\n".join([f"# {title}", *sections])
    abstracts = [(str(one["title"]), str(one["text"])) for one in lines(data_folder() / "scifact" / "corpus.jsonl")]
    for place, (title, text) in enumerate(abstracts):
        yield f"abstract-{place}.txt", f"{title}\n\n{text}"
    drawn = random.Random(5)
    for place in itertools.count():
        (title, first), (_, second) = drawn.sample(abstracts, 2)
        sentences = [one.strip() for text in (first, second) for one in sentencex.segment("en", text)]
        yield f"made-{place}.txt", f"{title}\n\n" + " ".join(drawn.sample(sentences, k=max(1, len(sentences) // 2)))


def records(folder: Path, count: int) -> int:
    """Writes that many records as a collection; returns how many there were."""
    rows = lines(data_folder() / "hotpotqa100" / "corpus.jsonl")[:count]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return len(rows)


def corpus(work: Path, write: Callable[[Path, int], int], count: int) -> tuple[Path, int]:
    """A labelled folder, and how many documents are in it."""
    folder = work / f"{write.__name__}-corpus"
    folder.mkdir()
    (folder / "labels.toml").write_text(LABELS, encoding="utf-8")
    return folder, write(folder, count)


def passages_of(installation: Installation) -> list[str]:
    """What of every passage went through the model."""
    store, found, after = installation.store, [], None
    while page := store.documents(EVERYTHING, after=after, limit=500):
        after = page[-1].id
        for document in page:
            found += [context_text(document.title, one.heading, one.text) for one in store.passages(EVERYTHING, document.id)]
    return found


def rates(work: Path, folder: Path, documents: int, rounds: int) -> tuple[int, list[float], list[float]]:
    """Passages, and passages a second of the whole ingest and of the embedder alone, in turn."""
    whole, alone = [], []
    texts: list[str] = []
    for number in range(rounds + 1):
        data = initialised(work / f"{folder.name}-data-{number}")
        seconds, _, report = ingested(opened(data), folder)
        taken = report["added"] + report["records"].get("added", 0)
        if taken != documents or report["outcome"] != "finished":
            raise SystemExit(f"{taken} of {documents} documents were taken: {report['refusals'][:5]}")
        with opened(data) as installation:
            texts = texts or passages_of(installation)
            if number:
                # The first ingest only says what the passages are, and leaves the machine as warm as the others find it.
                whole.append(report["passages"] / seconds)
            started = time.perf_counter()
            installation.embedder.embed(texts)
            alone.append(len(texts) / (time.perf_counter() - started))
    return len(texts), whole, alone


def speed(work: Path, rounds: int, text: int, collection: int) -> None:
    """Prints the table of rates. Each ingest stands between two runs of the embedder, and is compared with their mean."""
    print("| corpus | documents | passages | whole ingest, passages/s | embedder alone | share |\n|" + " --- |" * 6)
    for name, write, count in (("text files", text_files, text), ("JSON Lines", records, collection)):
        if not count:
            continue
        folder, documents = corpus(work, write, count)
        passages, whole, alone = rates(work, folder, documents, rounds)
        shares = [one / statistics.mean(beside) for one, beside in zip(whole, itertools.pairwise(alone), strict=True)]
        spread = f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
        middle = f"{statistics.median(whole):.0f} | {statistics.median(alone):.0f}"
        print(f"| {name} | {documents} | {passages} | {middle} | {spread} |", flush=True)


def memory(work: Path, count: int) -> None:
    """Prints what `inhouse ingest` holds at most, and in each quarter of its time."""
    folder, documents = corpus(work, text_files, count)
    data = initialised(work / "memory-data")
    command = [*COMMAND, "ingest", str(folder), "--data", str(data), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, Memory(process.pid) as sampled:
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"inhouse ingest ended with {process.returncode}")
    report = json.loads(output)
    print("| documents | passages | seconds | peak, MiB | in each quarter of the time, MiB |\n|" + " --- |" * 5)
    quarters = ", ".join(f"{sampled.peak_between(part / 4, (part + 1) / 4) / MIB:.0f}" for part in range(4))
    figures = f"{documents} | {report['passages']} | {report['seconds']:.0f} | {sampled.peak / MIB:.0f} | {quarters}"
    print(f"| {figures} |")


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--text", type=int, default=400, help="Text files; 0 for none.")
    parser.add_argument("--records", type=int, default=994, help="Records; 0 for none.")
    parser.add_argument("--documents", type=int, help="Measure memory with this many text files instead.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if given.documents:
            memory(Path(temporary), given.documents)
        else:
            speed(Path(temporary), given.rounds, given.text, given.records)


if __name__ == "__main__":
    main()
