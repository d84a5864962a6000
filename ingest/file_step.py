"""The step for files that are one document each: settled where nothing is new, else parsed and cut into passages."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest.batching import Batching
from ingest.collection_step import Chunker
from ingest.parsing.types import Outcome, ParsedDocument, ParseFailure, ParseItem, ParseReason
from ingest.refusing import HELD, LEGAL_HOLD, Refusing, still_bad
from ingest.run_state import RunState
from ingest.sources.folder import FoundFile
from vectorstore.types import Document, DocumentDraft

_HASHED_TWICE = 64 * 2**20
"""Files up to this many bytes are hashed before they are parsed too; larger ones have their stat compared alone."""

_YOUNG_NANOSECONDS = 2 * 10**9
"""A file may be written to again without a change of its time, which some file systems keep to the second or two."""

_UNKNOWN = -1
"""A size or time that no file has: the next run reads it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A file at one moment: its stat and the SHA-256 of its bytes. `changed_ns` is set by the system at every write."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int
    sha256: str | None

    @classmethod
    def take(cls, path: Path, most: int | None = None) -> Snapshot:
        """The stat first, then the hash, left out where there are more than `most` bytes: what is written meanwhile
        makes the next snapshot another one. Raises OSError."""
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            hashed = most is None or stat.st_size <= most
            sha256 = hashlib.file_digest(file, "sha256").hexdigest() if hashed else None
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, sha256)

    @property
    def kept_ns(self) -> int:
        """The time to keep with the document: none while the file is so young that it may change unseen."""
        return _UNKNOWN if time.time_ns() - self.modified_ns < _YOUNG_NANOSECONDS else self.modified_ns

    def same(self, later: Snapshot) -> bool:
        """Whether the file was as it is all the while from this snapshot to a later one."""
        stat = (self.size, self.modified_ns, self.changed_ns, self.inode)
        if stat != (later.size, later.modified_ns, later.changed_ns, later.inode):
            return False
        return None in (self.sha256, later.sha256) or self.sha256 == later.sha256


class FileStep:
    """Decides what becomes of each file of one run."""

    def __init__(self, state: RunState, batching: Batching, *, refusing: Refusing, chunker: Chunker) -> None:
        self._state = state
        self._batching = batching
        self._refusing = refusing
        self._chunker = chunker
        self._before: dict[str, Snapshot] = {}

    def settled(self, file: FoundFile) -> bool:
        """Whether a file needs no parsing: it is as it was, in the index or in quarantine."""
        state = self._state
        document = state.known.get(file.relative)
        entry = state.quarantined.get(file.relative)
        if entry is not None and not state.request.retry and still_bad(entry, file, document):
            self._refusing.refuse_again(entry)
            return True
        if document is None:
            return False
        if not self._as_it_was(file, document):
            if document.held:
                self._refusing.refuse(file.relative, LEGAL_HOLD, HELD, file.size, file.modified_ns)
            return document.held
        state.report.count("relabelled" if file.relative in state.relabelled else "unchanged")
        self._refusing.release([file.relative])
        return True

    def _as_it_was(self, file: FoundFile, document: Document) -> bool:
        """Whether the file's bytes are those of the document; a new stat of them is kept."""
        if (document.size, document.modified_ns) == (file.size, file.modified_ns):
            return True
        if document.size != file.size:
            return False
        try:
            now = Snapshot.take(file.path)
        except OSError:
            return False
        if now.sha256 != document.content_sha256:
            return False
        if now.kept_ns != document.modified_ns:
            self._batching.touch(document.id, now.size, now.kept_ns)
        return True

    def would_parse(self, files: Iterable[FoundFile]) -> None:
        """In a dry run: counts what would be parsed; whether that would succeed is not known."""
        for file in files:
            self._batching.would_add(file.relative, "")

    def items(self, files: Iterable[FoundFile]) -> Iterator[ParseItem]:
        """What the parsers take, each file looked at as it goes to them; may run on another thread than the rest."""
        for file in files:
            self._before.pop(file.relative, None)
            # What cannot be read here the parser cannot read either, and says so.
            with contextlib.suppress(OSError):
                self._before[file.relative] = Snapshot.take(file.path, most=_HASHED_TWICE)
            yield ParseItem(file.path, file.relative)

    def parsed(self, file: FoundFile, outcome: Outcome) -> bool:
        """A file came back from its parser; False where it was written to meanwhile, and has to go there again."""
        before = self._before.pop(file.relative, None)
        if isinstance(outcome, ParseFailure):
            if outcome.reason is ParseReason.CHANGED:
                return False
            size, modified_ns = (before.size, before.modified_ns) if before else (file.size, file.modified_ns)
            self._refusing.refuse(file.relative, outcome.reason, outcome.detail, size, modified_ns)
            return True
        try:
            after = Snapshot.take(file.path)
        except OSError as error:
            detail = error.strerror or str(error)
            self._refusing.refuse(file.relative, ParseReason.UNREADABLE, detail, _UNKNOWN, _UNKNOWN)
            return True
        if before is None or not before.same(after):
            return False
        notes = [f"{file.relative}: {warning}" for warning in outcome.warnings]
        self._batching.add(self._draft(file, outcome, after), notes)
        return True

    def never_still(self, file: FoundFile) -> None:
        """A file was written to each time that it was parsed. The next run reads it again, whatever its stat."""
        detail = "each time that it was read"
        self._refusing.refuse(file.relative, ParseReason.CHANGED, detail, _UNKNOWN, _UNKNOWN)

    def _draft(self, file: FoundFile, parsed: ParsedDocument, snapshot: Snapshot) -> DocumentDraft:
        assert snapshot.sha256 is not None
        label = self._state.labels[file.relative]
        return DocumentDraft(
            source=self._state.source,
            path=file.relative,
            title=parsed.title,
            media_type=parsed.media_type,
            content_sha256=snapshot.sha256,
            size=snapshot.size,
            modified_ns=snapshot.kept_ns,
            access=label.access,
            text=parsed.text,
            pages=parsed.pages,
            passages=self._chunker.drafts(parsed.text, parsed.pages),
            metadata=parsed.metadata,
            purpose=label.purpose,
            retention=label.retention,
            origin=label.origin,
        )
