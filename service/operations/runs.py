"""Runs: the reports of what was ingested."""

from __future__ import annotations

import threading

from pydantic import BaseModel, ConfigDict, Field

from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation


class ListRuns(BaseModel):
    """The newest runs, or one by its id."""

    model_config = ConfigDict(extra="forbid")
    id: str | None = None
    limit: int = Field(20, ge=1, le=1000)


def list_runs(installation: Installation, request: ListRuns, emit: Emit, stop: threading.Event) -> Result:
    """Reports, newest first; raises NotFoundError for an id that is not there."""
    if request.id is not None:
        return {"runs": [installation.runs.run(request.id).to_json()]}
    return {"runs": [report.to_json() for report in installation.runs.runs(limit=request.limit)]}


OPERATIONS = {"runs": Operation(ListRuns, list_runs)}
