"""Ask: a question, or a batch of them, answered from what the person may read."""

from __future__ import annotations

import threading

from pydantic import BaseModel, ConfigDict, Field

from policies.identity import Principal
from service.answer.types import Answer, Delta, Done
from service.choosing import check_choice
from service.operations.registry import Emit, Operation, Result
from service.operations.search import BatchLine
from service.wiring import Installation


class AskRequest(BaseModel):
    """One question, or a batch of them, answered in order as events; `model` is the chosen runtime."""

    model_config = ConfigDict(extra="forbid")
    text: str | None = Field(None, min_length=1)
    batch: list[BatchLine] | None = None
    as_person: str | None = None
    kb: str | None = None
    model: str | None = None
    limit: int | None = Field(None, ge=1, le=50)


def ask(installation: Installation, request: AskRequest, emit: Emit, stop: threading.Event) -> Result:
    """One answer, streamed as `delta` events; or a batch, each answer a `line` event."""
    principal = installation.principal(request.as_person)
    check_choice(installation, principal, request.model)
    if request.batch is None:
        return answered(installation, principal, request, request.text or "", emit, stop).to_json()
    for line in request.batch:
        if stop.is_set():
            break
        answer = answered(installation, principal, request, line.text, lambda event: None, stop)
        emit({"line": {"id": line.id, **answer.to_json()}})
    return {"lines": len(request.batch)}


def answered(
    installation: Installation,
    principal: Principal,
    request: AskRequest,
    text: str,
    emit: Emit,
    stop: threading.Event,
) -> Answer:
    """Runs the engine on one question; setting `stop` closes the stream, which cancels the model too."""

    async def whole() -> Answer:
        stream = installation.engine.answer(text, principal, kb=request.kb, limit=request.limit, wanted=request.model)
        try:
            async for event in stream:
                if isinstance(event, Delta):
                    emit({"delta": event.text})
                elif isinstance(event, Done):
                    return event.answer
                if stop.is_set():
                    raise KeyboardInterrupt
        finally:
            await stream.aclose()
        raise AssertionError("an answer's stream ends with Done or an error")

    answer = installation.run_coroutine(whole)
    assert isinstance(answer, Answer)
    return answer


OPERATIONS = {"ask": Operation(AskRequest, ask)}
