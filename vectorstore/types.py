"""The nouns of the store: documents, versions, passages, spans, hits, and the fingerprint of an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NewType

import numpy as np
from numpy.typing import NDArray

from policies.identity import SYSTEM_ID
from policies.labels import AccessClass, AccessClassId, Label, Origin

DocumentId = NewType("DocumentId", str)
PassageId = NewType("PassageId", int)
Vectors = NDArray[np.float32]
"""Shape (rows, dimension), float32, each row of Euclidean length 1."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a parsed document: characters [start, end) of its text. `number` counts from 1."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PassageDraft:
    """A passage before it is stored: characters [start, end) of the parsed text.

    `text` equals the document's `text[start:end]`. `page` is the number of the page that holds `start`, None where the
    document has no pages. `heading` is the path of headings above it, outermost first.
    """

    start: int
    end: int
    text: str
    page: int | None
    heading: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentDraft:
    """A parsed, labelled, chunked document, ready to be embedded and committed.

    `source` names where it came from and `path` its place there (for a line of a collection: file path + '#' + id);
    the pair identifies the document: a commit with a known pair makes a new version of it. `content_sha256` is over the
    source's bytes (for a line of a collection: over that line's). `size` and `modified_ns` are the file's stat. `access`,
    `purpose`, `retention` and `origin` are the label that the source gives it. `id` is what the store said the document's id
    will be; it counts where the pair is new.
    """

    source: str
    path: str
    title: str
    media_type: str
    content_sha256: str
    size: int
    modified_ns: int
    access: AccessClass
    text: str
    pages: tuple[Page, ...]
    passages: tuple[PassageDraft, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    purpose: str = ""
    retention: str = ""
    origin: Origin = Origin.RULES
    id: DocumentId | None = None

    @property
    def label(self) -> Label:
        """What the source says of it."""
        return Label(self.access, self.purpose, self.retention, self.origin)


@dataclass(frozen=True, slots=True)
class Document:
    """The live version of a document, without its text. Where a person gave it a label of its own, `ruled` is what its source
    says instead, None where that says nothing; `held` that it is under legal hold."""

    id: DocumentId
    source: str
    path: str
    title: str
    media_type: str
    version: int
    content_sha256: str
    size: int
    modified_ns: int
    access: AccessClass
    pages: int
    passages: int
    created_at: str
    metadata: Mapping[str, str]
    purpose: str = ""
    retention: str = ""
    origin: Origin = Origin.RULES
    ruled: Label | None = None
    held: bool = False

    @property
    def label(self) -> Label:
        """What is said of it."""
        return Label(self.access, self.purpose, self.retention, self.origin)

    @property
    def overridden(self) -> bool:
        """Whether a person gave it a label of its own."""
        return self.origin is Origin.OVERRIDE


@dataclass(frozen=True, slots=True)
class Act:
    """Who changes something and why, as the history of labels keeps it."""

    actor: str
    reason: str


OWN_ACT = Act(SYSTEM_ID, "")
"""What no person did."""


@dataclass(frozen=True, slots=True)
class LabelChange:
    """One change of what is said of a document: `kind` is a word of `ChangeKind`, `old` is None for a new document, `at` is
    ISO 8601 in UTC."""

    number: int
    at: str
    actor: str
    kind: str
    old: Label | None
    new: Label
    reason: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A live passage as the catalog tells it; `text` equals characters [start, end) of that version's parsed text."""

    id: PassageId
    document: DocumentId
    version: int
    path: str
    title: str
    heading: tuple[str, ...]
    page: int | None
    start: int
    end: int
    text: str
    content_sha256: str
    access_class: AccessClassId
    classification: str
    kb: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found. `score` is the fused score, absolute in [0, 1]; the parts are kept to explain it, and
    `lift` is what of it a better neighbour in the same document gave."""

    passage: Passage
    score: float
    lexical: float
    dense: float
    proximity: float
    lift: float = 0.0


@dataclass(frozen=True, slots=True)
class IndexFingerprint:
    """Names the embedder whose vectors an index holds; another fingerprint means the index cannot be used with it."""

    embedder: str
    dimension: int
    weights_sha256: str
    form: int

    def as_text(self) -> str:
        """One line, stable across versions: what is stamped on the index and shown to people."""
        return f"{self.embedder} dimension={self.dimension} weights={self.weights_sha256[:16]} form={self.form}"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best hits of one search, best first; how many candidates there were; and the weight (idf) of each term of the
    question."""

    hits: Sequence[Hit]
    candidates: int
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What is there: live documents and passages by knowledge base, whose vectors, and bytes on disk."""

    knowledge_bases: dict[str, dict[str, int]]
    access_classes: int
    fingerprint: str
    bytes: int


Seen = Mapping[DocumentId, AccessClass]
"""The access classes in which documents were when it was decided that they may be changed."""

NOT_SEEN: Seen = MappingProxyType({})
