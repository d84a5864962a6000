"""/v1/chat/completions and /v1/models, as OpenAI's clients know them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from policies.access.actions import Action
from policies.errors import InhouseError, NotFoundError, UsageError
from policies.identity import Principal
from service.answer.types import Answer, AnswerEvent, Delta, Done
from service.api.problems import openai_error
from service.api.state import Asking, Shared, State
from service.choosing import highest_classification, open_to
from service.operations.documents import scope_for
from service.runtimes.interface import Turn

router = APIRouter(tags=["chat"])
MODEL = "inhouse"


class TextPart(BaseModel):
    """A part of a message; only text is understood."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message. System messages of a client are not followed: the rules of an answer are the service's own."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def text(self) -> str:
        """The content as one string."""
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """What a stream ends with."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """What clients send. Sampling parameters are accepted and have no effect; more than one choice is refused."""

    model_config = ConfigDict(extra="allow")
    model: Annotated[str, Field(max_length=200)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=200)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=1)] = 1
    tools: Annotated[list[Any] | None, Field(max_length=0)] = None


@router.get("/v1/models")
async def models(principal: Asking, shared: Shared) -> dict[str, Any]:
    """`inhouse` over everything that the principal may read, `inhouse/KB` for each knowledge base in it, and either with
    `:NAME` for each model that they may choose there."""
    names = await anyio.to_thread.run_sync(_names, shared, principal)
    return {"object": "list", "data": [_model(name) for name in names]}


@router.get("/v1/models/{name:path}")
async def model(name: str, principal: Asking, shared: Shared) -> dict[str, Any]:
    """One model."""
    await _named(name, shared, principal)
    return _model(name)


@router.post("/v1/chat/completions")
async def complete(request: ChatRequest, principal: Asking, shared: Shared) -> Response:
    """Answers the last user message, cited. The field `inhouse` beside `choices` holds refusal, citations and audit id;
    in a stream it comes with the last chunk."""
    question, turns = _question(request, shared.installation.settings.server.max_question_characters)
    kb, wanted = await _named(request.model, shared, principal)
    history = await anyio.to_thread.run_sync(_classified, shared, principal, turns)
    events = _events(shared, question, principal, kb, history, wanted)
    if not request.stream:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Done):
                    return JSONResponse(_whole(shared, request, question, event.answer))
        raise AssertionError("an answer's stream ends with Done or an error")
    # The first event is waited for here, so that a refusal to answer at all still has its HTTP status.
    try:
        first = await anext(events)
    except BaseException:
        await events.aclose()
        raise
    return StreamingResponse(_chunks(shared, request, question, first, events), media_type="text/event-stream")


async def _events(
    shared: State, question: str, principal: Principal, kb: str | None, history: list[Turn], wanted: str | None
) -> AsyncGenerator[AnswerEvent]:
    outcome = "failed"
    try:
        async with shared.gate.passed():
            stream = shared.installation.engine.answer(question, principal, kb=kb, history=history, wanted=wanted)
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


async def _chunks(
    shared: State, request: ChatRequest, question: str, first: AnswerEvent, events: AsyncGenerator[AnswerEvent]
) -> AsyncIterator[str]:
    head = {"id": "chatcmpl-pending", "object": "chat.completion.chunk", "created": int(time.time()), "model": request.model}

    def chunk(delta: dict[str, str], finish: str | None = None, **more: Any) -> str:
        return _line({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})

    async with aclosing(events):
        yield chunk({"role": "assistant", "content": ""})
        try:
            event: AnswerEvent | None = first
            while event is not None:
                if isinstance(event, Delta):
                    yield chunk({"content": event.text})
                else:
                    answer = event.answer
                    yield chunk({}, _finish(answer), inhouse=answer.to_json())
                    if request.stream_options and request.stream_options.include_usage:
                        yield _line({**head, "choices": [], "usage": _usage(shared, question, answer.answer)})
                event = await anext(events, None)
        except InhouseError as error:
            yield _line(openai_error(error.message, error.kind, error.http_status))
    yield "data: [DONE]\n\n"


def _whole(shared: State, request: ChatRequest, question: str, answer: Answer) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.answer, "refusal": None}
    return {
        "id": f"chatcmpl-{answer.audit_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [{"index": 0, "message": message, "finish_reason": _finish(answer), "logprobs": None}],
        "usage": _usage(shared, question, answer.answer),
        "inhouse": answer.to_json(),
    }


def _usage(shared: State, question: str, text: str) -> dict[str, int]:
    """Word pieces of the question and the answer, as the embedder counts them."""
    asked, answered = shared.installation.embedder.count([question, text])
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def _finish(answer: Answer) -> str:
    return "length" if answer.cut_off else "stop"


def _line(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _question(request: ChatRequest, limit: int) -> tuple[str, list[Turn]]:
    turns = [Turn(one.role, one.text()) for one in request.messages if one.role in ("user", "assistant")]
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
        raise UsageError("the last message must be the user's, and not empty")
    question = turns[-1].content.strip()
    if len(question) > limit:
        raise UsageError(f"the question has {len(question)} characters, the limit is {limit}", hint="Ask more briefly.")
    return question, turns[:-1]


def _classified(shared: State, principal: Principal, turns: list[Turn]) -> list[Turn]:
    """The turns, those of the assistant with the highest classification that an answer for this principal can have: nothing
    that a client sends says what they rest on."""
    installation = shared.installation
    if not any(turn.role == "assistant" for turn in turns):
        return turns
    usable = installation.answerable(principal).classes
    names = [one.classification for one in installation.store.access_classes() if one.id in usable]
    highest = highest_classification(names, installation.settings.access.classifications) or ""
    return [replace(turn, classification=highest) if turn.role == "assistant" else turn for turn in turns]


async def _named(name: str, shared: State, principal: Principal) -> tuple[str | None, str | None]:
    """The knowledge base and the chosen runtime that a model's name means; None for all, and for none. Raises NotFoundError
    for one that this principal has not."""
    there = await anyio.to_thread.run_sync(_names, shared, principal)
    if name not in there:
        raise NotFoundError(f"there is no model {name!r}", hint="GET /v1/models lists them.")
    return there[name]


def _names(shared: State, principal: Principal) -> dict[str, tuple[str | None, str | None]]:
    """Every name that the principal may use as a model's, and what it means."""
    installation, kbs = shared.installation, knowledge_bases(shared, principal)
    found: dict[str, tuple[str | None, str | None]] = {MODEL: (None, None), **{f"{MODEL}/{kb}": (kb, None) for kb in kbs}}
    for base, (kb, _) in list(found.items()):
        for name in open_to(installation, principal, kb).choices:
            # A knowledge base may be called like another one with a model.
            found.setdefault(f"{base}:{name}", (kb, name))
    return found


def knowledge_bases(shared: State, principal: Principal) -> list[str]:
    scope = scope_for(shared.installation, principal, Action.RETRIEVE)
    return sorted({one.kb for one in shared.installation.store.access_classes() if one.id in scope.classes})


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "inhouse"}
