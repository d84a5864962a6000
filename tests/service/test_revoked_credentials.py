"""What somebody came with ends, also for what is being answered and shown, whichever carrier it was."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio.to_thread
import pytest
from starlette.testclient import TestClient

from policies.audit.events import EventTag
from policies.audit.pages import Wanted, every
from policies.errors import AuthenticationRequired
from policies.identity import LOCAL_OWNER_ID, Principal
from service.answer.types import Done
from service.auth.carriers import API, COMMAND_LINE, DOCS, PAGES, Carried
from service.auth.proxy import ProxySaid
from service.operations.documents import view
from service.operations.ingest import IngestFolder, ingested
from service.operations.run import run_in
from service.runtimes.interface import AnswerRequest, End, Piece, Text
from service.runtimes.scripted import ScriptedRuntime
from service.web.application import create_site
from vectorstore.types import DocumentId

QUESTION = "For how much does the board plan to buy Tannhof Optics?"
FIRST = "The board plans to buy Tannhof Optics for 48 million euros in June [1]. "
SECOND = "The board plans to buy Tannhof Optics [1]. "
HOUR = datetime.timedelta(hours=1)
PROXY = "of the proxy alone: " + "p" * 32


class Interrupted(ScriptedRuntime):
    """Says two sentences, between which something happens."""

    def __init__(self, between: Callable[[], Any]) -> None:
        super().__init__([Text(FIRST), Text(SECOND), Text("Then"), End("stop", 1, 1)])
        self._between = between

    async def stream(self, request: AnswerRequest) -> AsyncIterator[Piece]:
        pieces = 0
        async for piece in super().stream(request):
            pieces += 1
            if pieces == 2:
                await anyio.to_thread.run_sync(self._between)
            yield piece


@pytest.fixture
def bench(workbench: Callable[..., Any], provider_double: ModuleType, tmp_path: Path) -> Iterator[Any]:
    """An installation with every carrier switched on, and its provider as `provider`."""
    secret = tmp_path / "proxy-secret"
    secret.write_text(PROXY)
    with provider_double.oidc_provider() as provider:
        made = workbench(
            INHOUSE_ANSWER__THRESHOLD="0.0",
            INHOUSE_OIDC__ISSUER=provider.issuer,
            INHOUSE_OIDC__AUDIENCE=provider_double.AUDIENCE,
            INHOUSE_PROXY__SECRET_FILE=str(secret),
            INHOUSE_SERVER__FORWARDED_ALLOW_IPS="127.0.0.1",
        )
        made.ingest()
        made.provider = provider
        yield made


class Came:
    """Somebody new who may read all there is, and all that they can come with."""

    def __init__(self, bench: Any, person: str, role: str = "user") -> None:
        self.bench, self.person = bench, person
        house = bench.installation
        bench("people.add", id=person, name=person, clearance="confidential", groups=["directors"], roles=[role])
        self.key, self.secret = house.keys.create(person, datetime.datetime.now(datetime.UTC) + HOUR)
        self.session, self.cookie = house.sessions.begin_for(person, 24 * HOUR)
        self.by_key, self.cookie_by_key = house.sessions.begin(self.secret, 24 * HOUR)
        said = {"sub": person, "preferred_username": person}
        self.token = bench.provider.token(**said, exp=int(time.time()) + 600)

    def principal(self, carrier: str) -> Principal:
        """Who comes with that carrier."""
        password = base64.b64encode(f"any:{self.secret}".encode()).decode()
        proxied = ProxySaid([self.person], [PROXY], "127.0.0.1")
        carried, accepted = {
            "key": (Carried(f"Bearer {self.secret}"), API),
            "password": (Carried(f"Basic {password}"), DOCS),
            "token": (Carried(f"Bearer {self.token}"), API),
            "proxy": (Carried(proxy=proxied), API),
            "session": (Carried(cookies=[self.cookie]), PAGES),
            "session by key": (Carried(cookies=[self.cookie_by_key]), PAGES),
            "command line": (Carried(owner=True, as_person=self.person), COMMAND_LINE),
            "key and session": (Carried(f"Bearer {self.secret}", [self.cookie]), API),
        }[carrier]
        found: Principal = self.bench.installation.carriers.recognise(carried, accepted).principal
        return found

    def disabled(self) -> None:
        self.bench("people.disable", id=self.person)

    def revoked(self) -> None:
        self.bench("keys.revoke", id=self.key.id)

    def signed_out(self) -> None:
        for one in (self.session, self.by_key):
            self.bench.installation.sessions.end(one.id)

    def past(self, minutes: int) -> None:
        self.bench.installation.clock = lambda: time.time() + 60 * minutes


ENDINGS: Mapping[str, Mapping[str, Callable[[Came], None]]] = {
    "key": {"disabled": Came.disabled, "revoked": Came.revoked, "expired": lambda came: came.past(61)},
    "password": {"disabled": Came.disabled, "revoked": Came.revoked, "expired": lambda came: came.past(61)},
    # The provider's clock may be a minute off.
    "token": {"disabled": Came.disabled, "expired": lambda came: came.past(12)},
    "proxy": {"disabled": Came.disabled},
    "session": {"disabled": Came.disabled, "signed out": Came.signed_out, "expired": lambda came: came.past(24 * 60 + 1)},
    "session by key": {
        "disabled": Came.disabled,
        "signed out": Came.signed_out,
        "revoked": Came.revoked,
        "expired with its key": lambda came: came.past(61),
    },
    "command line": {"disabled": Came.disabled},
    # Each of them must be good, as at the next request.
    "key and session": {"the key revoked": Came.revoked, "the session signed out": Came.signed_out},
}
"""What ends each carrier while an answer comes."""


def answered(bench: Any, principal: Principal, between: Callable[[], Any]) -> list[Any]:
    """The events of an answer; of one that is cut off, those before, and the error."""
    bench.installation.__dict__["runtimes"] = {"default": Interrupted(between)}
    events: list[Any] = []

    async def main() -> None:
        try:
            async for event in bench.installation.engine.answer(QUESTION, principal, kb="board"):
                events.append(event)
        except AuthenticationRequired as error:
            events.append(error)

    asyncio.run(main())
    return events


@pytest.mark.parametrize("carrier", ENDINGS)
def test_an_answer_ends_before_its_next_piece_once_what_was_come_with_has_ended(bench: Any, carrier: str) -> None:
    standing = Came(bench, "other")
    messages = set()
    for number, (how, end) in enumerate(ENDINGS[carrier].items()):
        came = Came(bench, f"person-{number}")
        principal = came.principal(carrier)
        # Somebody else's end is not theirs, although it makes the service look again.
        other = (standing.disabled, standing.revoked, standing.signed_out, lambda: None)[number]
        whole = answered(bench, principal, other)
        assert isinstance(whole[-1], Done), how
        *pieces, cut = answered(bench, principal, lambda end=end, came=came: end(came))  # type: ignore[misc]
        assert isinstance(cut, AuthenticationRequired), how
        assert pieces == whole[:1], how
        messages.add((cut.message, cut.hint))
        record = bench.events("question:refused")[-1]
        assert (record.actor, record.payload["reason"]) == (came.person, "who asked is no longer let in"), how
        assert record.payload["paths"] == ["board/merger.md"], how
        bench.installation.clock = time.time
    assert len(messages) == 1


def test_a_token_is_accepted_as_long_while_an_answer_comes_as_at_a_request(bench: Any) -> None:
    came = Came(bench, "mia")
    principal = came.principal("token")
    assert isinstance(answered(bench, principal, lambda: came.past(10))[-1], Done)
    assert isinstance(answered(bench, principal, lambda: came.past(12))[-1], AuthenticationRequired)


def test_a_view_looks_at_the_key_once_more_before_its_text_leaves(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    came = Came(bench, "mia")
    principal, log = came.principal("key"), bench.installation.audit
    merger, append = DocumentId(bench.document("board/merger.md")["id"]), log.append
    assert view(bench.installation, principal, merger, text=True)["text"]

    def revokes_first(*record: Any) -> Any:
        recorded = append(*record)
        if record[1] == "mia":
            came.revoked()
        return recorded

    monkeypatch.setattr(log, "append", revokes_first)
    with pytest.raises(AuthenticationRequired):
        view(bench.installation, principal, merger, text=True)


@pytest.mark.parametrize(("operation", "found"), [("search", "hits"), ("ask", "answer")])
def test_a_batch_goes_on_for_nobody_who_is_disabled_meanwhile(bench: Any, operation: str, found: str) -> None:
    came = Came(bench, "mia")
    told: list[Mapping[str, Any]] = []

    def emit(event: Mapping[str, Any]) -> None:
        told.append(event["line"])
        if len(told) == 2:
            came.disabled()

    batch = [{"id": str(number), "text": QUESTION} for number in range(4)]
    with pytest.raises(AuthenticationRequired):
        run_in(bench.installation, operation, {"batch": batch, "as_person": "mia"}, emit, threading.Event())
    assert [line["id"] for line in told] == ["0", "1"]
    assert all("48 million" in json.dumps(line[found]) for line in told)


@pytest.fixture
def client(bench: Any) -> Iterator[TestClient]:
    """The site over it, whose cookies each request says itself."""
    with TestClient(create_site(bench.installation), base_url="http://localhost") as made:
        yield made


def test_the_api_s_stream_ends_with_the_problem_of_a_request_without_a_key(bench: Any, client: TestClient) -> None:
    came = Came(bench, "mia")
    bench.installation.__dict__["runtimes"] = {"default": Interrupted(came.revoked)}
    body = {"model": "inhouse/board", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    told = client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {came.secret}"})
    *before, problem, done = [line.removeprefix("data: ") for line in told.text.split("\n\n") if line]
    assert "48 million" in "".join(before)
    assert json.loads(problem)["error"]["code"] == "invalid_api_key"
    assert done == "[DONE]"
    assert client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {came.secret}"}).status_code == 401


def test_the_chat_page_is_sent_to_the_sign_in_and_shows_no_turn(bench: Any, client: TestClient) -> None:
    came = Came(bench, "mia")
    session = {"cookie": f"inhouse_session={came.cookie}"}
    found = re.search(r'name="csrf" content="([0-9a-f]+)"', client.get("/", headers=session).text)
    assert found is not None
    headers = {**session, "x-csrf-token": found.group(1)}

    def asked(between: Callable[[], Any]) -> list[tuple[str, Any]]:
        bench.installation.__dict__["runtimes"] = {"default": Interrupted(between)}
        told = client.post("/web/ask", json={"question": QUESTION, "kb": "board"}, headers=headers).text
        blocks = [block.split("\n") for block in told.strip().split("\n\n")]
        return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]

    assert [name for name, _ in asked(lambda: None)][-1] == "done"
    whole = asked(came.signed_out)
    assert whole[-1] == ("ended", {"next": "/sign-in"})
    assert "48 million" in json.dumps(whole)
    # The question is kept for whoever signs in again, with nothing of the answer.
    kept = bench.installation.conversations.turns("mia", whole[0][1]["conversation"])[0]
    assert (kept.outcome, kept.answer["answer"]) == ("failed", "")


@pytest.mark.parametrize("end", [Came.disabled, Came.signed_out, lambda came: came.past(24 * 60 + 1), None])
def test_an_export_of_the_log_breaks_off_once_its_auditor_is_no_longer_let_in(
    bench: Any, monkeypatch: pytest.MonkeyPatch, end: Callable[[Came], None] | None
) -> None:
    came = Came(bench, "mia", "auditor")
    monkeypatch.setattr("service.web.audit_export._PIECE", 1)

    def ending(*wanted: Any, **more: Any) -> Iterator[Any]:
        for number, record in enumerate(every(*wanted, **more)):
            if number == 3 and end is not None:
                end(came)
            yield record

    monkeypatch.setattr("service.web.audit.every", ending)
    client = TestClient(create_site(bench.installation), base_url="http://localhost", raise_server_exceptions=False)
    told = client.get("/audit/export?form=jsonl", headers={"cookie": f"inhouse_session={came.cookie}"})
    assert told.status_code == 200
    whole = sum(1 for _ in every(bench.installation.directory / "audit", Wanted(), before=10**9))
    assert whole > 6
    assert len(told.text.splitlines()) == (3 if end else whole - 1)


def test_who_acts_as_the_owner_is_never_past(bench: Any) -> None:
    owner = bench.installation.principal(None)
    assert owner.id == LOCAL_OWNER_ID
    bench.installation.clock = lambda: time.time() + 10**9
    assert bench.installation.current(owner) == owner


@pytest.mark.parametrize("ending", [Came.signed_out, Came.disabled])
def test_an_ingest_outlives_the_session_that_began_it_and_not_the_person(
    bench: Any, monkeypatch: pytest.MonkeyPatch, ending: Callable[[Came], None]
) -> None:
    came = Came(bench, "stella", "steward")
    (bench.folder / "new.md").write_text("# Lifts\n\nLifts are tested in May.\n", encoding="utf-8")
    append_all = bench.installation.audit.append_all

    def ends_first(events: Any) -> Any:
        recorded = append_all(events)
        if any(tag is EventTag.INGEST_STARTED for tag, *_ in events):
            ending(came)
        return recorded

    def begun() -> Any:
        wanted = IngestFolder(folder=bench.folder)
        return ingested(bench.installation, came.principal("session"), wanted, lambda event: None, threading.Event())

    monkeypatch.setattr(bench.installation.audit, "append_all", ends_first)
    if ending is Came.signed_out:
        assert begun()["run"]["added"] == 1
    else:
        with pytest.raises(AuthenticationRequired, match="stella is disabled"):
            begun()
    assert len([one for one in bench("documents.list")["documents"] if one["path"] == "new.md"]) == (ending is Came.signed_out)
