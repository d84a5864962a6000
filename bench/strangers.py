"""Whether the time of an answer tells a stranger that something is there: of every route of the leak suite that takes a name.

    python bench/strangers.py [--rounds N] [--only TEXT]

The requests are those of tests/threats/leaks.toml, sent over HTTP to a service of its own by a steward who may know of none of
the things named. Each round asks three times in an order drawn by lot: for one of twenty things that are there and forbidden,
for one of twenty that are nowhere, and for one of another twenty that are nowhere. The last two differ by chance alone and show
the noise of the machine. bench/pairs.py says how differences are judged; one is real where it stays so among all in the table.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import random
import re
import statistics
import string
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.egress.switches import set_switches

set_switches()

import datasets  # noqa: E402, F401 -- puts this folder behind the packages, whose names its modules share
from installations import initialised, opened  # noqa: E402
from load import served  # noqa: E402
from pairs import Difference, difference, real  # noqa: E402

from policies.audit.query import records  # noqa: E402
from service.operations.run import run_in  # noqa: E402
from service.wiring import Installation  # noqa: E402

LEAKS = Path(__file__).resolve().parent.parent / "tests" / "threats" / "leaks.toml"
STRANGER, OWNER = "stew", "dora"
QUESTIONS = {
    "WORDS": "How many days of annual leave do staff have?",
    "SECRETS": "What does the merger with Quintessa cost?",
    "NAMES": "Who is Odalind Ferrex?",
    "LATER": "What do parking places cost?",
}
THINGS = 20
"""Forbidden ones of each kind, and as many names of nothing twice."""

OPEN_DOCUMENTS = 200
BODY = " {"
RULE = '[[rule]]\nglob = "{}"\nkb = "{}"\nclassification = "{}"\ngroups = ["{}"]\nowner = "{}"\n'
MODEL = '[models.also.{0}]\nkind = "extractive"\n[[models.rules]]\n{1}use = "{0}"\nchosen = true\n'


@dataclass(frozen=True)
class Target:
    """A request in which one kind of name is asked for."""

    path: str
    request: str
    kind: str


@dataclass(frozen=True)
class Names:
    """What is open to the stranger by kind, and what is forbidden."""

    open: Mapping[str, str]
    forbidden: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Timed:
    """Microseconds of each round, and the status that all of them had."""

    target: Target
    status: int
    forbidden: Sequence[float]
    nowhere: Sequence[float]
    elsewhere: Sequence[float]


def targets(only: str) -> list[Target]:
    """Every request of the leak suite with every kind of name in it, but where policy lets a steward know."""
    table = tomllib.loads(LEAKS.read_text(encoding="utf-8"))
    found = []
    for path, requests in table["routes"].items():
        known = set(table["known"].get(path, ()))
        for request in requests:
            kinds = re.findall(r"\{(\w+)\}", request)
            found += [Target(path, request, kind) for kind in dict.fromkeys(kinds) if f"{STRANGER} {kind}" not in known]
    return [one for one in found if only in f"{one.path} {one.kind}"]


def operate(installation: Installation, name: str, /, **request: Any) -> Any:
    """One operation."""
    return run_in(installation, name, request, lambda event: None, threading.Event())


def prepared(root: Path) -> tuple[Path, dict[str, str]]:
    """An installation with open documents and forbidden ones, twenty knowledge bases among them, and the keys of two people."""
    data, folder, secret = initialised(root / "data"), root / "open", root / "secret"
    models = [MODEL.format("quotes", "")] + [MODEL.format(f"secretmodel{n}", f'kb = "board{n}"\n') for n in range(THINGS)]
    (data / "inhouse.toml").write_text("\n".join(models), encoding="utf-8")
    folder.mkdir()
    for number in range(OPEN_DOCUMENTS):
        text = f"# Leave {number}\n\nStaff of hall {number} have {number % 40} days of annual leave. Hotels are paid.\n"
        (folder / f"leave{number}.md").write_text(text, encoding="utf-8")
    (folder / "loose.txt").write_text("No rule labels this.", encoding="utf-8")
    (folder / "labels.toml").write_text(RULE.format("*.md", "handbook", "internal", "everyone", "hr"), encoding="utf-8")
    keys = {}
    with opened(data) as installation:
        people = [(STRANGER, "internal", ["sales"]), (OWNER, "confidential", ["directors"])]
        people += [(f"hidden{number}", "confidential", ["directors"]) for number in range(THINGS)]
        for person, clearance, groups in people:
            held = {"clearance": clearance, "groups": groups, "roles": ["user", "steward"]}
            operate(installation, "people.add", id=person, name=person, **held)
            keys[person] = operate(installation, "keys.create", person=person)["secret"]
        operate(installation, "ingest", folder=str(folder))
        for number in range(THINGS):
            # A folder of its own is a run of its own.
            part = secret / str(number)
            part.mkdir(parents=True)
            text = (
                f"# Merger {number}\n\nThe merger with Quintessa costs {number} million, says Odalind Ferrex of annual leave.\n"
            )
            (part / f"merger{number}.md").write_text(text, encoding="utf-8")
            (part / f"broken{number}.pdf").write_bytes(b"%PDF-1.4 nothing of it")
            rule = RULE.format("*", f"board{number}", "confidential", "directors", f"hidden{number}")
            (part / "labels.toml").write_text(rule, encoding="utf-8")
            operate(installation, "ingest", folder=str(part))
    return data, keys


class Caller:
    """Somebody with a key, signed in, over one connection that stays open."""

    def __init__(self, url: str, key: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        self._bearer = {"authorization": f"Bearer {key}"}
        self._session: dict[str, str] = {}
        signed = self._sent("POST", "/web/sign-in", json.dumps({"credential": key}), {"content-type": "application/json"})
        cookie = str(signed[1].getheader("set-cookie")).partition(";")[0]
        page = self._sent("GET", "/", None, {"cookie": cookie})[2].decode()
        token = re.search(r'name="csrf" content="([0-9a-f]+)"', page)
        assert token is not None
        self._session = {"cookie": cookie, "x-csrf-token": token.group(1)}

    def ask(self, method: str, request: str) -> tuple[float, int, bytes]:
        """Microseconds from the first byte sent to the last one received, the status and the body."""
        path, _, body = request.partition(BODY)
        api = path.startswith(("/v1/", "/metrics"))
        headers = dict(self._bearer if api else self._session)
        if body:
            headers["content-type"] = "application/json"
        took, response, said = self._sent(method, path, body and BODY.strip() + body, headers)
        return took, response.status, said

    def close(self) -> None:
        """Hangs up."""
        self._connection.close()

    def _sent(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str]
    ) -> tuple[float, http.client.HTTPResponse, bytes]:
        content = body.encode() if body else None
        began = time.perf_counter_ns()
        self._connection.request(method, path.replace(" ", "%20"), content, dict(headers))
        response = self._connection.getresponse()
        said = response.read()
        return (time.perf_counter_ns() - began) / 1000, response, said


def conversation(caller: Caller, question: str, **more: str) -> None:
    """Asks one question in a conversation of its own and says something of the answer."""
    _, status, said = caller.ask("POST", "/web/ask " + json.dumps({"question": question, **more}))
    audit = re.search(r"data-audit=\W+([0-9]+-[0-9a-f]+)", said.decode())
    assert audit is not None, (status, said[:500])
    body = {"question": audit.group(1), "verdict": "wrong", "reason": "So.", **more}
    status = caller.ask("POST", "/web/feedback " + json.dumps(body))[1]
    assert status == 200, status


def names(data: Path) -> Names:
    """The names of what is there, from the store itself: the service has been stopped."""
    with opened(data) as installation:
        documents = operate(installation, "documents.list", limit=1000)["documents"]
        secret = [one for one in documents if one["kb"].startswith("board")]
        free = [one for one in documents if one["kb"] == "handbook"]
        runs = installation.runs.runs(limit=100)
        entries = installation.runs.quarantine()
        notes = installation.conversations.feedback()
        added = records(installation.directory / "audit", tag="document:added", limit=THINGS)
        keys = {one.person: one.id for one in installation.keys.list()}
        theirs, own = _asked(installation, OWNER), _asked(installation, STRANGER)[0]
        numbered = range(THINGS)
        forbidden: dict[str, Sequence[str]] = {
            "document": [one["id"] for one in secret],
            "spare": [one["id"] for one in secret],
            "path": [one["path"] for one in secret],
            "conversation": [one for one, _ in theirs],
            "turn": [one for _, one in theirs],
            "run": [one.id for one in runs[:THINGS]],
            "entry": [one.id for one in entries if one.path.startswith("broken")],
            "event": [one.id for one in added],
            "note": [one.id for one in notes if one.person == OWNER],
            "key": [keys[f"hidden{number}"] for number in numbered],
            **{kind: [f"hidden{number}" for number in numbered] for kind in ("person", "newcomer")},
            "kb": [f"board{number}" for number in numbered],
            "model": [f"secretmodel{number}" for number in numbered],
            "group": ["directors"],
        }
        there = {
            "document": free[0]["id"],
            "spare": free[1]["id"],
            "path": free[0]["path"],
            "conversation": own[0],
            "turn": own[1],
            "run": runs[-1].id,
            "entry": next(one.id for one in entries if one.path == "loose.txt"),
            "event": next(records(installation.directory / "audit", limit=1, newest_first=False)).id,
            "note": next(one.id for one in notes if one.person == STRANGER),
            "key": keys[STRANGER],
            "person": STRANGER,
            "newcomer": "newcomer",
            "kb": "handbook",
            "model": "quotes",
            "group": "sales",
        }
    return Names(there, forbidden)


def _asked(installation: Installation, person: str) -> list[tuple[str, str]]:
    """The conversations of a person, each with the question that it begins with."""
    listed = installation.conversations.listed(person)
    return [(one.id, str(installation.conversations.turns(person, one.id)[0].answer["audit_id"])) for one in listed]


def nowhere(there: Sequence[str], chance: random.Random) -> list[str]:
    """As many names that nothing has, of the same form: the last characters are others of their kind."""
    found: list[str] = []
    for name in itertools.islice(itertools.cycle(there), THINGS):
        while (made := _other(name, chance)) in {*there, *found}:
            pass
        found.append(made)
    return found


def _other(name: str, chance: random.Random) -> str:
    stem, dot, ending = name.rpartition(".")
    if not dot:
        stem, ending = name, ""
    hexadecimal = all(one in string.hexdigits for one in stem[-6:])
    letters = "abcdef" if hexadecimal else string.ascii_lowercase
    last = [chance.choice(string.digits if one.isdigit() else letters) if one.isalnum() else one for one in stem[-6:]]
    return stem[:-6] + "".join(last) + dot + ending


def timed(caller: Caller, target: Target, known: Names, rounds: int, chance: random.Random) -> Timed:
    """Asks that many rounds; ends the program where an answer's status tells more than its time."""
    there = known.forbidden[target.kind]
    pools = [list(there), nowhere(there, chance), nowhere(there, chance)]
    method = target.path.partition(" ")[0]
    took: list[list[float]] = [[], [], []]
    statuses: set[int] = set()
    for number in range(-10, rounds):
        for place in chance.sample(range(3), 3):
            request = filled(target.request, {**known.open, target.kind: chance.choice(pools[place])})
            microseconds, status, _ = caller.ask(method, request)
            statuses.add(status)
            if number >= 0:
                took[place].append(microseconds)
    if len(statuses) > 1:
        sys.exit(f"{target.path} answers {sorted(statuses)} to one name and another of {target.kind}")
    return Timed(target, statuses.pop(), *took)


def filled(request: str, called: Mapping[str, str]) -> str:
    """The request with questions and names put in."""
    for word, question in QUESTIONS.items():
        request = request.replace(word, question)
    for kind, name in called.items():
        request = request.replace("{" + kind + "}", name)
    return request


def rows(found: Sequence[Timed]) -> Iterator[str]:
    """The table: one row a route and kind, with what is real marked; then how many are."""
    compared = [difference(one.forbidden, one.nowhere) for one in found]
    chance = [difference(one.elsewhere, one.nowhere) for one in found]
    yield "| request | named | status | nowhere, µs | forbidden more, µs | between | p | box test | real | noise, µs | p |"
    yield "|" + " --- |" * 11
    kept = real(compared)
    for one, seen, noise, sure in zip(found, compared, chance, kept, strict=True):
        target = one.target
        asked = f"{target.path.partition(' ')[0]} {target.request.partition(BODY)[0]}"
        yield (
            f"| {asked} | {target.kind} | {one.status} | {statistics.median(one.nowhere):.0f} | {seen.typical:+.1f} "
            f"| {seen.low:+.1f} to {seen.high:+.1f} | {seen.p:.4f} | {'apart' if seen.apart else ''} "
            f"| {'yes' if sure else ''} | {noise.typical:+.1f} | {noise.p:.4f} |"
        )
    yield ""
    yield f"Of {len(found)}: {said(compared, kept)}. Nowhere against nowhere: {said(chance, real(chance))}."


def said(compared: Sequence[Difference], kept: Sequence[bool]) -> str:
    """How many differ, and by how much at most."""
    largest = max(compared, key=lambda one: abs(one.typical))
    widest = max(max(abs(one.low), abs(one.high)) for one in compared)
    apart = sum(one.apart for one in compared)
    return (
        f"{sum(kept)} real, {apart} by the box test, the largest {largest.typical:+.1f} µs, no interval beyond {widest:.0f} µs"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--only", default="", help="Routes and kinds with this in them.")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as temporary:
        data, keys = prepared(Path(temporary))
        with served(data) as url:
            owner, stranger = Caller(url, keys[OWNER]), Caller(url, keys[STRANGER])
            conversation(stranger, QUESTIONS["WORDS"])
            for number in range(THINGS):
                conversation(owner, QUESTIONS["SECRETS"], kb=f"board{number}")
            owner.close()
            stranger.close()
        known = names(data)
        found = []
        with served(data) as url:
            caller = Caller(url, keys[STRANGER])
            for target in targets(given.only):
                print(f"{target.path}, {target.kind}", file=sys.stderr, flush=True)
                found.append(timed(caller, target, known, given.rounds, chance))
            caller.close()
        print("\n".join(rows(found)))


if __name__ == "__main__":
    main()
