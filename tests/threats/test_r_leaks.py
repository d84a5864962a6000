"""Every path to text, gone by people who may read a part of it, in two worlds: with and without what they may not read."""

from __future__ import annotations

import http.cookiejar
import importlib
import itertools
import json
import logging
import re
import shutil
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin

import pytest
import sqlalchemy as sa
import typer.main
from fpdf import FPDF
from starlette.testclient import TestClient

from policies.access.policyset import DEFAULTS
from policies.audit.query import record, records
from policies.identity import Role
from service.cli.application import COMMANDS
from service.operations import registry
from service.operations.run import run_in
from service.settings import load_settings
from service.web.application import create_site
from service.web.audit_export import FORMS
from service.wiring import Installation

ASKED = {
    "WORDS": "How many days of annual leave do staff have?",
    "SECRETS": "What does the merger with Quintessa cost?",
    "NAMES": "Who is Odalind Ferrex?",
    "LATER": "What do parking places cost?",
}
TEXT, NAME = "zanzibarite", "kiwi"
"""A word of every forbidden text and title, and one of every name of what is forbidden. Nobody here ever sends the first."""

BODY, BETWEEN = " {", "\x1f"
"""What a request's body begins with, and what stands between the arguments of a command: a question has spaces."""

RULE = '[[rule]]\nglob = "*"\nkb = "{}"\nclassification = "{}"\ngroups = ["{}"]\nowner = "{}"\n'
SETTINGS = """
[models.also.kiwi-model]
kind = "extractive"

[[models.rules]]
kb = "boardkiwi"
use = "kiwi-model"
chosen = true

[models.also.quotes]
kind = "extractive"

[[models.rules]]
use = "quotes"
chosen = true
"""
OPEN = {
    "leave.md": "# Annual leave\n\nStaff have 30 days of annual leave. Requests go to the line manager by 1 March.\n",
    "travel.md": "# Travel\n\n## Hotels\n\nHotels are paid up to 140 euros a night. Taxis need a receipt.\n",
    "spare.md": "# Spare keys\n\nSpare keys are at the lodge. The price is 3 euros.\n",
}
SECRET = {
    "mergerkiwi.md": "# Zanzibarite merger\n\nThe merger with Quintessa costs 48 million zanzibarite, says Odalind Ferrex.\n",
    "copykiwi.md": OPEN["leave.md"],
    "countskiwi.md": "# Zanzibarite days\n\n" + "Staff leave hotels after days of annual leave, zanzibarite. " * 20 + "\n",
}
PEOPLE: Mapping[str, tuple[str, tuple[str, ...], tuple[Role, ...]]] = {
    "ana": ("internal", (), (Role.USER,)),
    "emil": ("confidential", ("directors",), (Role.USER, Role.STEWARD)),
    "audra": ("confidential", ("directors",), (Role.AUDITOR,)),
    "stew": ("internal", ("sales",), (Role.USER, Role.STEWARD)),
    "root": ("confidential", ("directors",), (Role.ADMIN,)),
    "dora": ("confidential", ("directors",), (Role.USER, Role.STEWARD)),
}
ASKING = ("ana", "emil", "stew", "root", "audra")
"""Who goes by every path: emil with a key that has fewer rights than he has. None of them may read what dora may. The auditor
comes last, who may be told more where more is: root would see in the metrics how many requests were answered."""


@dataclass(frozen=True)
class Told:
    """An answer: its status, headers and text, in which what differs from one request to the next is replaced, all of it as it
    came, and what was asked of databases for it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    text: str
    raw: str
    looked_up: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answers:
    """What one person was told on one path: where nothing forbidden is there, where it is, and of something that is in neither.
    `kind` says what was named as it is of the forbidden, None where nothing was."""

    path: str
    person: str
    request: str
    kind: str | None
    named: frozenset[str]
    without: Told
    within: Told
    absent: Told

    def __str__(self) -> str:
        return f"{self.person}: {self.path}: {self.request!r}, {self.kind} forbidden"


MINTED = re.compile(r"\b(?:(?:conv|note|run|relabel)-[0-9a-f]{12,16}|[0-9]+-[0-9a-f]{12})\b")
"""Ids of conversations, notes, runs and audit records, which are new each time."""

TIMES = (
    re.compile(r'("(?:created|updated|asked|indexed_at|started|ended|expires|seconds)": ?)(?:"[^"]*"|[0-9.]+)'),
    re.compile(r'(<time datetime=)"[^"]*">[^<]*'),
    re.compile(r"([· ]|passages in )[0-9]+\.[0-9] s(?=<| \()"),
    re.compile(r"(^[0-9]+\. )[0-9]{4}-[^ ]* ", re.MULTILINE),
    re.compile(r"(^)_[0-9]{4}-[0-9-]{5}T[^_]*_$", re.MULTILINE),
    re.compile(r"(\bexpires=)[A-Z][^;]*"),
    re.compile(r"^(inhouse_\w+_(?:created|seconds_sum|seconds_bucket)(?:\{.*\})? ).*$", re.MULTILINE),
)
"""Where an answer has times and durations: fields of JSON, elements of pages, the line below a question in Markdown, the
end of a cookie that is taken back, and the measures that are durations."""


@dataclass
class World:
    """An installation with its site, and each person signed in."""

    installation: Installation
    client: TestClient
    keys: Mapping[str, str]
    command_line: Callable[..., Any]
    sessions: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Each request says itself who sends it.
        self.client.cookies.jar.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))

    def session(self, person: str) -> tuple[str, str]:
        """The cookie and the token of a person's session, which begins anew where the last was ended."""
        if person not in self.sessions:
            began = self.client.post("/web/sign-in", json={"credential": self.keys[person]})
            assert began.status_code == 200, (person, began.text)
            cookie = began.headers["set-cookie"].partition(";")[0]
            page = self.client.get("/", headers={"cookie": cookie}).text
            found = re.search(r'name="csrf" content="([0-9a-f]+)"', page)
            assert found is not None
            self.sessions[person] = cookie, found.group(1)
        return self.sessions[person]

    def asked(self, person: str, method: str, request: str, kept: Collection[str] = ()) -> Told:
        """What a route answers; of the API by key, of the pages by session."""
        path, _, body = request.partition(BODY)
        body = body and BODY.strip() + body
        session = self.session(person)
        headers = {"cookie": session[0], "x-csrf-token": session[1]}
        if path.startswith(("/v1/", "/metrics", "/docs", "/openapi")) and not path.startswith("/documents"):
            headers = {"authorization": f"Bearer {self.keys[person]}"}
        if body:
            headers["content-type"] = "application/json"
        told = self.client.request(method, path, content=body or None, headers=headers, follow_redirects=False)
        if method == "POST" and path == "/web/sign-out" and told.status_code == 200:
            del self.sessions[person]
        while told.status_code == 202 and self.client.app.state.background.busy:  # type: ignore[attr-defined]
            time.sleep(0.02)
        # The length is that of the text, which is compared.
        sent = tuple(pair for pair in told.headers.items() if pair[0] != "content-length")
        shown = tuple((name, self._even(value, session, kept)) for name, value in sent)
        text = told.content.decode("utf-8", "backslashreplace")
        return Told(told.status_code, shown, self._even(text, session, kept), f"{sent}\n{text}")

    def called(self, person: str, command: str, arguments: str, kept: Collection[str] = ()) -> Told:
        """What a command prints."""
        words = [one for one in arguments.split(BETWEEN) if one]
        done = self.command_line(self.installation.directory, *command.split(), *words, "--as", person)
        printed = (("errors", self._even(done.stderr, ("", ""), kept)),)
        return Told(done.returncode, printed, self._even(done.stdout, ("", ""), kept), done.stdout + done.stderr)

    def _even(self, text: str, session: tuple[str, str], kept: Collection[str]) -> str:
        for secret in (one for one in session if one):
            text = text.replace(secret.rpartition("=")[2], "SESSION")
        for pattern in TIMES:
            text = pattern.sub(r"\1TIME", text)
        seen: dict[str, str] = {}
        return MINTED.sub(lambda found: found[0] if found[0] in kept else seen.setdefault(found[0], f"NEW{len(seen)}"), text)


def pdf(path: Path, text: str) -> None:
    made = FPDF()
    made.set_font("Helvetica", size=12)
    made.add_page()
    made.text(20, 20, text)
    made.output(str(path))


def folder_of(folder: Path, documents: Mapping[str, str], rule: str) -> Path:
    folder.mkdir()
    for name, text in documents.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "labels.toml").write_text(rule, encoding="utf-8")
    return folder


def operate(installation: Installation, name: str, /, **request: Any) -> Any:
    return run_in(installation, name, request, lambda event: None, threading.Event())


@dataclass(frozen=True)
class House:
    """Both worlds, and the names: of each kind, what is there for everybody (by person where it is a person's own), and what
    there is of it in the one world alone. `looked_up` gets each statement that a database is asked."""

    without: World
    within: World
    open: Mapping[str, Mapping[str, str]]
    forbidden: Mapping[str, str]
    folder: Path
    table: Path
    model_file: Path
    looked_up: list[str]


def made_base(data: Path, folder: Path, inhouse_within: Callable[..., Any]) -> dict[str, str]:
    """The world without, and a key for each person."""
    assert inhouse_within(data, "init").returncode == 0
    (data / "inhouse.toml").write_text(SETTINGS, encoding="utf-8")
    keys = {}
    with Installation(data, load_settings(data)) as installation:
        for person, (clearance, groups, roles) in PEOPLE.items():
            operate(installation, "people.add", id=person, name=person, clearance=clearance, groups=groups, roles=roles)
            limits = {"groups": ("directors",), "clearance": "internal"} if person == "emil" else {}
            keys[person] = operate(installation, "keys.create", person=person, **limits)["secret"]
        operate(installation, "ingest", folder=str(folder))
        with TestClient(create_site(installation), base_url="http://localhost") as client:
            world = World(installation, client, keys, inhouse_within)
            for person in ASKING:
                world.asked(person, "POST", '/web/ask {"question": "What is paid for hotels?"}')
                turn = installation.conversations.turns(person, installation.conversations.listed(person)[0].id)[0]
                body = {"question": turn.answer["audit_id"], "verdict": "right"}
                world.asked(person, "POST", "/web/feedback " + json.dumps(body))
    return keys


def add_forbidden(installation: Installation, folder: Path, keys: Mapping[str, str], command_line: Any) -> dict[str, str]:
    """What nobody but dora may read, and its names."""
    run = operate(installation, "ingest", folder=str(folder))["run"]["id"]
    documents = {one["path"]: one["id"] for one in operate(installation, "documents.list", kb="boardkiwi")["documents"]}
    with TestClient(create_site(installation), base_url="http://localhost") as client:
        dora = World(installation, client, keys, command_line)
        for question in list(ASKED.values())[:2]:
            dora.asked("dora", "POST", "/web/ask " + json.dumps({"question": question, "kb": "boardkiwi"}))
        conversation = installation.conversations.listed("dora")[0].id
        turn = installation.conversations.turns("dora", installation.conversations.listed("dora")[-1].id)[0]
        assert TEXT in json.dumps(turn.answer) or "30 days" in json.dumps(turn.answer)
        question = str(turn.answer["audit_id"])
        for kb in ("boardkiwi", None):
            body = {"question": question, "verdict": "wrong", "reason": f"kiwi {TEXT} is wrong", "kb": kb}
            dora.asked("dora", "POST", "/web/feedback " + json.dumps(body))
    found = next(records(installation.directory / "audit", tag="document:added", limit=1))
    document = documents["mergerkiwi.md"]
    return {
        "document": document,
        "spare": document,
        "conversation": conversation,
        "turn": question,
        "run": run,
        "entry": next(one.id for one in installation.runs.quarantine() if NAME in one.path),
        "event": found.id,
        "note": installation.conversations.feedback()[0].id,
        "kb": "boardkiwi",
        "person": "dora",
        "key": next(one.id for one in installation.keys.list() if one.person == "dora"),
        "model": "kiwi-model",
        "path": "mergerkiwi.md",
        "group": "kiwis",
        "newcomer": "dora",
    }


def open_names(installation: Installation, person: str) -> dict[str, str]:
    """Names of what is there for a person, in both worlds."""
    documents = {one["path"]: one["id"] for one in operate(installation, "documents.list")["documents"]}
    opened = installation.conversations.listed(person)[0].id
    turn = installation.conversations.turns(person, opened)[0]
    found = record(installation.directory / "audit", "1")
    return {
        "document": documents["rules.pdf" if person == "ana" else "leave.md"],
        "spare": documents["spare.md"],
        "conversation": opened,
        "turn": str(turn.answer["audit_id"]),
        "run": installation.runs.runs(limit=10)[-1].id,
        "entry": next(one.id for one in installation.runs.quarantine() if one.path == "loose.txt"),
        "event": found.id,
        "note": installation.conversations.feedback()[-1].id,
        "kb": "handbook",
        "person": "ana",
        "key": next(one.id for one in installation.keys.list() if one.person == "ana"),
        "model": "quotes",
        "path": "leave.md",
        "group": "sales",
        "newcomer": "newcomer",
    }


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, inhouse_within: Callable[..., Any], operations: set[str], small_gguf: Path
) -> Iterator[House]:
    """Both worlds: one was copied from the other before the forbidden came in, and in both one more document came later, under
    the same id, so that numbers which count what there is of the forbidden would differ."""
    root = tmp_path_factory.mktemp("leaks")
    rule = RULE.format("handbook", "internal", "everyone", "hr")
    folder = folder_of(root / "house", OPEN, rule.replace('"*"', '"*.md"') + rule.replace('"*"', '"*.pdf"'))
    (folder / "loose.txt").write_text("No rule labels this.")
    pdf(folder / "rules.pdf", "The rules of the house are on this page.")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nothing of it")
    secret = folder_of(root / "kiwis", SECRET, RULE.format("boardkiwi", "confidential", "directors", "ownerkiwi"))
    (secret / "brokenkiwi.pdf").write_bytes(b"%PDF-1.4 nothing of it")
    table = root / "table.toml"
    table.write_text('[[expect]]\nwho = "ana"\naction = "audit.read"\nallowed = false\n')
    looked_up: list[str] = []

    def look_up(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        looked_up.append(statement)

    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        sa.event.listen(sa.Engine, "before_cursor_execute", look_up)
        stack.callback(sa.event.remove, sa.Engine, "before_cursor_execute", look_up)
        patch.setenv("INHOUSE_EMBEDDING__KIND", "hashing")
        keys = made_base(root / "without", folder, inhouse_within)
        shutil.copytree(root / "without", root / "within")
        installations = {
            data: stack.enter_context(Installation(data, load_settings(data))) for data in (root / "without", root / "within")
        }
        within = installations[root / "within"]
        forbidden = add_forbidden(within, secret, keys, inhouse_within)
        (folder / "later.md").write_text("# Parking\n\n## Places\n\nParking places are for guests. They cost nothing.\n")
        with pytest.MonkeyPatch.context() as same:
            same.setattr("vectorstore.versions.secrets", SimpleNamespace(token_hex=lambda size: "5a" * size))
            for one in installations.values():
                operate(one, "ingest", folder=str(folder))

        def serving(data: Path) -> Callable[..., Any]:
            def asked(name: str, *rest: Any) -> Any:
                operations.add(name)
                return run_in(installations[data], name, *rest)

            return asked

        patch.setattr("service.operations.run._service", serving)
        worlds = [
            World(one, stack.enter_context(TestClient(create_site(one), base_url="http://localhost")), keys, inhouse_within)
            for one in installations.values()
        ]
        names = {one: open_names(within, one) for one in ASKING}
        yield House(*worlds, names, forbidden, folder, table, small_gguf, looked_up)


@pytest.fixture(scope="module")
def operations() -> set[str]:
    """The operations that were asked for through commands."""
    return set()


@pytest.fixture(scope="module")
def table(repository: Path) -> Mapping[str, Any]:
    """How each path is gone."""
    return tomllib.loads((repository / "tests" / "threats" / "leaks.toml").read_text(encoding="utf-8"))


def absent(name: str) -> str:
    """A name of the same length, and nearly at the same place of any order, that nothing has."""
    return "9" * len(name) if name.isdigit() else re.sub(r"\w(?=\W*$)", lambda last: "e" if last[0] != "e" else "f", name)


def filled(request: str, names: Mapping[str, str]) -> str:
    """The request with the names and the questions put in."""
    for word, question in ASKED.items():
        request = request.replace(word, question)
    for kind, name in names.items():
        request = request.replace("{" + kind + "}", name)
    return request


def kinds_in(request: str, kinds: Collection[str]) -> list[str]:
    return [kind for kind in kinds if "{" + kind + "}" in request]


def each_way(house: House, path: str, person: str, request: str, ask: Callable[..., Told]) -> Iterator[Answers]:
    """A request with open names, and with each of its names as it is of the forbidden: in both worlds, in the same order."""
    names = house.open[person]
    for kind in [None, *kinds_in(request, house.forbidden)]:
        named = dict(names) if kind is None else {**names, kind: house.forbidden[kind]}
        nothing = named if kind is None else {**names, kind: absent(house.forbidden[kind])}
        told = []
        for one in (named, nothing):
            kept = frozenset({*names.values(), *named.values(), *nothing.values()})
            for world in (house.without, house.within):
                house.looked_up.clear()
                said = ask(world, person, path, filled(request, one), kept)
                told.append(replace(said, looked_up=tuple(house.looked_up)))
        said = frozenset() if kind is None else frozenset({named[kind], nothing[kind]})
        yield Answers(path, person, filled(request, named), kind, said, told[0], told[1], told[3])


@pytest.fixture(scope="module")
def answers(house: House, table: Mapping[str, Any]) -> tuple[list[Answers], str]:
    """What everybody was told on every path, and what the service logged meanwhile."""
    logged: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = lambda one: logged.append(handler.format(one))  # type: ignore[method-assign]
    root = logging.getLogger()
    before, same = root.level, pytest.MonkeyPatch()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)

    requests_made = itertools.count()

    def requested(world: World, person: str, path: str, request: str, kept: Collection[str]) -> Told:
        if world is house.without:
            # A document that comes in by a request gets the same id in both worlds.
            number = next(requests_made)
            same.setattr("vectorstore.versions.secrets", SimpleNamespace(token_hex=lambda size: f"{number:0{2 * size}x}"))
        return world.asked(person, path.partition(" ")[0], request, kept)

    def called(world: World, person: str, path: str, request: str, kept: Collection[str]) -> Told:
        return world.called(person, path, request, kept)

    places = {"FOLDER": str(house.folder), "POLICIES": str(DEFAULTS), "TABLE": str(house.table)}
    places["GGUF"] = str(house.model_file)
    found: list[Answers] = []
    try:
        for person in ASKING:
            for path, requests in table["routes"].items():
                for request in requests:
                    found += each_way(house, path, person, request, requested)
            if person == "emil":
                continue  # On the command line he would have all his rights.
            for path, calls in table["commands"].items():
                for call in calls:
                    words = BETWEEN.join(places.get(word, word) for word in call.split(" "))
                    found += each_way(house, path, person, words, called)
    finally:
        same.undo()
        root.removeHandler(handler)
        root.setLevel(before)
    return found, "\n".join(logged)


def commands_now() -> dict[str, bool]:
    """Every command of the command line, and whether somebody else's eyes can be lent to it."""
    found = {}
    for verb, (module, _) in COMMANDS.items():
        made: Any = typer.main.get_command(importlib.import_module(module).app)
        for name, one in (getattr(made, "commands", None) or {verb: made}).items():
            lent = any("--as" in given.opts for given in one.params)
            found[verb if name == verb else f"{verb} {name}"] = lent
    return found


def routes_now(app: Any) -> dict[str, Any]:
    """Every route of the site but the files that are the same for all, and the function behind it."""
    found: dict[str, Any] = {}
    waiting = list(app.routes)
    while waiting:
        one = waiting.pop()
        if hasattr(one, "original_router"):
            waiting += one.original_router.routes
        elif one.path != "/static/{name}":
            found |= {f"{method} {one.path}": one for method in one.methods or {"*"}}
    return found


def test_r1_every_route_and_every_form_of_it_is_gone(house: House, table: Mapping[str, Any]) -> None:
    routes = routes_now(house.within.client.app)
    without, gone = routes.keys() - table["routes"].keys(), table["routes"].keys() - routes.keys()
    assert not without, f"Say under [routes] in tests/threats/leaks.toml how these are asked: {sorted(without)}"
    assert not gone, f"Take these out of [routes] in tests/threats/leaks.toml: {sorted(gone)}"
    for path, route in routes.items():
        requests = table["routes"][path]
        names = re.findall(r"\{(\w+)", path)
        vague = [one for one in requests if len(kinds_in(one.partition(BODY)[0], house.forbidden)) < len(names)]
        assert not vague, f"Put a {{kind}} for each of {names} of {path} into its requests in tests/threats/leaks.toml: {vague}"
        forms = {
            f"{query.name}={value}"
            for query in getattr(getattr(route, "dependant", None), "query_params", ())
            if get_origin(query.field_info.annotation) is Literal
            for value in get_args(query.field_info.annotation)
        }
        if path == "GET /audit/export":
            forms = {f"form={one}" for one in FORMS}
        missing = [one for one in forms if not any(one in request for request in requests)]
        assert not missing, f"Ask {path} for these forms too, in tests/threats/leaks.toml: {missing}"
    assert "form=json" in str(table["routes"]["GET /web/conversations/{conversation}/export"])


def test_r1_every_command_and_every_operation_is_gone(
    answers: tuple[list[Answers], str], table: Mapping[str, Any], operations: set[str]
) -> None:
    commands = commands_now()
    without = commands.keys() - table["commands"].keys() - set(table["owner"]["commands"])
    assert not without, f"Say under [commands] in tests/threats/leaks.toml how these are called: {sorted(without)}"
    gone = {*table["commands"], *table["owner"]["commands"]} - commands.keys()
    assert not gone, f"Take these out of tests/threats/leaks.toml: {sorted(gone)}"
    lent = {name for name, there in commands.items() if there}
    assert set(table["commands"]) == lent, "[commands] are those with --as, [owner] those without"
    asked_as = {name for name in registry.names() if "as_person" in registry.operation(name).request.model_fields}
    missing = asked_as - operations
    assert not missing, f"Call a command in tests/threats/leaks.toml that asks for these operations: {sorted(missing)}"


def knows(table: Mapping[str, Any], one: Answers) -> bool:
    return bool({one.person, f"{one.person} {one.kind}"} & set(table["known"].get(one.path, ())))


def difference(one: Answers, first: Told, second: Told) -> str:
    lines = zip(first.text.splitlines(), second.text.splitlines(), strict=False)
    pair = next(((a, b) for a, b in lines if a != b), (first.text[-200:], second.text[-200:]))
    return f"{one}\n  {first.status} {second.status}\n  {pair[0][:300]}\n  {pair[1][:300]}"


def test_r3_with_and_without_forbidden_documents_every_path_says_the_same(
    answers: tuple[list[Answers], str], table: Mapping[str, Any]
) -> None:
    compared = [one for one in answers[0] if not knows(table, one)]
    assert len(compared) > 500
    differing = [
        difference(one, one.without, one.within)
        for one in compared
        if (one.without.status, one.without.headers, one.without.text)
        != (one.within.status, one.within.headers, one.within.text)
    ]
    assert not differing, "\n".join(differing)


def test_r3_on_every_path_what_is_forbidden_is_as_absent_as_what_is_nowhere(
    answers: tuple[list[Answers], str], table: Mapping[str, Any]
) -> None:
    def even(told: Told, names: Collection[str]) -> tuple[int, str, str]:
        text, headers = told.text, repr(told.headers)
        for name in names:
            text, headers = text.replace(name, "NAME"), headers.replace(name, "NAME")
        return told.status, headers, text

    compared = [one for one in answers[0] if one.kind is not None and not knows(table, one)]
    assert {one.kind for one in compared} >= {"document", "conversation", "turn", "run", "entry", "event", "note", "kb"}
    differing = [
        difference(one, one.within, one.absent)
        for one in compared
        if even(one.within, one.named) != even(one.absent, one.named)
    ]
    assert not differing, "\n".join(differing)


def test_r3_for_what_is_forbidden_and_for_what_is_nowhere_databases_are_asked_the_same(
    answers: tuple[list[Answers], str], table: Mapping[str, Any]
) -> None:
    """Which is most of what an answer's time can tell; bench/strangers.py measures the rest."""
    compared = [one for one in answers[0] if one.kind is not None and not knows(table, one)]
    assert sum(len(one.within.looked_up) > 1 for one in compared) > 200
    differing = [
        f"{one}\n  {list(Counter(one.within.looked_up) - Counter(one.absent.looked_up))}"
        f"\n  {list(Counter(one.absent.looked_up) - Counter(one.within.looked_up))}"
        for one in compared
        if one.within.looked_up != one.absent.looked_up
    ]
    assert not differing, "\n".join(differing)


def test_r3_each_path_was_gone_to_its_end_by_somebody(answers: tuple[list[Answers], str], table: Mapping[str, Any]) -> None:
    """Equal refusals show nothing of a path that lets nobody here through."""
    told = [(one.path, one.within) for one in answers[0] if one.kind is None]
    reached = {path for path, told in told if told.status in ({0, 5} if path in table["commands"] else range(200, 300))}
    unknown = [path for path, one in told if one.status == 401 and path not in table["refused"]]
    assert not unknown, unknown
    refused = [(path, one.status, one.raw[-300:]) for path, one in told if path not in reached]
    assert {path for path, *_ in refused} == set(table["refused"]), "\n".join(map(repr, refused))


def test_r1_no_answer_header_log_line_or_terminal_has_a_word_or_a_name_of_what_is_forbidden(
    answers: tuple[list[Answers], str], house: House, table: Mapping[str, Any]
) -> None:
    secrets = {TEXT, NAME, *(house.forbidden[kind] for kind in ("document", "conversation", "run", "entry", "note", "turn"))}
    for one in answers[0]:
        for told in (one.within, one.absent):
            raw = told.raw.lower()
            for name in one.named:
                raw = raw.replace(name.lower(), "")
            sought = {TEXT} if knows(table, one) else secrets
            assert not [word for word in sought if word in raw], (str(one), [w for w in sought if w in raw], raw[:3000])
    assert not [line for line in answers[1].splitlines() if TEXT in line.lower()]


LOST = "# Cellar\n\n## Wine\n\nThe wine in the cellar is a wombatine of 1997.\n"


def test_r3_what_a_person_may_no_longer_read_is_on_no_path_that_their_own_questions_lead_to(
    tmp_path: Path, inhouse_within: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHOUSE_EMBEDDING__KIND", "hashing")
    data, rule = tmp_path / "data", RULE.format("handbook", "internal", "{}", "hr")
    folder = folder_of(tmp_path / "house", OPEN, rule.format("everyone"))
    keys = made_base(data, folder, inhouse_within)
    (folder / "vino.md").write_text(LOST, encoding="utf-8")
    wine = "What is the wine in the cellar?"
    with Installation(data, load_settings(data)) as installation:
        operate(installation, "ingest", folder=str(folder))
        with TestClient(create_site(installation), base_url="http://localhost") as client:
            world = World(installation, client, keys, inhouse_within)

            def raw(request: str, method: str = "GET", person: str = "ana") -> str:
                return world.asked(person, method, request).raw

            assert "wombatine" in raw("/web/ask " + json.dumps({"question": wine}), "POST")
            opened = installation.conversations.listed("ana")[0].id
            turn = installation.conversations.turns("ana", opened)[0]
            body = {"question": turn.answer["audit_id"], "verdict": "wrong", "reason": "No wombatine."}
            raw("/web/feedback " + json.dumps(body), "POST")
            cited = turn.answer["citations"][0]
            again = json.dumps({"question": "And of which year is it?", "conversation": opened})
            place = f"/web/sources/{cited['document']}"
            paths = [
                (f"/c/{opened}", "GET", "ana"),
                *((f"/web/conversations/{opened}/export?form={form}", "GET", "ana") for form in ("md", "json")),
                (f"{place}?version=1&start={cited['start']}&end={cited['end']}", "GET", "ana"),
                (f"{place}/original?version=1", "GET", "ana"),
                (f"/web/ask {again}", "POST", "ana"),
                ("/documents?search=wine", "GET", "stew"),
                ("/documents/notes", "GET", "stew"),
                ("/v1/documents", "GET", "ana"),
                ("/v1/search " + json.dumps({"text": wine}), "POST", "ana"),
            ]
            told = [raw(*path) for path in paths]
            # The list of documents shows its title and the page of notes what was written of it; all others the word.
            assert all("wombatine" in one or "Cellar" in one for one in told), [one for one in told if "wombatine" not in one]
            suggested = raw("/")
            (folder / "labels.toml").write_text(RULE.replace("*", "vino.md").format("vault", "confidential", "kept", "hr"))
            operate(installation, "ingest", folder=str(folder))
            for path in [*paths, ("/", "GET", "ana"), ("/web/conversations?search=wombatine", "GET", "ana")]:
                one = raw(*path)
                assert "wombatine" not in one.lower().replace("search=wombatine", ""), path
                assert "vino.md" not in one, path
                assert "Cellar" not in one, path
            assert "Wine" in suggested
            # A person's own question is theirs, and stays.
            assert wine in raw(f"/c/{opened}")
            assert wine in raw("/web/conversations")
