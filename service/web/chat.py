"""The chat page: ask, watch the answer come, stop, ask on; and the conversations of a person."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from policies.audit.events import EventTag
from policies.errors import AuthenticationRequired, InhouseError, NotFoundError, UsageError
from service.answer.types import Delta, Done
from service.api.chat import knowledge_bases
from service.api.state import Shared, State
from service.auth.provider_sign_in import SIGN_IN
from service.choosing import check_choice, open_anywhere
from service.conversations.store import Conversation, Outcome, Turn
from service.operations.documents import LastLook
from service.runtimes import interface
from service.surroundings import is_sealed
from service.web import event_stream
from service.web import turns as shown
from service.web.export import exported
from service.web.rendering import desk_page, problem_page
from service.web.running import running
from service.web.sign_in import to_sign_in
from service.web.suggestions import suggestions
from service.web.visiting import Acting, Visiting, Visitor, visiting
from service.wiring import Installation

router = APIRouter(tags=["pages"], include_in_schema=False)
_HISTORY_TURNS = 6
"""Earlier turns that a question is understood from."""


class Question(BaseModel):
    """A question, in a conversation or to begin one; `model` is the chosen runtime, `after` the number of the last turn that
    stays when one is edited."""

    model_config = ConfigDict(extra="forbid")
    question: Annotated[str, Field(min_length=1)]
    conversation: str | None = None
    kb: str | None = None
    model: Annotated[str | None, Field(max_length=200)] = None
    after: Annotated[int | None, Field(ge=0)] = None


class Title(BaseModel):
    """Another title."""

    model_config = ConfigDict(extra="forbid")
    title: Annotated[str, Field(min_length=1, max_length=200)]


class Judgement(BaseModel):
    """What a person says of the answer to the question with that audit id."""

    model_config = ConfigDict(extra="forbid")
    question: Annotated[str, Field(min_length=1, max_length=100)]
    verdict: Literal["right", "wrong", "missing", "tell-owner"]
    reason: Annotated[str, Field(max_length=2000)] = ""
    kb: Annotated[str | None, Field(max_length=200)] = None


@router.get("/")
async def new_conversation(request: Request, shared: Shared) -> Response:
    """The chat page, ready for a question."""
    return await _chat_page(request, shared, None)


@router.get("/c/{conversation}")
async def conversation_page(conversation: str, request: Request, shared: Shared) -> Response:
    """The chat page with a conversation of the person's."""
    return await _chat_page(request, shared, conversation)


async def _chat_page(request: Request, shared: State, conversation: str | None) -> Response:
    try:
        visitor = await visiting(request)
    except AuthenticationRequired:
        return to_sign_in()

    def read() -> Response:
        installation, principal = shared.installation, visitor.principal
        opened = installation.conversations.conversation(principal.id, conversation) if conversation else None
        turns, classification = _shown_again(shared, visitor, opened) if opened else ([], None)
        kbs = knowledge_bases(shared, principal)
        return desk_page(
            "chat.html",
            "/",
            visitor,
            runs=running(installation.settings, open_anywhere(installation, principal)),
            sealed=is_sealed(),
            kbs=kbs,
            conversation=opened,
            classification=classification,
            conversations=installation.conversations.listed(principal.id),
            turns=turns,
            suggestions=[] if turns else suggestions(installation, principal),
            limit=installation.settings.server.max_question_characters,
        )

    try:
        return await anyio.to_thread.run_sync(read)
    except NotFoundError as error:
        return problem_page(error, request, visitor)


def _shown_again(shared: State, visitor: Visitor, opened: Conversation) -> tuple[list[str], str | None]:
    """The turns as HTML, and the classification of the conversation."""
    installation, principal = shared.installation, visitor.principal
    turns = installation.conversations.turns(principal.id, opened.id)
    now = _record_reading(shared, visitor, opened, turns, EventTag.CONVERSATION_OPENED)
    return [shown.turn_html(one, now) for one in turns], now.classification(turns)


def _record_reading(
    shared: State, visitor: Visitor, opened: Conversation, turns: list[Turn], tag: EventTag, **more: str
) -> shown.Standing:
    """How the turns stand for the visitor; what is shown of them is in the log before it is shown."""
    look = LastLook(shared.installation, visitor.principal)
    now = shown.standing(shared.installation, visitor.principal, turns)
    answers = [one.answer for one in now.shown(turns)]
    questions = [str(one["audit_id"]) for one in answers if one.get("audit_id")]
    named = [one for answer in answers for one in (*answer.get("citations", ()), *answer.get("nearest", ()))]
    documents, paths = ({str(one[name]) for one in named} for name in ("document", "path"))
    shown_of = {"documents": sorted(documents), "paths": sorted(paths)}
    told = {"conversation": opened.id, "questions": questions, "withheld": len(now.withheld), **shown_of, **more}
    shared.installation.audit.append(tag, visitor.principal.id, told)
    if not look.unchanged():
        later = shown.standing(shared.installation, shared.installation.current(visitor.principal), turns)
        return replace(later, withheld=now.withheld | later.withheld)
    return now


@router.post("/web/ask")
async def ask(body: Question, visitor: Acting, shared: Shared) -> Response:
    """Answers as server-sent events: `begin`, `delta` for each piece, then `done` with the turn as HTML, or `ended` where
    whoever asked is no longer signed in."""
    limit = shared.installation.settings.server.max_question_characters
    question = body.question.strip()
    if not question or len(question) > limit:
        raise UsageError(f"a question has 1 to {limit} characters", hint="Ask more briefly.")

    def prepare() -> tuple[Conversation, list[Turn]]:
        store, person = shared.installation.conversations, visitor.principal.id
        if body.kb is not None and body.kb not in knowledge_bases(shared, visitor.principal):
            raise NotFoundError(f"there is no knowledge base {body.kb!r}", hint="Choose one of the list.")
        check_choice(shared.installation, visitor.principal, body.model)
        if body.conversation is None:
            return store.begin(person, question, body.kb, body.model), []
        opened = store.conversation(person, body.conversation)
        if opened.model != body.model:
            store.choose(person, opened.id, body.model)
        turns = store.turns(person, opened.id)
        return opened, turns if body.after is None else [one for one in turns if one.number <= body.after]

    conversation, turns = await anyio.to_thread.run_sync(prepare)
    events = _events(shared, visitor, body, conversation, turns)
    return event_stream.response(events)


async def _events(
    shared: State, visitor: Visitor, body: Question, conversation: Conversation, turns: list[Turn]
) -> AsyncIterator[str]:
    """The stream. However it ends, the conversation keeps the question; of an answer that was stopped or failed it keeps no
    text, because nothing says what that rests on, so that nobody could say later whether it may still be read."""
    outcome: Outcome = "stopped"
    answer: dict[str, Any] = {"answer": ""}
    try:
        now = await anyio.to_thread.run_sync(shown.standing_for_models, shared.installation, visitor.principal, turns)
        history = _history(turns, now)
        yield event_stream.event("begin", {"conversation": conversation.id, "title": conversation.title})
        async with aclosing(_answer(shared, visitor, body, history)) as stream:
            async for event in stream:
                if isinstance(event, Delta):
                    yield event_stream.event("delta", {"text": event.text})
                else:
                    form = "quotes" if event.answer.runtime == "extractive" else "markdown"
                    answer = {**event.answer.to_json(), "form": form}
                    outcome = "refused" if event.answer.refused else "answered"
    except InhouseError as error:
        outcome = "failed"
        answer |= {"error": error.message, "hint": error.hint}
    finally:
        with anyio.CancelScope(shield=True):
            turn = await anyio.to_thread.run_sync(_kept, shared, visitor, body, conversation, outcome, answer)
    yield await anyio.to_thread.run_sync(_last, shared.installation, visitor, turns, turn)


def _last(installation: Installation, visitor: Visitor, turns: list[Turn], turn: Turn) -> str:
    """The event that a stream ends with, by what the visitor may read now: keeping the turn took its time."""
    try:
        principal = installation.current(visitor.principal)
    except AuthenticationRequired:
        return event_stream.event("ended", {"next": SIGN_IN})
    now = shown.standing(installation, principal, [*turns, turn])
    told = {
        "html": shown.turn_html(turn, now),
        "number": turn.number,
        "citations": turn.answer.get("citations", []) if turn.number not in now.withheld else [],
        "classification": now.classification([*turns, turn]),
    }
    return event_stream.event("done", told)


async def _answer(
    shared: State, visitor: Visitor, body: Question, history: list[interface.Turn]
) -> AsyncGenerator[Delta | Done]:
    outcome = "failed"
    try:
        async with shared.gate.passed():
            stream = shared.installation.engine.answer(
                body.question.strip(), visitor.principal, kb=body.kb, history=history, wanted=body.model
            )
            async with aclosing(stream):
                async for event in stream:
                    if isinstance(event, Done):
                        outcome = "refused" if event.answer.refused else "answered"
                    yield event
    except GeneratorExit:
        outcome = "cancelled"
        raise
    finally:
        shared.metrics.answers.labels(outcome).inc()


def _kept(
    shared: State, visitor: Visitor, body: Question, conversation: Conversation, outcome: Outcome, answer: dict[str, Any]
) -> Turn:
    store = shared.installation.conversations
    question = body.question.strip()
    return store.add(visitor.principal.id, conversation.id, question, outcome, answer, after=body.after)


def _history(turns: list[Turn], now: shown.Standing) -> list[interface.Turn]:
    """The last turns that a model may be shown, each with the classification that it has now."""
    found = []
    for one in now.shown(turns)[-_HISTORY_TURNS:]:
        found.append(interface.Turn("user", one.question))
        found.append(interface.Turn("assistant", str(one.answer.get("answer", "")), now.classification([one]) or ""))
    return found


@router.get("/web/conversations")
async def conversations(visitor: Visiting, shared: Shared, search: str = "") -> Response:
    """The person's conversations, the last changed first."""
    found = await anyio.to_thread.run_sync(
        lambda: shared.installation.conversations.listed(visitor.principal.id, search[:200].strip())
    )
    return JSONResponse({"conversations": [{"id": one.id, "title": one.title, "updated": one.updated} for one in found]})


@router.patch("/web/conversations/{conversation}")
async def rename(conversation: str, body: Title, visitor: Acting, shared: Shared) -> Response:
    """Gives a conversation another title."""

    def change() -> str:
        store = shared.installation.conversations
        store.rename(visitor.principal.id, conversation, body.title)
        return store.conversation(visitor.principal.id, conversation).title

    return JSONResponse({"title": await anyio.to_thread.run_sync(change)})


@router.delete("/web/conversations/{conversation}")
async def delete(conversation: str, visitor: Acting, shared: Shared) -> Response:
    """Deletes a conversation; the log keeps that its questions were asked."""

    def remove() -> None:
        installation, person = shared.installation, visitor.principal.id
        installation.conversations.conversation(person, conversation)
        installation.audit.append(EventTag.CONVERSATION_DELETED, person, {"conversation": conversation})
        installation.conversations.delete(person, conversation)

    await anyio.to_thread.run_sync(remove)
    return JSONResponse({"next": "/"})


@router.get("/web/conversations/{conversation}/export")
async def export(conversation: str, visitor: Visiting, shared: Shared, form: Literal["md", "json"] = "md") -> Response:
    """A conversation as a Markdown or JSON file, without what the person may no longer read."""

    def read() -> Response:
        installation, principal = shared.installation, visitor.principal
        opened = installation.conversations.conversation(principal.id, conversation)
        turns = installation.conversations.turns(principal.id, conversation)
        now = _record_reading(shared, visitor, opened, turns, EventTag.CONVERSATION_EXPORTED, form=form)
        return exported(opened, turns, now, form)

    return await anyio.to_thread.run_sync(read)


@router.post("/web/feedback")
async def feedback(body: Judgement, visitor: Acting, shared: Shared) -> Response:
    """Keeps what a person says of an answer of theirs, for the stewards' list."""

    def keep() -> str:
        installation, person = shared.installation, visitor.principal.id
        store, reason = installation.conversations, body.reason.strip()
        turn = store.asked(person, body.question)
        documents = None if turn is None else sorted(set(shown.named(turn)))
        given = store.give_feedback(person, body.question, body.kb, body.verdict, reason, documents)
        told = {"feedback": given.id, "question": body.question, "verdict": body.verdict}
        installation.audit.append(EventTag.FEEDBACK_GIVEN, person, told)
        return given.id

    return JSONResponse({"feedback": await anyio.to_thread.run_sync(keep)})
