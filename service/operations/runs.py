"""Runs: the reports of what was ingested, and an early end to the one that is on."""

from __future__ import annotations

import threading

from pydantic import BaseModel, ConfigDict, Field

from policies.audit.events import EventTag
from policies.identity import LOCAL_OWNER_ID
from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation


class ListRuns(BaseModel):
    """The newest runs, or one by its id."""

    model_config = ConfigDict(extra="forbid")
    id: str | None = None
    limit: int = Field(20, ge=1, le=1000)


class StopRun(BaseModel):
    """A run by its id."""

    model_config = ConfigDict(extra="forbid")
    id: str


def list_runs(installation: Installation, request: ListRuns, emit: Emit, stop: threading.Event) -> Result:
    """Reports, newest first; raises NotFoundError for an id that is not there."""
    if request.id is not None:
        return {"runs": [installation.runs.run(request.id).to_json()]}
    return {"runs": [report.to_json() for report in installation.runs.runs(limit=request.limit)]}


def stop_run(installation: Installation, request: StopRun, emit: Emit, stop: threading.Event) -> Result:
    """Ends a run after what it has at hand, as the local owner."""
    stopped(installation, LOCAL_OWNER_ID, request.id)
    return {"stopping": request.id}


def stopped(installation: Installation, person: str, run: str) -> None:
    """Asks a run to end; recorded. Raises NotFoundError and UsageError as the store of runs does."""
    installation.runs.stop(run)
    installation.audit.append(EventTag.INGEST_STOPPED, person, {"run": run})


OPERATIONS = {"runs": Operation(ListRuns, list_runs), "runs.stop": Operation(StopRun, stop_run)}
