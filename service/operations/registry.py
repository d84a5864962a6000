"""Names every operation, and finds the module of one only when it is asked for."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from policies.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from service.wiring import Installation

Emit = Callable[[Mapping[str, Any]], None]
"""Takes one event of an operation that is still running: progress, or a piece of an answer."""

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """A request model and the function that carries it out.

    The function gets the installation, the validated request, an `emit` for events, and a stop flag that it looks at
    between steps; it returns the JSON-ready result, or raises an InhouseError. `shared` says that it touches only what
    several processes may use at once, so that it need not own the data directory.
    """

    request: type[BaseModel]
    run: Callable[[Installation, Any, Emit, threading.Event], Result]
    shared: bool = False


_MODULES = {
    "ask": "service.operations.ask",
    "audit.list": "service.operations.audit",
    "audit.show": "service.operations.audit",
    "audit.verify": "service.operations.audit",
    "documents.hold": "service.operations.labels",
    "documents.labels": "service.operations.labels",
    "documents.list": "service.operations.documents",
    "documents.relabel": "service.operations.labels",
    "documents.release": "service.operations.labels",
    "documents.remove": "service.operations.documents",
    "documents.show": "service.operations.documents",
    "ingest": "service.operations.ingest",
    "keys.create": "service.operations.keys",
    "keys.list": "service.operations.keys",
    "keys.revoke": "service.operations.keys",
    "models.add": "service.operations.models",
    "models.list": "service.operations.models",
    "models.remove": "service.operations.models",
    "models.show": "service.operations.models",
    "people.add": "service.operations.people",
    "people.disable": "service.operations.people",
    "people.link": "service.operations.people",
    "people.list": "service.operations.people",
    "people.release": "service.operations.people",
    "people.show": "service.operations.people",
    "policy.check": "service.operations.policy",
    "policy.explain": "service.operations.policy",
    "policy.simulate": "service.operations.policy_trial",
    "policy.test": "service.operations.policy_trial",
    "quarantine.list": "service.operations.quarantine",
    "quarantine.release": "service.operations.quarantine",
    "quarantine.retry": "service.operations.quarantine",
    "quarantine.show": "service.operations.quarantine",
    "runs": "service.operations.runs",
    "runs.stop": "service.operations.runs",
    "search": "service.operations.search",
    "status": "service.operations.status",
}


def names() -> list[str]:
    """Every operation's name, in alphabetical order."""
    return sorted(_MODULES)


def operation(name: str) -> Operation:
    """The operation of that name; raises UsageError where there is none."""
    module = _MODULES.get(name)
    if module is None:
        raise UsageError(f"there is no operation {name!r}", hint="The two ends are of different versions; restart both.")
    found = importlib.import_module(module).OPERATIONS[name]
    assert isinstance(found, Operation)
    return found
