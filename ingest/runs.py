"""What is kept of runs: their reports, the quarantine, and which collection files were seen whole."""

from __future__ import annotations

import datetime
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ingest.report import RunReport
from ingest.uploads import Uploads
from policies.database import open_database, reading, writing
from policies.errors import NotFoundError, UsageError

_METADATA = sa.MetaData()
_RUN = sa.Table(
    "run",
    _METADATA,
    *(sa.Column(name, sa.Text, primary_key=name == "id") for name in ("id", "started", "state", "report")),
)
_QUARANTINE = sa.Table(
    "quarantine",
    _METADATA,
    *(sa.Column(name, sa.Text, primary_key=name == "id") for name in ("id", "source", "path", "reason", "detail")),
    *(sa.Column(name, sa.Integer) for name in ("size", "modified_ns")),
    *(sa.Column(name, sa.Text) for name in ("first_seen", "last_seen")),
    sa.Column("attempts", sa.Integer),
)
_COLLECTION = sa.Table(
    "collection",
    _METADATA,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("source", "path")),
    *(sa.Column(name, sa.Integer) for name in ("size", "modified_ns")),
    sa.Column("rules", sa.Text),
    sa.Column("records", sa.Integer),
)


@dataclass(slots=True)
class Going:
    """The run that is on: its id, the flag that ends it after what it has at hand, and whether a person asked for that."""

    run: str
    stop: threading.Event
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """What could not be indexed, why, and its stat when that was found."""

    path: str
    reason: str
    detail: str
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """A file, or a line of a collection, that could not be indexed, and why. `id` is made from source and path."""

    id: str
    source: str
    path: str
    reason: str
    detail: str
    size: int
    modified_ns: int
    first_seen: str
    last_seen: str
    attempts: int

    def says(self, refusal: Refusal) -> bool:
        """Whether the entry tells that already, of a file that is as it was."""
        return refusal == Refusal(self.path, self.reason, self.detail, self.size, self.modified_ns)


class RunStore:
    """The file `runs.db`, owned by the process that owns the data directory. Raises DataDirectoryError where it cannot be
    read or written."""

    def __init__(self, path: Path) -> None:
        self._engine = open_database(path, Path(__file__).parent / "migrations")
        self.uploads = Uploads(path.parent / "uploads", self._engine)
        """What was uploaded, and is kept."""
        self.progress: Mapping[str, Any] | None = None
        """How far the run is that is on, as its listener was last told; None where none is on."""
        self.going: Going | None = None
        """The run that is on in this process."""
        self._mark_cut_off()

    def save(self, report: RunReport) -> None:
        """Keeps a report, in place of its former state."""
        row = {"started": report.started, "state": report.outcome, "report": json.dumps(report.to_json())}
        with writing(self._engine) as connection:
            if not connection.execute(_RUN.update().where(_RUN.c.id == report.id).values(row)).rowcount:
                connection.execute(_RUN.insert().values(id=report.id, **row))

    def run(self, identifier: str) -> RunReport:
        """One report; raises NotFoundError."""
        with reading(self._engine) as connection:
            row = connection.execute(_RUN.select().where(_RUN.c.id == identifier)).first()
        if row is None:
            raise no_run(identifier)
        return RunReport.from_json(json.loads(row.report))

    def sources(self) -> dict[str, str]:
        """The source of each run by the run's id."""
        query = sa.select(_RUN.c.id, sa.func.json_extract(_RUN.c.report, "$.source").label("source"))
        with reading(self._engine) as connection:
            return {row.id: row.source for row in connection.execute(query)}

    def stop(self, identifier: str) -> None:
        """Asks a run of this process to end after what it has at hand; what it committed stays. Raises NotFoundError for a
        run that there never was, UsageError for one that is not on."""
        self.run(identifier)
        going = self.going
        if going is None or going.run != identifier:
            raise UsageError(f"{identifier} is not under way", hint="`inhouse runs` shows how it ended.")
        going.asked = True
        going.stop.set()

    def runs(self, limit: int = 20, offset: int = 0) -> list[RunReport]:
        """The newest reports but for `offset` of them, newest first, also where several started within one second."""
        newest_first: tuple[Any, ...] = (_RUN.c.started.desc(), sa.literal_column("rowid").desc())
        with reading(self._engine) as connection:
            rows = connection.execute(_RUN.select().order_by(*newest_first).limit(limit).offset(offset)).all()
        return [RunReport.from_json(json.loads(row.report)) for row in rows]

    def quarantine(self, source: str | None = None) -> list[QuarantineEntry]:
        """Every entry, of one source or of all, by path."""
        query = _QUARANTINE.select().order_by(_QUARANTINE.c.source, _QUARANTINE.c.path)
        if source is not None:
            query = query.where(_QUARANTINE.c.source == source)
        with reading(self._engine) as connection:
            return [QuarantineEntry(**row._mapping) for row in connection.execute(query)]

    def entry(self, identifier: str) -> QuarantineEntry:
        """One entry; raises NotFoundError."""
        with reading(self._engine) as connection:
            row = connection.execute(_QUARANTINE.select().where(_QUARANTINE.c.id == identifier)).first()
        if row is None:
            raise no_entry(identifier)
        return QuarantineEntry(**row._mapping)

    def put(self, source: str, refusals: Sequence[Refusal]) -> None:
        """Puts what was refused in quarantine, all in one change; where it is there, counts another attempt."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        if not refusals:
            return
        with writing(self._engine) as connection:
            for one in refusals:
                identifier = "q-" + hashlib.sha256(f"{source}\n{one.path}".encode()).hexdigest()[:12]
                values: dict[str, Any] = {
                    "reason": one.reason,
                    "detail": one.detail,
                    "size": one.size,
                    "modified_ns": one.modified_ns,
                    "last_seen": now,
                }
                again = _QUARANTINE.update().where(_QUARANTINE.c.id == identifier)
                if not connection.execute(again.values(**values, attempts=_QUARANTINE.c.attempts + 1)).rowcount:
                    values |= {"id": identifier, "source": source, "path": one.path, "first_seen": now, "attempts": 1}
                    connection.execute(_QUARANTINE.insert().values(values))

    def release(self, source: str, paths: Sequence[str]) -> None:
        """Takes files out of quarantine; those that are not there are passed over."""
        with writing(self._engine) as connection:
            for start in range(0, len(paths), 500):
                part = _QUARANTINE.c.path.in_(paths[start : start + 500])
                connection.execute(_QUARANTINE.delete().where(_QUARANTINE.c.source == source, part))

    def seen_collection(self, source: str, path: str, size: int, modified_ns: int, rules: str) -> int | None:
        """How many records a collection file had when it was last read whole, if it has not changed since."""
        query = sa.select(_COLLECTION.c.records).where(
            _COLLECTION.c.source == source,
            _COLLECTION.c.path == path,
            _COLLECTION.c.size == size,
            _COLLECTION.c.modified_ns == modified_ns,
            _COLLECTION.c.rules == rules,
        )
        with reading(self._engine) as connection:
            found = connection.execute(query).scalar()
        return None if found is None else int(found)

    def keep_collection(self, source: str, path: str, size: int, modified_ns: int, rules: str, records: int) -> None:
        """Keeps that a collection file was read whole."""
        with writing(self._engine) as connection:
            connection.execute(_COLLECTION.delete().where(_COLLECTION.c.source == source, _COLLECTION.c.path == path))
            connection.execute(
                _COLLECTION.insert().values(
                    source=source, path=path, size=size, modified_ns=modified_ns, rules=rules, records=records
                )
            )

    def close(self) -> None:
        """Closes the file."""
        self._engine.dispose()

    def _mark_cut_off(self) -> None:
        """Runs still marked as running belong to a process that is no more."""
        with reading(self._engine) as connection:
            rows = connection.execute(_RUN.select().where(_RUN.c.state == "running")).all()
        for row in rows:
            report = RunReport.from_json(json.loads(row.report))
            report.outcome = "interrupted"
            report.error = "the process ended in mid-run; what it had committed is kept"
            self.save(report)


def no_entry(identifier: str) -> NotFoundError:
    """What is raised for an entry of the quarantine that is not there, or not there for who asks."""
    return NotFoundError(f"there is nothing in quarantine under {identifier!r}", hint="`inhouse quarantine list`.")


def no_run(identifier: str) -> NotFoundError:
    """What is raised for a run that is not there, or not there for who asks."""
    return NotFoundError(f"there is no run {identifier!r}", hint="`inhouse runs` lists them.")
