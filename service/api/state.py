"""What the routes share: the installation, the gate, the metrics, and who is asking."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

import anyio.to_thread
from fastapi import Depends, Request

from policies.access.actions import Action
from policies.access.verdict import Deny
from policies.errors import AccessDenied
from policies.identity import Principal
from service.api.gate import Gate
from service.api.metrics import Metrics
from service.auth.carriers import API, DOCS, Carrier, Recognised
from service.auth.requests import carried_by
from service.wiring import Installation


@dataclass(frozen=True, slots=True)
class State:
    """One application's collaborators."""

    installation: Installation
    gate: Gate
    metrics: Metrics


def state_of(request: Request) -> State:
    """The application's state."""
    found = request.app.state.inhouse
    assert isinstance(found, State)
    return found


async def recognised(request: Request, accepted: Collection[Carrier]) -> Recognised:
    """Who is asking, by one of the accepted carriers; raises AuthenticationRequired."""
    installation = state_of(request).installation
    carried = carried_by(request, installation.settings.proxy)
    return await anyio.to_thread.run_sync(lambda: installation.carriers.recognise(carried, accepted))


async def asking(request: Request) -> Principal:
    """The principal of this request; raises AuthenticationRequired."""
    return (await recognised(request, API)).principal


async def reading_docs(request: Request) -> Principal:
    """The same for the pages that a browser opens by itself, where the key may come as a password."""
    return (await recognised(request, DOCS)).principal


async def scraping(request: Request) -> Principal:
    """A principal that may read the metrics; raises AccessDenied."""
    principal = await asking(request)
    verdict = await anyio.to_thread.run_sync(
        state_of(request).installation.policies.decide, principal, Action.METRICS_READ, None
    )
    if isinstance(verdict, Deny):
        raise AccessDenied("this principal may not read metrics", hint="The default policies let administrators.")
    return principal


Asking = Annotated[Principal, Depends(asking)]
Shared = Annotated[State, Depends(state_of)]
