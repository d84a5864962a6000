"""Uploaded originals: files under random ids in the data directory, and the names that people gave them, which are data."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Engine

from ingest.sources.folder import FoundFile
from policies.database import reading, writing
from policies.errors import UsageError
from policies.labels import AccessClass, Label

Needed = Callable[[], tuple[str | None, bool]]
"""What is needed of a name now: the SHA-256 of its live document, None where it has none, and whether it is in quarantine."""

_PREFIX = "upload:"
_LONGEST_NAME = 200
_UPLOAD = sa.Table(
    "upload",
    sa.MetaData(),
    *(sa.Column(name, sa.Text, primary_key=name == "id") for name in ("id", "source", "name", "sha256", "label")),
)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is kept: `path` is where, `name` what its person called it, `source` the place of all with its label."""

    path: Path
    source: str
    name: str
    sha256: str
    access: AccessClass

    def found(self) -> FoundFile:
        """The file as a run takes it in: its name there is the one that its person gave it."""
        stat = self.path.stat()
        return FoundFile(self.path, self.name, stat.st_size, stat.st_mtime_ns)


class Incoming:
    """A file that comes in piece by piece. `size` is in bytes."""

    def __init__(self, path: Path, most: int) -> None:
        self.path = path
        self.size = 0
        self._most = most
        self._hash = hashlib.sha256()
        self._file = path.open("xb")
        path.chmod(0o600)

    def write(self, piece: bytes) -> None:
        """Takes the next piece; raises UsageError once there are more bytes than a file may have."""
        self.size += len(piece)
        if self.size > self._most:
            raise UsageError(f"the file is larger than {self._most // 2**20} MiB", hint="See ingest.file_mb.")
        self._hash.update(piece)
        self._file.write(piece)

    def close(self) -> str:
        """Ends the file; returns the SHA-256 of its bytes."""
        self._file.close()
        return self._hash.hexdigest()


class Uploads:
    """The folder `uploads`, and the table of what is in it. What no row names is left over from a process that ended, and
    goes when this opens. Safe for threads."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self._engine = engine
        self._settling = threading.Lock()
        self._taken_in: set[tuple[str, str]] = set()
        if folder.is_dir():
            with reading(engine) as connection:
                named = set(connection.execute(sa.select(_UPLOAD.c.id)).scalars())
            for path in folder.iterdir():
                if path.name not in named:
                    path.unlink()

    @contextmanager
    def incoming(self, most: int) -> Iterator[Incoming]:
        """A file of at most so many bytes that is gone after the block unless `keep` took it."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        coming = Incoming(self.folder / ("u-" + secrets.token_hex(16)), most)
        try:
            yield coming
        finally:
            coming.close()
            if not self._is_kept(coming.path.name):
                coming.path.unlink(missing_ok=True)

    def keep(self, coming: Incoming, name: str, access: AccessClass) -> Upload:
        """Keeps a file that came in whole, under that name and label, within `taking_in`."""
        row = {"id": coming.path.name, "source": source_of(access), "name": name, "sha256": coming.close()}
        with writing(self._engine) as connection:
            connection.execute(_UPLOAD.insert().values(**row, label=Label(access).as_text()))
        return self._upload(row["id"], row["source"], name, row["sha256"], access)

    def at(self, source: str, name: str) -> list[Upload]:
        """What is kept under a name, the newest last."""
        query = _UPLOAD.select().where(_UPLOAD.c.source == source, _UPLOAD.c.name == name)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(sa.literal_column("rowid"))).all()
        return [self._upload(row.id, row.source, row.name, row.sha256, Label.from_text(row.label).access) for row in rows]

    def access(self, source: str) -> AccessClass | None:
        """The access class that a source of uploads gives; None where nothing is kept of it."""
        with reading(self._engine) as connection:
            label = connection.execute(sa.select(_UPLOAD.c.label).where(_UPLOAD.c.source == source).limit(1)).scalar()
        return None if label is None else Label.from_text(label).access

    @contextmanager
    def taking_in(self, source: str, name: str, needed: Needed) -> Iterator[None]:
        """Lets nothing go that is kept under a name while one run takes some of it in, and settles it at the end."""
        with self._settling:
            self._taken_in.add((source, name))
        try:
            yield
        finally:
            with self._settling:
                self._taken_in.remove((source, name))
            self.settle(source, name, needed)

    def settle(self, source: str, name: str, needed: Needed) -> None:
        """Lets go of what is kept under a name, but for the bytes of the live document, and where the name is in quarantine the
        newest, to be tried again. What a run takes in, that run settles."""
        # One at a time, and none between a run's commit and its end: else what is not needed yet would be taken for
        # what is needed no more.
        with self._settling:
            if (source, name) in self._taken_in:
                return
            live, quarantined = needed()
            kept = self.at(source, name)
            waiting = kept[-1:] if quarantined else []
            there = [one for one in reversed(kept) if one.sha256 == live][:1]
            self._forget([one for one in kept if one not in waiting + there])

    def _forget(self, uploads: Sequence[Upload]) -> None:
        with writing(self._engine) as connection:
            for one in uploads:
                connection.execute(_UPLOAD.delete().where(_UPLOAD.c.id == one.path.name))
        for one in uploads:
            one.path.unlink(missing_ok=True)

    def _is_kept(self, identifier: str) -> bool:
        with reading(self._engine) as connection:
            return connection.execute(sa.select(_UPLOAD.c.id).where(_UPLOAD.c.id == identifier)).first() is not None

    def _upload(self, identifier: str, source: str, name: str, sha256: str, access: AccessClass) -> Upload:
        return Upload(self.folder / identifier, source, name, sha256, access)


def source_of(access: AccessClass) -> str:
    """The source of all uploads with that label: a name of the same kind and label is a new version."""
    return f"{_PREFIX}{access.kb}/{access.classification}/{access.id}"


def is_upload(source: str) -> bool:
    """Whether a source is one of uploads. Folders have absolute paths, which never begin so."""
    return source.startswith(_PREFIX)


def label_in(source: str) -> tuple[str, str]:
    """The knowledge base and the classification of a source of uploads, for people to read."""
    kb, classification, _ = source.removeprefix(_PREFIX).rsplit("/", 2)
    return kb, classification


def plain_name(said: str) -> str:
    """What a person called a file, as one line that shows as it is: the last part of a path, without what cannot be printed or
    turns the direction of writing, and not longer than a name on a disk. Never used as a path."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", said))[-1]
    shown = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in last).strip()
    if len(shown) > _LONGEST_NAME:
        stem, dot, suffix = shown.rpartition(".")
        end = dot + suffix if stem and len(suffix) <= 10 else ""
        shown = shown[: _LONGEST_NAME - len(end)] + end
    return shown if shown.strip(". ") else "unnamed"
