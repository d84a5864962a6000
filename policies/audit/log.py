"""Appends to the log: a record is on the disk before `append` returns, or the act that it tells of must not happen."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import rfc8785

from policies.audit.acting import acted_by
from policies.audit.events import EventTag, check_payload
from policies.audit.records import Record, chained, file_name
from policies.audit.tail import End, find_end
from policies.errors import AuditBroken, AuditUnavailable
from policies.identity import SYSTEM_ID

Event = tuple[EventTag, str, Mapping[str, Any]]
"""A tag, the id of who acted, and the payload that belongs to the tag."""


class AuditLog:
    """An append-only chain of records in `directory`, made with mode 0700 where it is missing.

    Safe for threads and for several processes on one machine (a lock file). A file is begun anew once it has `file_bytes`.
    An unfinished line that a crash left was never acknowledged: it is cut off when the log is opened or next written,
    and a record `audit:recovered` says so; a record that lacks only the end of its line is kept. Whatever keeps a record
    from being durable raises AuditUnavailable, in the constructor too: no log, no service.
    """

    def __init__(self, directory: Path, *, file_bytes: int = 64 * 2**20, wait_seconds: float = 10) -> None:
        from filelock import FileLock

        self._directory = directory
        self._file_bytes = file_bytes
        self._wait_seconds = wait_seconds
        self._threads = threading.Lock()
        self._known: End | None = None
        with self._failures():
            if not directory.is_dir():
                directory.mkdir(mode=0o700, parents=True)
                _sync_directory(directory.parent)
            self._processes = FileLock(
                directory / "lock",
                timeout=wait_seconds,
                mode=0o600,
                thread_local=False,
                poll_interval=0.002,
                fallback_to_soft=False,
            )
            with self._held():
                self._heal(self._end())

    def append(self, tag: EventTag, actor: str, payload: Mapping[str, Any]) -> Record:
        """Writes one record and waits until the disk has it; `payload` has the fields of its tag (events.py)."""
        return self.append_all([(tag, actor, payload)])[0]

    def append_all(self, events: Sequence[Event]) -> list[Record]:
        """Writes one record for each event, all of them or none, and waits for the disk once. Where somebody acts as the
        actor, the payload says who, in `by`."""
        events = [(tag, actor, _whole(actor, payload)) for tag, actor, payload in events]
        for tag, _, payload in events:
            try:
                check_payload(tag, payload)
            except ValueError as error:
                raise AuditUnavailable(f"the record does not fit: {error}", hint="This is a defect; report it.") from None
        if not events:
            return []
        with self._failures(), self._held():
            return self._append(self._heal(self._end()), events)

    def check(self) -> None:
        """Raises AuditUnavailable where a record could not be written now: the end of the log is broken, locked or gone, or
        its directory may not be written."""
        with self._failures(), self._held():
            self._heal(self._end())
            if not os.access(self._directory, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _append(self, end: End, events: Sequence[Event]) -> list[Record]:
        records: list[Record] = []
        sequence, previous, time = end.sequence, end.hash, _now()
        for tag, actor, payload in events:
            records.append(chained(sequence + 1, time, tag.value, actor, payload, previous))
            sequence, previous = records[-1].sequence, records[-1].hash
        path, size = end.path, end.size
        if path is None or size >= self._file_bytes:
            path, size = self._directory / file_name(records[0].sequence), 0
        data = b"".join(record.line() for record in records)
        with _opened(path) as descriptor:
            try:
                _write(descriptor, data, size)
            except OSError:
                # What is half-written must not look like a record to the next reader.
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        if size == 0:
            _sync_directory(self._directory)
        self._known = End(path, size + len(data), records[-1])
        return records

    def _end(self) -> End:
        """The end of the log; raises AuditBroken where it is not at least what this process wrote."""
        known = self._known
        if known is not None and known.path is not None:
            with contextlib.suppress(FileNotFoundError):
                newer = known.path.with_name(file_name(known.sequence + 1)).exists()
                if known.path.stat().st_size == known.size and not newer:
                    return known
        end = find_end(self._directory)
        if known is not None and (end.sequence, end.hash) != (known.sequence, known.hash) and end.sequence <= known.sequence:
            raise AuditBroken(f"record {known.sequence} was there and is gone: the log was cut or put back")
        return end

    def _heal(self, end: End) -> End:
        """Leaves nothing behind the last whole record, and says in the log what was there."""
        if end.path is None or not (end.torn or end.unended):
            return end
        with _opened(end.path) as descriptor:
            os.ftruncate(descriptor, end.size)
            if end.unended:
                _write(descriptor, b"\n", end.size)
            _sync(descriptor)
        healed = End(end.path, end.size + int(end.unended), end.record)
        cut = hashlib.sha256(end.torn).hexdigest()
        payload = {"file": end.path.name, "kept": end.unended, "bytes_cut": len(end.torn), "sha256_cut": cut}
        self._append(healed, [(EventTag.AUDIT_RECOVERED, SYSTEM_ID, payload)])
        assert self._known is not None
        return self._known

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """The log for this thread alone, among all threads and processes."""
        if not self._threads.acquire(timeout=self._wait_seconds):
            raise TimeoutError("another write has not ended")
        try:
            with self._processes:
                yield
        finally:
            self._threads.release()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except AuditBroken as error:
            hint = "Nothing is written behind a broken record. Run `inhouse audit verify`, and compare with a backup."
            raise AuditUnavailable(error.message, hint=hint) from None
        except rfc8785.CanonicalizationError as error:
            raise AuditUnavailable(f"the record is not JSON: {error}", hint="This is a defect; report it.") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise AuditUnavailable(
                f"the audit record cannot be written in {self._directory}: {reason}",
                hint="Nothing is answered without a record. Free some space, or mend the directory's permissions.",
            ) from None


def _whole(actor: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    by = acted_by(actor)
    return payload if by is None else {**payload, "by": by}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a plain file")
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
    _sync(descriptor)


def _sync(descriptor: int) -> None:
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        # On macOS fsync alone leaves the data in the drive's own memory.
        fcntl.fcntl(descriptor, full)
    else:
        os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
