"""Search: the passages alone, best first."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TypedDict

from pydantic import BaseModel, ConfigDict, Field

from policies.access.actions import Action
from policies.access.scope import AccessScope
from policies.audit.events import EventTag
from policies.identity import Principal
from service.operations.documents import LastLook, scope_for
from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation
from vectorstore.types import Hit

FORM = 1
"""The version of the JSON contract below; a change that breaks a reader raises it."""


class FoundPassage(TypedDict):
    """A passage that was found: `text` equals characters [start, end) of that version's parsed text, `page` is the number of
    the page that holds `start`, and `score` is absolute, between 0 and 1."""

    document: str
    version: int
    path: str
    title: str
    page: int | None
    start: int
    end: int
    score: float
    text: str


class SearchRequest(BaseModel):
    """One question, or a batch of them, answered in order as events."""

    model_config = ConfigDict(extra="forbid")
    text: str | None = Field(None, min_length=1)
    batch: list[BatchLine] | None = None
    as_person: str | None = None
    kb: str | None = None
    limit: int = Field(10, ge=1, le=100)


class BatchLine(BaseModel):
    """A line of a batch: the id comes back with the result."""

    model_config = ConfigDict(extra="forbid")
    id: str
    text: str = Field(min_length=1)


def search(installation: Installation, request: SearchRequest, emit: Emit, stop: threading.Event) -> Result:
    """The passages that the person may retrieve; each search is recorded before its hits leave."""
    principal = installation.principal(request.as_person)
    if request.batch is None:
        return {"version": FORM, "hits": found(installation, principal, request.text or "", request.kb, request.limit)}
    for line in request.batch:
        if stop.is_set():
            break
        hits = found(installation, installation.current(principal), line.text, request.kb, request.limit)
        emit({"line": {"version": FORM, "id": line.id, "hits": hits}})
    return {"version": FORM, "lines": len(request.batch)}


def found(installation: Installation, principal: Principal, text: str, kb: str | None, limit: int) -> list[FoundPassage]:
    """The hits of one search as JSON; the record is durable before they are returned."""
    look = LastLook(installation, principal)
    scope = scope_for(installation, principal, Action.RETRIEVE)
    return described(searched(installation, principal, scope, text, kb, limit, look))


def searched(
    installation: Installation,
    principal: Principal,
    scope: AccessScope,
    text: str,
    kb: str | None,
    limit: int,
    look: LastLook,
) -> Sequence[Hit]:
    """The hits of one search within what the principal may retrieve, or a part of it; recorded before they are returned. What
    was relabelled or lost since `look` was made, which comes before the scope, is not returned."""
    hits = installation.search.search(text, scope, limit=limit, kb=kb).hits
    installation.audit.append(
        EventTag.SEARCH_RUN,
        principal.id,
        {
            "policy": scope.policy_hash,
            "passages": [hit.passage.id for hit in hits],
            "contents": [hit.passage.content_sha256 for hit in hits],
            "documents": list(dict.fromkeys(hit.passage.document for hit in hits)),
            "paths": list(dict.fromkeys(hit.passage.path for hit in hits)),
        },
    )
    return look.left_of(hits)


def described(hits: Sequence[Hit]) -> list[FoundPassage]:
    """Hits as JSON."""
    return [
        {
            "document": hit.passage.document,
            "version": hit.passage.version,
            "path": hit.passage.path,
            "title": hit.passage.title,
            "page": hit.passage.page,
            "start": hit.passage.start,
            "end": hit.passage.end,
            "score": round(hit.score, 6),
            "text": hit.passage.text,
        }
        for hit in hits
    ]


OPERATIONS = {"search": Operation(SearchRequest, search)}
