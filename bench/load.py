"""How the service holds up while many ask and an ingest runs: people who each ask every ten seconds over the HTTP API, and the
time until the first piece of each answer; then the chat page: its first byte, served warm, and what it weighs.

    python bench/load.py [--people N] [--seconds S] [--every S] [--documents N]

The example company is indexed first; the questions are its own. The ingest is of text files made of public passages, through
the running service, as `inhouse ingest` does it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from policies.egress.switches import set_switches

set_switches()

import httpx2  # noqa: E402
from datasets import LABELS, data_folder, lines  # noqa: E402

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
INHOUSE = [sys.executable, "-c", "from service.cli import main; main()"]


@dataclass
class Seen:
    """Milliseconds until the first piece and until the end of each answer, and what went wrong."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def inhouse(data: Path, *arguments: str) -> str:
    """One command; ends the program with its error where it fails."""
    done = subprocess.run([*INHOUSE, *arguments, "--data", str(data)], capture_output=True, text=True)
    if done.returncode not in (0, 5):
        sys.exit(done.stderr)
    return done.stdout


def prepared(data: Path, people: int) -> list[str]:
    """The example company indexed, and a key for each person."""
    inhouse(data, "init")
    inhouse(data, "ingest", str(EXAMPLES / "documents"))
    keys = []
    for number in range(people):
        inhouse(
            data, "people", "add", f"p{number}", "--name", f"P {number}", "--clearance", "internal", "--group", "engineering"
        )
        keys.append(json.loads(inhouse(data, "keys", "create", f"p{number}", "--json"))["secret"])
    return keys


@contextmanager
def served(data: Path) -> Iterator[str]:
    """The service's address while it runs."""
    command = [*INHOUSE, "serve", "--port", "0", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        try:
            yield next(word for word in said.split() if word.startswith("http://"))
        finally:
            process.send_signal(signal.SIGTERM)


async def person(
    client: httpx2.AsyncClient, key: str, questions: Sequence[str], every: float, until: float, seen: Seen
) -> None:
    """One who begins at a moment of their own and asks again and again."""
    await asyncio.sleep(random.uniform(0, every))
    while time.monotonic() < until:
        body = {"model": "inhouse", "stream": True, "messages": [{"role": "user", "content": random.choice(questions)}]}
        began = time.monotonic()
        try:
            await ask(client, key, body, began, seen)
        except httpx2.HTTPError as error:
            seen.errors.append(f"{type(error).__name__}: {error}")
        await asyncio.sleep(max(0.0, every - (time.monotonic() - began)))


async def ask(client: httpx2.AsyncClient, key: str, body: object, began: float, seen: Seen) -> None:
    """One question and its answer."""
    headers = {"authorization": f"Bearer {key}"}
    async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        if response.status_code != 200:
            seen.errors.append(str(response.status_code))
            return
        first = None
        async for line in response.aiter_lines():
            if first is None and line.startswith("data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                first = 1000 * (time.monotonic() - began)
        if first is None:
            seen.errors.append("no answer")
            return
        seen.first.append(first)
        seen.whole.append(1000 * (time.monotonic() - began))


async def everybody(url: str, keys: Sequence[str], questions: Sequence[str], every: float, seconds: float) -> Seen:
    """All of them at once."""
    seen, until = Seen(), time.monotonic() + seconds
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=limits) as client:
        await asyncio.gather(*(person(client, key, questions, every, until, seen) for key in keys))
    for said in seen.errors:
        print(f"error: {said}", file=sys.stderr, flush=True)
    return seen


def text_files(folder: Path, count: int) -> None:
    """A folder of text files to ingest meanwhile."""
    folder.mkdir()
    (folder / "labels.toml").write_text(LABELS, encoding="utf-8")
    texts = [f"{one['title']}\n\n{one['text']}\n" for one in lines(data_folder() / "scifact" / "corpus.jsonl")[:count]]
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")


def row(name: str, seen: Seen) -> str:
    """One line of the table."""
    cells = [f"{statistics.median(column):.0f} | {percentile(column, 0.95):.0f}" for column in (seen.first, seen.whole)]
    return f"| {name} | {len(seen.first)} | {' | '.join(cells)} | {len(seen.errors)} |"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of the values does not pass."""
    return sorted(values)[int(share * (len(values) - 1))]


def chat_page(url: str, key: str) -> None:
    """Prints how fast the first byte of the chat page comes, and what the page weighs with all that it loads."""
    with httpx2.Client(base_url=url, trust_env=False) as client:
        client.post("/web/sign-in", json={"credential": key}).raise_for_status()
        took = []
        for _ in range(40):
            began = time.monotonic()
            with client.stream("GET", "/") as response:
                for place, _ in enumerate(response.iter_raw()):
                    if place == 0:
                        took.append(1000 * (time.monotonic() - began))
        page = client.get("/").text
        waiting, sizes = ["/", *re.findall(r'(?:src|href)="(/static/[^"]+)"', page)], {}
        while waiting:
            path = waiting.pop()
            if path not in sizes:
                body = client.get(path)
                sizes[path] = len(body.content)
                waiting += [f"/static/{name}" for name in re.findall(r'from "\./([^"]+)"', body.text)]
    whole = sum(sizes.values()) / 1000
    print("| chat page | first byte p50, ms | p95, ms | files | kB in all |\n|" + " --- |" * 5)
    print(f"| warm | {statistics.median(took):.1f} | {percentile(took, 0.95):.1f} | {len(sizes)} | {whole:.0f} |")


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=10, help="Seconds between two questions of a person.")
    parser.add_argument("--documents", type=int, default=2000, help="Text files that are ingested meanwhile.")
    given = parser.parse_args()
    questions = [one["text"] for one in tomllib.loads((EXAMPLES / "questions.toml").read_text(encoding="utf-8"))["question"]]
    with tempfile.TemporaryDirectory() as temporary:
        data, folder = Path(temporary) / "data", Path(temporary) / "texts"
        keys = prepared(data, given.people)
        text_files(folder, given.documents)
        print(f"{len(keys)} people, {os.cpu_count()} cores", file=sys.stderr, flush=True)
        with served(data) as url:
            chat_page(url, keys[0])
            print(
                "\n| meanwhile | answers | first piece p50, ms | p95, ms | whole p50, ms | p95, ms | errors |\n|" + " --- |" * 7
            )
            print(row("nothing", asyncio.run(everybody(url, keys, questions, given.every, given.seconds))), flush=True)
            ingest = subprocess.Popen([*INHOUSE, "ingest", str(folder), "--data", str(data)], stderr=subprocess.DEVNULL)
            print(row("an ingest", asyncio.run(everybody(url, keys, questions, given.every, given.seconds))), flush=True)
            if ingest.poll() is not None:
                print("The ingest ended before the questions did: give it more --documents.", file=sys.stderr)
            ingest.send_signal(signal.SIGINT)
            ingest.wait()


if __name__ == "__main__":
    main()
