"""Appends to the log: a record is on the disk before `append` returns, or the act that it tells of must not happen."""

from __future__ import annotations

import datetime
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rfc8785

from policies.audit.events import EventTag
from policies.audit.records import GENESIS, Record, chained, file_name, files, parsed
from policies.errors import AuditUnavailable

_TAIL_BYTES = 1 << 16


class AuditLog:
    """An append-only chain of records in `directory`.

    Safe for threads and for several processes (a lock file). A line that a crash left unfinished is completed by
    nothing and hides nothing: it was never acknowledged, so the next append cuts it off. A file is begun anew once it
    passes `file_bytes`. Raises AuditUnavailable wherever a record cannot be made durable.
    """

    def __init__(self, directory: Path, *, file_bytes: int = 64 * 2**20) -> None:
        from filelock import FileLock

        self._directory = directory
        self._file_bytes = file_bytes
        self._thread_lock = threading.Lock()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unavailable(directory, error) from None
        self._lock = FileLock(directory / "lock", timeout=10, mode=0o600, thread_local=False)
        self._known: tuple[Path, int, Record] | None = None

    def append(self, tag: EventTag, actor: str, payload: Mapping[str, Any]) -> Record:
        """Writes one record and waits until the disk has it. `payload` must be JSON without NaN or integers past 2^53."""
        from filelock import Timeout

        try:
            with self._thread_lock, self._lock:
                return self._append(tag, actor, payload)
        except (OSError, Timeout) as error:
            self._known = None
            raise _unavailable(self._directory, error) from None
        except rfc8785.CanonicalizationError as error:
            raise AuditUnavailable(f"the record of {tag} is not JSON: {error}", hint="This is a defect; report it.") from None

    def _append(self, tag: EventTag, actor: str, payload: Mapping[str, Any]) -> Record:
        path, size, last = self._end()
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        sequence = last.sequence + 1 if last else 1
        record = chained(sequence, time, tag.value, actor, payload, last.hash if last else GENESIS)
        line = record.line()
        if path is None or size >= self._file_bytes:
            path, size = self._directory / file_name(sequence), 0
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, size)
            os.lseek(descriptor, size, os.SEEK_SET)
            view = memoryview(line)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        except OSError:
            # What is half-written must not look like a record to the next reader.
            os.ftruncate(descriptor, size)
            raise
        finally:
            os.close(descriptor)
        if size == 0:
            _sync_directory(self._directory)
        self._known = (path, size + len(line), record)
        return record

    def _end(self) -> tuple[Path | None, int, Record | None]:
        """The newest file, the length of its complete records, and the last of them."""
        found = files(self._directory)
        if not found:
            return None, 0, None
        path = found[-1]
        size = path.stat().st_size
        if self._known and self._known[:2] == (path, size):
            return self._known
        record, end = _last_complete(path, size)
        if record is None and len(found) > 1:
            # The crash came between a new file and its first line.
            previous, _ = _last_complete(found[-2], found[-2].stat().st_size)
            return path, 0, previous
        return path, end, record


def _last_complete(path: Path, size: int) -> tuple[Record | None, int]:
    with path.open("rb") as file:
        span = _TAIL_BYTES
        while True:
            start = max(0, size - span)
            file.seek(start)
            tail = file.read(size - start)
            end = tail.rfind(b"\n")
            begin = tail.rfind(b"\n", 0, end) if end > 0 else -1
            if begin >= 0 or start == 0:
                break
            span *= 4
    if end < 0:
        return None, 0
    return parsed(tail[begin + 1 : end + 1], f"the last record of {path.name}"), start + end + 1


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unavailable(directory: Path, error: Exception) -> AuditUnavailable:
    reason = getattr(error, "strerror", None) or str(error)
    return AuditUnavailable(
        f"the audit record cannot be written in {directory}: {reason}",
        hint="Nothing is answered without a record. Free some space, or mend the directory's permissions.",
    )
