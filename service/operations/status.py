"""Status: what is indexed, with which model, and how much of it."""

from __future__ import annotations

import threading

from pydantic import BaseModel, ConfigDict

from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation


class StatusRequest(BaseModel):
    """No choice to make."""

    model_config = ConfigDict(extra="forbid")


def status(installation: Installation, request: StatusRequest, emit: Emit, stop: threading.Event) -> Result:
    """Counts, sizes, models, the policy in force, and the last run."""
    found = installation.store.status()
    last = installation.runs.runs(limit=1)
    settings = installation.settings
    return {
        "data": str(installation.directory),
        "knowledge_bases": found.knowledge_bases,
        "access_classes": found.access_classes,
        "quarantined": len(installation.runs.quarantine()),
        "embedder": found.fingerprint,
        "runtime": settings.runtime.model or settings.runtime.kind,
        "policy": installation.policies.hash,
        "bytes": found.bytes,
        "last_run": last[0].to_json() if last else None,
        "serving": installation.serving,
    }


OPERATIONS = {"status": Operation(StatusRequest, status)}
