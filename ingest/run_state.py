"""What one run was asked, and what it carries along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.labelling import LabelRules
from ingest.report import RunReport
from ingest.runs import QuarantineEntry
from policies.audit.events import EventTag
from vectorstore.types import Document

Record = Callable[[EventTag, Mapping[str, Any]], object]
Listener = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """A folder and what to do with it. `labels` is a file elsewhere than in the folder; `confirmed` lets a prune remove
    more than its share; `retry` parses what is in quarantine again; `only` limits the run to these relative paths."""

    folder: Path
    labels: Path | None = None
    prune: bool = False
    confirmed: bool = False
    dry_run: bool = False
    retry: bool = False
    only: frozenset[str] | None = None


@dataclass(slots=True)
class RunState:
    """What one run knows: the index as it was before (`known`, by path), the quarantine as it was, and which paths were
    seen. `incomplete` holds the beginnings of paths below which nothing can be said to be gone."""

    request: IngestRequest
    source: str
    rules: LabelRules
    report: RunReport
    known: dict[str, Document]
    quarantined: dict[str, QuarantineEntry]
    seen: set[str] = field(default_factory=set)
    incomplete: set[str] = field(default_factory=set)
