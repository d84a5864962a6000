"""What the routes share: the installation, the gate, the metrics, and who is asking."""

from __future__ import annotations

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
from service.auth.carriers import principal_of
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


async def asking(request: Request) -> Principal:
    """The principal of this request; raises AuthenticationRequired."""
    keys = state_of(request).installation.keys
    header = request.headers.get("authorization")
    return await anyio.to_thread.run_sync(principal_of, header, keys)


async def reading_docs(request: Request) -> Principal:
    """The same for the pages that a browser opens by itself, where the key may come as a password."""
    keys = state_of(request).installation.keys
    header = request.headers.get("authorization")
    return await anyio.to_thread.run_sync(lambda: principal_of(header, keys, basic=True))


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
