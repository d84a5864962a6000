"""The answer engine by itself: a runtime that plays a script, a real store and a real log, and failures to order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from policies.access.scope import AccessScope
from policies.audit.events import EventTag
from policies.audit.log import AuditLog
from policies.audit.query import records
from policies.audit.records import Record
from policies.errors import AuditUnavailable, InhouseError, ModelUnavailable
from policies.identity import Principal, Role
from policies.labels import AccessClass, AccessClassId, Label
from service.answer.engine import AnswerEngine, AnswerOptions
from service.answer.prompts import REFUSAL
from service.answer.types import Answer, AnswerEvent, Delta, Done
from service.runtimes.interface import End, Quote, Text
from service.runtimes.scripted import Pause, ScriptedRuntime
from vectorstore.embedders.hashing import HashingEmbedder
from vectorstore.search import Search
from vectorstore.store import Store
from vectorstore.types import Document, DocumentDraft, PassageDraft

EMBEDDER = HashingEmbedder()
STAFF = AccessClass("handbook", "internal", frozenset({"staff"}), "hr")
BOARD = AccessClass("board", "confidential", frozenset({"directors"}), "board")
ANA = Principal("ana", "Ana", frozenset({"staff"}), "internal", frozenset({Role.USER}))
QUESTION = "How many days of annual leave do staff have?"
PATHS = {
    "leave.md": "Staff have thirty days of annual leave. Requests go to the line manager.",
    "carry.md": "Days of annual leave that staff have left over expire in March.",
    "board.md": "The board has secret days of annual leave that staff do not have.",
}
LEAVE = "Staff have thirty days of annual leave [2]."
"""What a model may say: the question finds carry.md first and leave.md second."""

STOP = End("stop", 5, 4)


@dataclass
class World:
    """A store with three documents, a log, what may be read, and which records fail."""

    store: Store
    log: AuditLog
    directory: Path
    documents: Mapping[str, Document]
    classes: set[AccessClassId] = field(default_factory=lambda: {STAFF.id})
    failing: set[EventTag] = field(default_factory=set)

    def record(self, tag: EventTag, actor: str, payload: Mapping[str, Any]) -> Record:
        if tag in self.failing:
            raise AuditUnavailable("the log is full", hint="Make room.")
        return self.log.append(tag, actor, payload)

    def engine(self, runtime: ScriptedRuntime, **options: Any) -> AnswerEngine:
        return AnswerEngine(
            permit=lambda principal: AccessScope(principal.id, frozenset(self.classes), "policy-1"),
            search=Search(self.store, EMBEDDER),
            fetch=self.store.fetch,
            runtime=runtime,
            record=self.record,
            options=AnswerOptions(**{"threshold": 0.0, **options}),
            moment=lambda principal: (self.store.moment, frozenset(self.classes)),
        )

    def told(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The log, oldest first."""
        found = records(self.directory, newest_first=False)
        return [(one.tag, one.payload) for one in found]

    def tags(self) -> list[str]:
        return [tag for tag, _ in self.told()]


def draft(path: str, text: str) -> DocumentDraft:
    return DocumentDraft(
        source="/folder",
        path=path,
        title=path,
        media_type="text/markdown",
        content_sha256=f"{len(text):064x}",
        size=len(text),
        modified_ns=1,
        access=BOARD if path == "board.md" else STAFF,
        text=text,
        pages=(),
        passages=(PassageDraft(0, len(text), text, None),),
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    Store.create(tmp_path / "data", EMBEDDER.fingerprint)
    store = Store.open(tmp_path / "data", EMBEDDER.fingerprint)
    made = store.commit([(draft(path, text), EMBEDDER.embed([text])) for path, text in PATHS.items()])
    log = AuditLog(tmp_path / "audit")
    yield World(store, log, tmp_path / "audit", {one.path: one for one in made})
    store.close()


def ask(engine: AnswerEngine, after: Mapping[int, Callable[[], Any]] | None = None) -> list[AnswerEvent]:
    """Every event of an answer; `after` does something once so many events have come. What came is kept if it fails."""
    events: list[AnswerEvent] = []

    async def main() -> None:
        async for event in engine.answer(QUESTION, ANA):
            events.append(event)
            (after or {}).get(len(events), lambda: None)()

    try:
        asyncio.run(main())
    except Exception as error:
        error.events = events  # type: ignore[attr-defined]
        raise
    return events


def ended(events: Sequence[AnswerEvent]) -> Answer:
    """The answer of a stream that has its one Done, last, and whose pieces make up its text."""
    assert [isinstance(one, Done) for one in events] == [False] * (len(events) - 1) + [True]
    assert isinstance(events[-1], Done)
    assert said(events) == events[-1].answer.answer
    return events[-1].answer


def said(events: Sequence[AnswerEvent]) -> str:
    return "".join(one.text for one in events if isinstance(one, Delta))


def number_of(world: World, runtime: ScriptedRuntime, path: str) -> int:
    """The number under which the runtime was given a document's passage."""
    return next(one.number for one in runtime.requests[-1].sources if one.passage.path == path)


def test_an_answer_is_recorded_before_its_first_piece_and_after_its_last(world: World) -> None:
    runtime = ScriptedRuntime([Text(f"{LEAVE} Requests"), Text(" go to the line manager [2]."), STOP])
    seen: list[list[str]] = []
    events = ask(world.engine(runtime), {1: lambda: seen.append(world.tags()), 2: lambda: seen.append(world.tags())})
    answer = ended(events)
    assert seen == [["question:asked"]] * 2
    (first, asked), (last, answered) = world.told()
    assert (first, last) == ("question:asked", "question:answered")
    assert answer.audit_id == answered["question"]
    assert asked["digest"] == asyncio.run(runtime.card()).digest
    assert asked["passages"] == [one.passage.id for one in runtime.requests[0].sources]
    assert asked["text"] == QUESTION
    assert answered["citations"] == [[one.document, one.version, one.start, one.end] for one in answer.citations]
    assert [PATHS[one.path][one.start : one.end] for one in answer.citations] == [one.quote for one in answer.citations]


def test_only_permitted_passages_reach_the_runtime(world: World) -> None:
    runtime = ScriptedRuntime([Text("Yes [1]."), STOP])
    ask(world.engine(runtime))
    assert {one.passage.path for one in runtime.requests[0].sources} == {"leave.md", "carry.md"}


@pytest.mark.parametrize("script", [[Text("Thirty days [1]."), STOP], [End("refused")]])
def test_without_the_first_record_there_is_no_answer_and_the_model_is_not_asked(world: World, script: list[Any]) -> None:
    world.failing.add(EventTag.QUESTION_ASKED)
    runtime = ScriptedRuntime(script)
    with pytest.raises(AuditUnavailable) as caught:
        ask(world.engine(runtime))
    assert caught.value.events == []  # type: ignore[attr-defined]
    assert runtime.requests == []


def test_without_the_last_record_the_answer_does_not_end_well(world: World) -> None:
    world.failing.add(EventTag.QUESTION_ANSWERED)
    with pytest.raises(AuditUnavailable) as caught:
        ask(world.engine(ScriptedRuntime([Text(LEAVE), STOP])))
    assert not any(isinstance(one, Done) for one in caught.value.events)  # type: ignore[attr-defined]
    assert world.tags() == ["question:asked"]


def test_a_refusal_that_cannot_be_recorded_is_not_given_either(world: World) -> None:
    world.failing.add(EventTag.QUESTION_REFUSED)
    runtime = ScriptedRuntime([Text("Thirty days [1]."), STOP])
    with pytest.raises(AuditUnavailable) as caught:
        ask(world.engine(runtime, threshold=1.0))
    assert caught.value.events == []  # type: ignore[attr-defined]
    assert runtime.requests == []


def test_a_failure_that_cannot_be_recorded_is_still_no_answer(world: World) -> None:
    world.failing.add(EventTag.QUESTION_FAILED)
    with pytest.raises(InhouseError) as caught:
        ask(world.engine(ScriptedRuntime([Text("Thirty [1]"), ModelUnavailable("it broke off", hint="Ask again.")])))
    assert not any(isinstance(one, Done) for one in caught.value.events)  # type: ignore[attr-defined]


def test_who_leaves_cancels_the_model_and_the_log_tells_it(world: World) -> None:
    runtime = ScriptedRuntime([Text(f"{LEAVE} Requests"), Text(" go to the line manager [2]."), STOP])

    async def leave() -> None:
        stream = world.engine(runtime).answer(QUESTION, ANA)
        assert isinstance(await anext(stream), Delta)
        await stream.aclose()

    asyncio.run(leave())
    assert runtime.cancelled == 1
    assert world.tags() == ["question:asked", "question:cancelled"]


def test_a_listener_that_is_cancelled_while_the_model_thinks_is_recorded_too(world: World) -> None:
    runtime = ScriptedRuntime([Text(f"{LEAVE} Requests"), Pause(600), Text(" go to the line manager [2]."), STOP])

    async def main() -> None:
        begun = asyncio.Event()

        async def listen() -> None:
            async for _ in world.engine(runtime).answer(QUESTION, ANA):
                begun.set()

        task = asyncio.create_task(listen())
        await asyncio.wait_for(begun.wait(), 60)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert runtime.cancelled == 1
    assert world.tags() == ["question:asked", "question:cancelled"]


@pytest.mark.parametrize(
    "error", [ModelUnavailable("it broke off", hint="Ask again."), OSError("the socket went away"), ValueError("a fault")]
)
def test_a_runtime_that_fails_is_recorded_as_failed_whatever_it_raises(world: World, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        ask(world.engine(ScriptedRuntime([Text("Thirty days [1]."), error])))
    assert not any(isinstance(one, Done) for one in caught.value.events)  # type: ignore[attr-defined]
    assert world.tags() == ["question:asked", "question:failed"]
    assert world.told()[1][1]["error"] == type(error).__name__


def test_a_number_that_was_not_retrieved_is_taken_out_and_counted(world: World) -> None:
    script = [Text("Thirty days [2][9]. Left over ones expire [1, 77]"), Text(" in March [0"), Text("]."), STOP]
    answer = ended(ask(world.engine(ScriptedRuntime(script))))
    assert answer.answer == "Thirty days [2]. Left over ones expire [1] in March."
    assert {one.number for one in answer.citations} == {1, 2}
    assert world.told()[1][1]["citations_dropped"] == 3


@pytest.mark.parametrize("piece", [Text("Thirty days [9]."), Text("Thirty days."), Quote(9, 0, 3), Quote(1, 0, 10_000)])
def test_what_rests_on_no_source_is_a_refusal(world: World, piece: Text | Quote) -> None:
    answer = ended(ask(world.engine(ScriptedRuntime([piece, STOP]))))
    assert answer.refused
    assert answer.citations == ()
    assert world.tags() == ["question:asked", "question:refused"]


def test_a_quotation_is_shown_with_its_number_and_cited_to_the_character(world: World) -> None:
    runtime = ScriptedRuntime([Quote(1, 0, 5), Quote(2, 0, 4), STOP])
    answer = ended(ask(world.engine(runtime)))
    texts = {one.number: one.passage.text for one in runtime.requests[0].sources}
    assert answer.answer == f"{texts[1][:5].strip()} [1]\n{texts[2][:4].strip()} [2]"
    assert [(one.number, one.start, one.end, one.quote) for one in answer.citations] == [
        (1, 0, 5, texts[1][:5]),
        (2, 0, 4, texts[2][:4]),
    ]


def test_a_model_that_says_that_the_sources_do_not_answer_is_believed(world: World) -> None:
    answer = ended(ask(world.engine(ScriptedRuntime([End("refused")]))))
    assert answer.refused
    assert answer.answer == REFUSAL
    # The nearest documents may be named; one that this person may not read may not.
    assert {one.path for one in answer.nearest} == {"leave.md", "carry.md"}
    # Each leads to its nearest passage, and the log knows that it was named.
    assert {(one.version, one.start, PATHS[one.path][one.end :]) for one in answer.nearest} == {(1, 0, "")}
    tag, told = world.told()[-1]
    assert tag == "question:refused"
    assert (
        told["documents"]
        == [world.documents[one.path].id for one in answer.nearest]
        == [one.document for one in answer.nearest]
    )
    assert told["paths"] == [one.path for one in answer.nearest]


def test_nothing_permitted_is_a_refusal_without_a_word_of_what_there_is(world: World) -> None:
    world.classes.clear()
    runtime = ScriptedRuntime([Text("Thirty days [1]."), STOP])
    answer = ended(ask(world.engine(runtime)))
    assert answer.refused
    assert answer.nearest == ()
    assert runtime.requests == []


CHANGES: dict[str, Callable[[World, Document], Any]] = {
    "relabelled": lambda world, document: world.store.relabel([(document.id, Label(BOARD))]),
    "removed": lambda world, document: world.store.remove([document.id]),
    "permission withdrawn": lambda world, document: world.classes.clear(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("last", [Text(" the secret rest [2]."), STOP])
def test_a_source_that_changes_in_mid_answer_stops_it(world: World, change: str, last: Any) -> None:
    runtime = ScriptedRuntime([Text(f"{LEAVE} Then"), last, *([] if last is STOP else [STOP])])
    with pytest.raises(InhouseError, match="has changed meanwhile") as caught:
        ask(world.engine(runtime), {1: lambda: CHANGES[change](world, world.documents["leave.md"])})
    events = caught.value.events  # type: ignore[attr-defined]
    assert len(events) == 1
    assert "secret" not in said(events)
    assert world.tags() == ["question:asked", "question:refused"]
    assert world.told()[1][1]["paths"] == ["leave.md"]


def test_what_the_runtime_has_no_room_for_is_counted_and_neither_cited_nor_recorded(world: World) -> None:
    runtime = ScriptedRuntime([Text("Left over days expire [1], in March [2]."), STOP], room=1)
    answer = ended(ask(world.engine(runtime)))
    assert answer.passages_left_out == 1
    assert answer.answer == "Left over days expire [1], in March."
    assert {one.number for one in answer.citations} == {1}
    assert len(world.told()[0][1]["passages"]) == 1


def test_an_answer_at_its_limit_says_so(world: World) -> None:
    assert ended(ask(world.engine(ScriptedRuntime([Text("Thirty [1]"), End("length")])))).cut_off
    assert not ended(ask(world.engine(ScriptedRuntime([Text("Thirty [1]"), STOP])))).cut_off


def test_a_log_that_keeps_no_questions_holds_a_blinded_hash_of_each(world: World) -> None:
    for _ in range(2):
        ask(world.engine(ScriptedRuntime([Text("Thirty [1]."), STOP]), keep_question=False))
    first, second = (payload for tag, payload in world.told() if tag == "question:asked")
    assert "text" not in first
    assert first["text_sha256"] != second["text_sha256"]
    files = [path.read_text(encoding="utf-8") for path in world.directory.rglob("*") if path.is_file()]
    assert any(first["text_sha256"] in one for one in files)
    assert not any(QUESTION in one for one in files)


PLANTED = {
    "wrong number": "Staff have thirty-three days of annual leave [2].",
    "wrong unit": "Staff have thirty weeks of annual leave [2].",
    "wrong date": "Left over days of annual leave expire in May [1].",
    "wrong name": "Requests go to Ingrid Solberg [2].",
    "negation": "Requests do not go to the line manager [2].",
    "a source that does not say it": "Unused days are paid out with the salary [2].",
    "another source says it": "Requests go to the line manager [1].",
    "no source": "Requests go to the line manager.",
    "a source that is not there": "Requests go to the line manager [7].",
}
FAITHFUL = (
    "Staff have 30 days of annual leave [2].",
    "Requests go to the line manager. [2]",
    "Left over days expire in March [1].",
)


def script(sentences: Sequence[str], size: int) -> list[Any]:
    """A model that says the sentences in pieces of so many characters."""
    text = " ".join(sentences)
    return [*(Text(text[start : start + size]) for start in range(0, len(text), size)), STOP]


@pytest.mark.parametrize(("kind", "size"), zip(PLANTED, [1, 7, 1000] * len(PLANTED), strict=False))
def test_a_sentence_that_its_source_does_not_support_is_left_out(world: World, kind: str, size: int) -> None:
    first, second, third = FAITHFUL
    answer = ended(ask(world.engine(ScriptedRuntime(script([first, PLANTED[kind], second, third], size)))))
    assert answer.answer == " ".join(FAITHFUL)
    assert [one.number for one in answer.citations] == [2, 2, 1]
    (left_out,) = answer.unsupported
    assert left_out.startswith(PLANTED[kind].split(" [")[0].rstrip("."))
    assert left_out.endswith(")")
    assert world.told()[1][1]["unsupported"] == 1
    assert "unsupported" not in {key for tag, payload in world.told() if tag == "question:asked" for key in payload}


def test_nothing_of_a_sentence_is_shown_before_it_is_whole_and_checked(world: World) -> None:
    events = ask(world.engine(ScriptedRuntime(script([FAITHFUL[0], *PLANTED.values(), FAITHFUL[1]], 1))))
    assert [one.text for one in events if isinstance(one, Delta)] == [FAITHFUL[0], f" {FAITHFUL[1]}"]


def test_an_unsupported_sentence_can_be_shown_and_marked(world: World) -> None:
    runtime = ScriptedRuntime(script([FAITHFUL[0], PLANTED["negation"]], 5))
    answer = ended(ask(world.engine(runtime, mark_unsupported=True)))
    assert answer.answer == f"{FAITHFUL[0]} {PLANTED['negation']} (not supported by the cited source)"
    assert len(answer.unsupported) == 1
    assert world.told()[1][1]["unsupported"] == 1


def test_an_answer_of_which_nothing_is_left_is_a_refusal_that_says_why(world: World) -> None:
    answer = ended(ask(world.engine(ScriptedRuntime(script(["In short:", *PLANTED.values()], 9)))))
    assert answer.refused
    assert answer.answer == REFUSAL
    assert answer.citations == ()
    assert len(answer.unsupported) == len(PLANTED)
    tag, told = world.told()[-1]
    assert (tag, told["reason"]) == ("question:refused", "nothing that the model said was supported")


def test_what_leads_over_is_shown_with_what_it_leads_to_and_not_without(world: World) -> None:
    said = "According to the documents:\n- Staff have 30 days of annual leave [2].\nIn short:\n- Staff have 40 days [2]."
    answer = ended(ask(world.engine(ScriptedRuntime([Text(said), STOP]))))
    assert answer.answer == "According to the documents:\n- Staff have 30 days of annual leave [2]."
    assert len(answer.unsupported) == 1


def test_a_model_that_says_in_words_that_the_documents_do_not_say_it_is_believed(world: World) -> None:
    answer = ended(ask(world.engine(ScriptedRuntime([Text(REFUSAL), STOP]))))
    assert answer.refused
    assert answer.answer == REFUSAL
    assert answer.unsupported == ()
