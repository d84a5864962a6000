"""A permission that ends, ends at once: for what is asked afterwards, and for what is being answered and shown."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.audit.events import EventTag
from policies.database import Changes, writing
from policies.errors import AccessDenied, AuthenticationRequired, NotFoundError, SourcesChanged
from policies.identity import Principal
from policies.people import PERSON, PeopleStore
from service.answer.standing import Standing
from service.answer.types import AnswerEvent, Delta, Done
from service.operations.documents import view
from service.operations.search import found
from service.runtimes.interface import End, Text
from service.runtimes.scripted import ScriptedRuntime
from vectorstore.types import DocumentId

QUESTION = "For how much does the board plan to buy Tannhof Optics?"
FIRST, SECOND = (
    "The board plans to buy Tannhof Optics for 48 million euros in June [1]. ",
    "The board plans to buy Tannhof Optics [1].",
)


def change_person(bench: Any, person: str, **values: Any) -> None:
    with writing(bench.installation.people.engine) as connection:
        connection.execute(PERSON.update().where(PERSON.c.id == person).values(values))


def disabled_elsewhere(bench: Any) -> None:
    """As by another process, which has the file open by itself."""
    people = PeopleStore(bench.installation.directory / "people.db")
    people.disable("dora")
    people.close()


def relabelled(bench: Any) -> None:
    bench("documents.relabel", ids=[bench.document("board/merger.md")["id"]], groups=["nobody"], reason="So")


LOST: dict[str, dict[str, str]] = {
    "a lower clearance": {"clearance": "internal"},
    "a group less": {"groups": "[]"},
    "no role": {"roles": "[]"},
}


CHANGES: dict[str, Callable[[Any], Any]] = {
    "relabelled": relabelled,
    "removed": lambda bench: bench("documents.remove", ids=[bench.document("board/merger.md")["id"]]),
    "disabled": lambda bench: bench("people.disable", id="dora"),
    "disabled by another process": disabled_elsewhere,
    **{one: lambda bench, values=values: change_person(bench, "dora", **values) for one, values in LOST.items()},
}


def said(bench: Any, principal: Principal, after_first: Callable[[], Any]) -> list[AnswerEvent]:
    """The events of an answer in two sentences; something happens once the first is there."""
    bench.installation.__dict__["runtimes"] = {
        "default": ScriptedRuntime([Text(FIRST), Text(SECOND + " "), Text("Then"), End("stop", 1, 1)])
    }
    events: list[AnswerEvent] = []

    async def main() -> None:
        async for event in bench.installation.engine.answer(QUESTION, principal, kb="board"):
            events.append(event)
            if len(events) == 1:
                await asyncio.to_thread(after_first)

    try:
        asyncio.run(main())
    except (SourcesChanged, AuthenticationRequired) as error:
        error.events = events  # type: ignore[attr-defined]
        raise
    return events


@pytest.mark.parametrize("change", CHANGES)
def test_an_answer_under_way_ends_before_its_next_piece_and_that_is_recorded(
    workbench: Callable[..., Any], change: str
) -> None:
    bench = workbench(INHOUSE_ANSWER__THRESHOLD="0.0")
    bench.ingest()
    dora = bench.installation.people.principal("dora")
    whole = said(bench, dora, lambda: bench("documents.hold", ids=[bench.document("leave.md")["id"]], reason="Another matter"))
    assert isinstance(whole[-1], Done)
    assert sum(isinstance(one, Delta) for one in whole) >= 2
    with pytest.raises(AuthenticationRequired if change.startswith("disabled") else SourcesChanged) as cut:
        said(bench, dora, lambda: CHANGES[change](bench))
    events = cut.value.events  # type: ignore[attr-defined]
    assert [one.text for one in events] == [whole[0].text]  # type: ignore[union-attr]
    record = bench.events("question:refused")[-1]
    assert (record.actor, record.payload["paths"]) == ("dora", ["board/merger.md"])


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_the_last_look_and_the_piece_is_seen_too(
    workbench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    bench = workbench(INHOUSE_ANSWER__THRESHOLD="0.0")
    bench.ingest()
    dora, require, append = bench.installation.people.principal("dora"), Standing.require, bench.installation.audit.append
    looks: list[bool] = []

    def changes_something_else(tag: EventTag, *rest: Any) -> Any:
        recorded = append(tag, *rest)
        if tag is EventTag.QUESTION_ASKED:
            monkeypatch.setattr(bench.installation.audit, "append", append)
            change_person(bench, "dora", name="Dorothea")
        return recorded

    def changes_behind(standing: Standing, *rest: Any) -> None:
        require(standing, *rest)
        looks.append(True)
        if len(looks) == 1:
            CHANGES[change](bench)

    # It is for a change that does not matter that the first look is made.
    monkeypatch.setattr(bench.installation.audit, "append", changes_something_else)
    monkeypatch.setattr(Standing, "require", changes_behind)
    with pytest.raises((SourcesChanged, AuthenticationRequired)) as cut:
        said(bench, dora, lambda: None)
    assert cut.value.events == []  # type: ignore[union-attr]


@pytest.mark.parametrize("change", CHANGES)
def test_a_view_and_a_search_look_once_more_before_their_text_leaves(
    workbench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    bench = workbench()
    bench.ingest()
    dora, log = bench.installation.people.principal("dora"), bench.installation.audit
    merger = DocumentId(bench.document("board/merger.md")["id"])
    append = log.append
    assert [one["path"] for one in found(bench.installation, dora, "Tannhof Optics", "board", 5)] == ["board/merger.md"]

    def changes_first(tag: EventTag, *rest: Any) -> Any:
        recorded = append(tag, *rest)
        if tag in (EventTag.DOCUMENT_VIEWED, EventTag.SEARCH_RUN) and rest[0] == "dora":
            monkeypatch.setattr(log, "append", append)
            CHANGES[change](bench)
        return recorded

    monkeypatch.setattr(log, "append", changes_first)
    if change in ("relabelled", "removed"):
        assert found(bench.installation, dora, "Tannhof Optics", "board", 5) == []
    else:
        with pytest.raises((NotFoundError, AuthenticationRequired)):
            view(bench.installation, dora, merger, text=True)


def test_that_a_database_changed_is_seen_by_whoever_watches_it(tmp_path: Path) -> None:
    people = PeopleStore(tmp_path / "people.db")
    watch = Changes(tmp_path / "people.db")
    before = watch.number()
    assert watch.number() == before
    people.add("ana", "Ana", (), "public", ())
    after = watch.number()
    assert after != before
    assert watch.number() == after
    watch.close()
    people.close()


def test_while_labels_change_and_people_ask_nothing_is_found_under_the_old_label_once_the_change_is_made(
    workbench: Callable[..., Any],
) -> None:
    bench = workbench()
    bench.ingest()
    dora, identifier = bench.installation.people.principal("dora"), bench.document("board/merger.md")["id"]
    lock, ended, problems, seen = threading.Lock(), threading.Event(), [], {"found": 0, "not found": 0}
    state = {"open": True, "turn": 0}

    def asking() -> None:
        while not ended.is_set():
            with lock:
                before = dict(state)
            hits = found(bench.installation, dora, "Tannhof Optics", "board", 5)
            with lock:
                same = before == state
            # Only what held from before the question to after its answer is certain.
            if same and before["turn"] % 2 == 0:
                seen["found" if hits else "not found"] += 1
                if bool(hits) != before["open"]:
                    problems.append((before, hits))

    threads = [threading.Thread(target=asking) for _ in range(3)]
    for one in threads:
        one.start()
    for turn in range(12):
        with lock:
            state["turn"] += 1
        groups = ["nobody"] if turn % 2 == 0 else ["directors"]
        bench("documents.relabel", ids=[identifier], groups=groups, reason="So")
        with lock:
            state.update(turn=state["turn"] + 1, open=turn % 2 == 1)
        counted = sum(seen.values())
        for _ in range(200):
            if sum(seen.values()) > counted + 2:
                break
            ended.wait(0.01)
    ended.set()
    for one in threads:
        one.join(60)
    assert problems == []
    assert min(seen.values()) > 5
    changes = bench("documents.labels", id=identifier)["changes"]
    assert [one["new"]["groups"] for one in changes] == [["directors"], *([["nobody"], ["directors"]] * 6)]


@pytest.mark.parametrize("change", ["disabled", *LOST, "another name"])
def test_an_ingest_under_way_commits_nothing_more_for_who_has_lost_a_right(
    workbench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    changes = {**LOST, "disabled": {"disabled": True}, "another name": {"name": "Diederik"}}
    monkeypatch.setattr("ingest.batching.BATCH_PASSAGES", 1)
    bench = workbench()
    append_all = bench.installation.audit.append_all

    def changes_after_first(events: Any) -> Any:
        recorded = append_all(events)
        if any(tag is EventTag.DOCUMENT_ADDED for tag, *_ in events):
            monkeypatch.setattr(bench.installation.audit, "append_all", append_all)
            change_person(bench, "dirk", **changes[change])
        return recorded

    monkeypatch.setattr(bench.installation.audit, "append_all", changes_after_first)
    if change == "another name":
        assert bench.ingest(as_person="dirk")["outcome"] == "finished"
        return
    with pytest.raises((AccessDenied, AuthenticationRequired)) as ended:
        bench.ingest(as_person="dirk")
    assert len(bench("documents.list")["documents"]) == len(bench.events("document:added")) == 1
    (report,) = bench.installation.runs.runs()
    assert (report.outcome, report.error, report.added) == ("failed", ended.value.message, 1)
    assert [(one.actor, one.payload["added"]) for one in bench.events("ingest:run:finished")] == [("dirk", 1)]
    assert bench.ingest()["unchanged"] == 1
