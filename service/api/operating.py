"""/healthz, /readyz, /metrics, and the API's own description without outside assets."""

from __future__ import annotations

import html
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from policies.errors import InhouseError, ModelUnavailable
from policies.identity import Principal
from service.api.metrics import CONTENT_TYPE
from service.api.state import Shared, reading_docs, scraping

router = APIRouter(tags=["operating"])


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The process answers. Needs no key and tells nothing."""
    return {"status": "ok"}


@router.get("/readyz")
async def ready(shared: Shared) -> dict[str, str]:
    """Questions can be answered: the store is open, the log can be written, and the model is there. Needs no key; says
    why not in one sentence, without names."""
    try:
        await anyio.to_thread.run_sync(shared.installation.store.access_classes)
        await anyio.to_thread.run_sync(shared.installation.audit.check)
        await shared.installation.runtime.card()
    except InhouseError as error:
        raise ModelUnavailable(f"not ready: {error.kind}", hint="See `inhouse doctor`.") from None
    return {"status": "ready"}


@router.get("/metrics")
async def metrics(shared: Shared, principal: Annotated[Principal, Depends(scraping)]) -> Response:
    """Prometheus' text form, for a key whose owner policy lets read metrics. How many documents there are is not among
    them: who reads metrics need not be one who may know."""
    shared.metrics.questions.set(shared.gate.inside)
    return Response(shared.metrics.text(), media_type=CONTENT_TYPE)


@router.get("/openapi.json", include_in_schema=False)
async def description(request: Request, principal: Annotated[Principal, Depends(reading_docs)]) -> dict[str, Any]:
    """The OpenAPI document."""
    found: dict[str, Any] = request.app.openapi()
    return found


@router.get("/docs", include_in_schema=False)
async def docs(request: Request, principal: Annotated[Principal, Depends(reading_docs)]) -> HTMLResponse:
    """The same for people: plain HTML, no script, nothing from elsewhere."""
    rows = []
    for path, methods in request.app.openapi()["paths"].items():
        for method, told in methods.items():
            text = html.escape(told.get("description", ""))
            rows.append(f"<dt><code>{method.upper()} {html.escape(path)}</code></dt><dd>{text}</dd>")
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>inhouse API</title><h1>inhouse API</h1>'
        "<p>Send a key with every call: <code>Authorization: Bearer ih_…</code>. Shapes of requests and answers: "
        f'<a href="/openapi.json">openapi.json</a>.</p><dl>{"".join(rows)}</dl></html>'
    )
    return HTMLResponse(page)
