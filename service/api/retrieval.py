"""/v1/search and /v1/documents: what lies behind an answer, under the same permissions."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from policies.access.actions import Action
from policies.errors import UsageError
from service.api.state import Asking, Shared
from service.operations import documents, search
from service.operations.registry import Result
from vectorstore.types import DocumentId

router = APIRouter(tags=["documents"])


class SearchBody(BaseModel):
    """A question or any words, in one knowledge base or in all."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(min_length=1)]
    kb: str | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 10


@router.post("/v1/search")
async def find(body: SearchBody, principal: Asking, shared: Shared) -> Result:
    """The passages that the principal may retrieve, best first: the same contract as `inhouse search --json`."""
    limit = shared.installation.settings.server.max_question_characters
    if len(body.text) > limit:
        raise UsageError(f"the text has {len(body.text)} characters, the limit is {limit}", hint="Search for less.")
    async with shared.gate.passed():
        hits = await anyio.to_thread.run_sync(search.found, shared.installation, principal, body.text, body.kb, body.limit)
    return {"version": search.FORM, "hits": hits}


@router.get("/v1/documents")
async def listed(
    principal: Asking,
    shared: Shared,
    kb: str | None = None,
    prefix: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Result:
    """The documents that the principal may retrieve; `after` is the last id of the page before."""

    def read() -> Result:
        scope = documents.scope_for(shared.installation, principal, Action.RETRIEVE)
        start = DocumentId(after) if after else None
        found = shared.installation.store.documents(scope, kb=kb, prefix=prefix, after=start, limit=limit)
        return {"documents": [documents.described(one) for one in found]}

    return await anyio.to_thread.run_sync(read)


@router.get("/v1/documents/{document}")
async def shown(document: str, principal: Asking, shared: Shared, text: bool = False) -> Result:
    """One document, with its parsed text where `text` asks for it and policy allows `open`. Forbidden looks like absent."""
    return await anyio.to_thread.run_sync(
        lambda: documents.view(shared.installation, principal, DocumentId(document), text=text)
    )
