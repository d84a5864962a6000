"""The people who may ask: id, name, groups, clearance, roles, and whether they are disabled."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from policies.database import open_database, unusable
from policies.errors import AuthenticationRequired, NotFoundError, UsageError
from policies.identity import LOCAL_OWNER_ID, Principal, Role

_ID = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_METADATA = sa.MetaData()
PERSON = sa.Table(
    "person",
    _METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("groups", sa.Text),
    sa.Column("clearance", sa.Text),
    sa.Column("roles", sa.Text),
    sa.Column("disabled", sa.Boolean),
    sa.Column("created", sa.Text),
)


@dataclass(frozen=True, slots=True)
class Person:
    """A person as stored; never deleted, only disabled, because the audit log names them."""

    id: str
    name: str
    groups: frozenset[str]
    clearance: str
    roles: frozenset[Role]
    disabled: bool
    created: str


class PeopleStore:
    """People in `people.db`. Several processes may use the file at once; what one commits the next request of another
    sees."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.engine = open_database(path, Path(__file__).parent / "people_migrations")

    def check_new(self, id: str, name: str, groups: Iterable[str]) -> None:
        """Raises UsageError where `add` would refuse."""
        if not _ID.fullmatch(id):
            raise UsageError(
                f"{id!r} cannot be a person's id", hint="Up to 64 of a-z 0-9 . _ @ -, beginning with a letter or digit."
            )
        for word in (name, *groups):
            if not word.strip() or not word.isprintable() or len(word) > 200:
                raise UsageError(f"{word!r} cannot be a name", hint="1 to 200 printable characters.")
        if self._row(id) is not None:
            raise UsageError(f"there is a person {id!r} already", hint="`inhouse people show` shows it.")

    def add(self, id: str, name: str, groups: Iterable[str], clearance: str, roles: Iterable[Role]) -> Person:
        """Adds a person; raises UsageError for an id that is taken or malformed."""
        kept = frozenset(groups)
        self.check_new(id, name, kept)
        values = {
            "id": id,
            "name": name,
            "groups": json.dumps(sorted(kept)),
            "clearance": clearance,
            "roles": json.dumps(sorted(Role(role).value for role in roles)),
            "disabled": False,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        try:
            with self.engine.begin() as connection:
                connection.execute(PERSON.insert().values(values))
        except IntegrityError:
            raise UsageError(f"there is a person {id!r} already") from None
        except OperationalError as error:
            raise unusable(self._path, error.orig or error) from None
        return self.show(id)

    def add_local_owner(self, clearance: str) -> Person:
        """The person for whoever owns the data directory; `clearance` is the highest level. Does nothing if it is there."""
        if self._row(LOCAL_OWNER_ID) is None:
            return self.add(LOCAL_OWNER_ID, "Local owner", (), clearance, ())
        return self.show(LOCAL_OWNER_ID)

    def list(self) -> list[Person]:
        """Everyone, by id."""
        with self.engine.connect().execution_options(reading=True) as connection:
            return [_person(row) for row in connection.execute(PERSON.select().order_by(PERSON.c.id))]

    def show(self, id: str) -> Person:
        """One person; raises NotFoundError."""
        row = self._row(id)
        if row is None:
            raise NotFoundError(f"there is no person {id!r}", hint="`inhouse people list` shows who is there.")
        return _person(row)

    def disable(self, id: str) -> None:
        """From now on no credential of this person is accepted. Raises NotFoundError."""
        self.show(id)
        with self.engine.begin() as connection:
            connection.execute(PERSON.update().where(PERSON.c.id == id).values(disabled=True))

    def principal(self, id: str) -> Principal:
        """The principal for a person; raises NotFoundError, or AuthenticationRequired for a disabled one."""
        person = self.show(id)
        if person.disabled:
            raise AuthenticationRequired(f"{id} is disabled", hint="Ask an administrator.")
        return Principal(person.id, person.name, person.groups, person.clearance, person.roles)

    def close(self) -> None:
        """Closes the file."""
        self.engine.dispose()

    def _row(self, id: str) -> Any:
        with self.engine.connect().execution_options(reading=True) as connection:
            return connection.execute(PERSON.select().where(PERSON.c.id == id)).first()


def _person(row: Any) -> Person:
    return Person(
        row.id,
        row.name,
        frozenset(json.loads(row.groups)),
        row.clearance,
        frozenset(Role(role) for role in json.loads(row.roles)),
        row.disabled,
        row.created,
    )
