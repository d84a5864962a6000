"""What the events of the audit log tell of documents, their labels, and the runs that take them in."""

# NOTE: No `from __future__ import annotations` here: it would hide NotRequired from the classes below.

from typing import NotRequired, TypedDict

DocumentWritten = TypedDict(
    "DocumentWritten",
    {"run": str, "document": NotRequired[str], "path": str, "sha256": str, "class": str, "label": NotRequired[str]},
)
"""A document's new content: its id, which older logs do not tell, its path, SHA-256 of its bytes, its label as JSON, and the
access class that this gives."""

DocumentRelabelled = TypedDict(
    "DocumentRelabelled",
    {
        "run": str,
        "document": str,
        "path": str,
        "class": str,
        "old": NotRequired[str],
        "new": NotRequired[str],
        "reason": NotRequired[str],
    },
)
"""A document got another label: the old and the new one as JSON, the access class that the new one gives, and why. `run` names
the ingest, or the one change that gave it to several documents."""


class DocumentDownloaded(TypedDict):
    """The original file of a document, or the picture of a page of it, was given to the actor."""

    document: str
    version: int
    path: str
    page: NotRequired[int]


class DocumentQuarantined(TypedDict):
    """A file or a record of a collection was refused."""

    run: str
    path: str
    reason: str


class DocumentRemoved(TypedDict):
    """A document left the index; `run` is there where an ingest did it."""

    run: NotRequired[str]
    document: str
    version: int
    path: str
    reason: str


class DocumentDiscarded(TypedDict):
    """An upload that was in quarantine for that reason was let go of, with its file."""

    entry: str
    path: str
    reason: str


class DocumentReleased(TypedDict):
    """A file that no rule labels got a label, as JSON, from the actor, and is tried again; `reason` is theirs."""

    entry: str
    path: str
    label: str
    reason: str


class DocumentUploaded(TypedDict):
    """A file came in from a browser, whole: what it was called, its bytes, and the label that it gets if it can be indexed."""

    upload: str
    path: str
    sha256: str
    size: int
    label: str


class DocumentViewed(TypedDict):
    """A document was shown to the actor; `text` says whether its parsed text was, or only what is known of it."""

    document: str
    version: int
    path: str
    text: bool


class HoldChanged(TypedDict):
    """A document was put under legal hold, or the hold was lifted, and why."""

    document: str
    path: str
    reason: str


class HoldRefused(TypedDict):
    """A document was to be removed, and is under legal hold: it stayed. `reason` says why it was to go, `run` is there where
    an ingest would have removed it."""

    run: NotRequired[str]
    document: str
    version: int
    path: str
    reason: str


class IngestStarted(TypedDict):
    """An ingest run began over a source."""

    run: str
    source: str


class IngestFinished(TypedDict):
    """An ingest run ended, and how its counts add up."""

    run: str
    outcome: str
    found: int
    added: int
    changed: int
    removed: int
    quarantined: int
    unchanged: NotRequired[int]
    relabelled: NotRequired[int]


class IngestStopped(TypedDict):
    """The actor asked a run to end after what it has at hand; the run's own end is recorded when it comes."""

    run: str
