"""Opens a package's own SQLite file and brings it to the newest form by the package's own migrations."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies.errors import DataDirectoryBusy, DataDirectoryError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_BUSY_MILLISECONDS = 10_000


def open_database(path: Path, migrations: Path) -> Engine:
    """An engine on the file at `path` (made with mode 0600), migrated by the Alembic scripts in `migrations`.

    Transactions begin with BEGIN IMMEDIATE, so that a migration or a write that fails leaves nothing behind; commits
    wait for the disk. Raises DataDirectoryError for a file that cannot be written, is damaged, or was written by a newer
    version of the product.
    """
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DatabaseError

    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise unusable(path, error) from None
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_MILLISECONDS / 1000})
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    try:
        _migrate(engine, migrations)
    except DatabaseError as error:
        engine.dispose()
        raise unusable(path, error.orig or error) from None
    return engine


class Changes:
    """Tells of a database file whether anything was committed to it, by whatever process, at the cost of some microseconds.
    Safe for threads."""

    def __init__(self, path: Path) -> None:
        import sqlite3

        self._path = path
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=_BUSY_MILLISECONDS / 1000, check_same_thread=False)

    def number(self) -> int:
        """Another number after each commit. Raises DataDirectoryError where the file cannot be read."""
        import sqlite3

        try:
            with self._lock:
                return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise unusable(self._path, error) from None

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One snapshot of the database, which no writer waits for. Raises DataDirectoryError where it cannot be read."""
    from sqlalchemy.exc import DatabaseError, IntegrityError, InterfaceError

    try:
        with engine.connect().execution_options(reading=True) as connection:
            yield connection
    except IntegrityError:
        raise
    except (DatabaseError, InterfaceError) as error:
        raise unusable(Path(str(engine.url.database)), error.orig or error) from None


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction, alone among the writers of all processes, on the disk when it is left and undone by an exception.
    Raises DataDirectoryError where it cannot be written; IntegrityError is passed on."""
    from sqlalchemy.exc import DatabaseError, IntegrityError, InterfaceError

    try:
        with engine.begin() as connection:
            yield connection
    except IntegrityError:
        raise
    except (DatabaseError, InterfaceError) as error:
        raise unusable(Path(str(engine.url.database)), error.orig or error) from None


def unusable(path: Path, error: BaseException) -> DataDirectoryError:
    """The error for a database file that cannot be used, with the next step."""
    reason = getattr(error, "strerror", None) or str(error)
    if "locked" in reason:
        return DataDirectoryBusy(f"{path} is locked by another process", hint="Try again when that has ended.")
    return DataDirectoryError(
        f"cannot use {path}: {reason}",
        hint="Free some space or mend its permissions; if the file is damaged, restore it from a backup.",
    )


def _on_connect(connection: Any, record: Any) -> None:
    # The driver would open transactions by itself, and not before a schema change: then a failed migration stays half done.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: Any) -> None:
    options = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN" if options.get("reading") else "BEGIN IMMEDIATE")


def _migrate(engine: Engine, migrations: Path) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import text

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    head = ScriptDirectory.from_config(config).get_current_head()
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current == head:
        return
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise DataDirectoryError(
            f"{engine.url.database} was written by a newer version (form {current})",
            hint="Install that version or a newer one; this one would not understand what it finds.",
        )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.execute(text("SELECT 1"))
