"""What one run was asked, and what it carries along."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.labelling import LabelRules
from ingest.report import RunReport
from ingest.runs import QuarantineEntry
from ingest.sources.folder import FoundFile
from policies.audit.events import EventTag
from policies.labels import AccessClass, Label
from vectorstore.types import Act, Document

RECORD_TYPE = "application/x-record"
"""The media type of a document that is one line of a collection."""

Event = tuple[EventTag, Mapping[str, Any]]
Record = Callable[[Sequence[Event]], object]
"""Writes events to the audit log, all of them or none; on the disk when it returns."""

Listener = Callable[[Mapping[str, Any]], None]
"""Takes one account of progress; called from any thread."""


@dataclass(frozen=True, slots=True)
class Given:
    """Files of a source that is no folder, which all get one access class."""

    source: str
    access: AccessClass
    files: tuple[FoundFile, ...]


@dataclass(frozen=True, slots=True)
class Released:
    """A person's label for files that no rule labels, by relative path, and why they are let out of quarantine."""

    label: Label
    paths: frozenset[str]
    reason: str


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """A folder and what to do with it. `labels` is a file elsewhere than in the folder; `confirmed` lets a prune remove
    more than its share; `retry` parses what is in quarantine again; `only` limits the run to these relative paths. `given` are
    the files where the source is no folder; `folder` then holds them. `released` are files that get a label from a person."""

    folder: Path
    labels: Path | None = None
    prune: bool = False
    confirmed: bool = False
    dry_run: bool = False
    retry: bool = False
    only: frozenset[str] | None = None
    given: Given | None = None
    released: Released | None = None


@dataclass(slots=True)
class RunState:
    """What one run knows: the index as it was before (`known`, by path, less what the run removed), the quarantine as it
    was, the label of each file, which documents got another one, and which paths were seen. `act` is who runs it and why;
    `files` are the paths of every file there is, those among them that the request leaves out; `incomplete` holds the
    beginnings of paths below which nothing can be said to be gone."""

    request: IngestRequest
    source: str
    rules: LabelRules
    report: RunReport
    known: dict[str, Document]
    quarantined: dict[str, QuarantineEntry]
    act: Act
    labels: dict[str, Label] = field(default_factory=dict)
    relabelled: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    incomplete: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    _lines: dict[str, list[Document]] | None = None

    def lines(self, relative: str) -> list[Document]:
        """The documents that the index has of the lines of that file; `files` must be whole."""
        if self._lines is None:
            self._lines = {}
            for path, document in self.known.items():
                if document.media_type != RECORD_TYPE:
                    continue
                # Names of files and ids may hold the mark themselves: the longest name that there is counts.
                owner = path.rpartition("#")[0]
                while owner and owner not in self.files:
                    owner = owner.rpartition("#")[0]
                self._lines.setdefault(owner, []).append(document)
        return self._lines.get(relative, [])
