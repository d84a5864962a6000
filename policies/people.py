"""The people who may ask: id, name, groups, clearance, roles, and whether they are disabled."""

from __future__ import annotations

import datetime
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from policies.database import Changes, open_database, reading, writing
from policies.errors import AuthenticationRequired, NotFoundError, UsageError
from policies.identity import LOCAL_OWNER_ID, SYSTEM_ID, Principal, Role

_ID = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_RESERVED = {LOCAL_OWNER_ID, SYSTEM_ID}
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
    """A person as stored; never deleted, only disabled, because the audit log names them. `created` is ISO 8601 in UTC."""

    id: str
    name: str
    groups: frozenset[str]
    clearance: str
    roles: frozenset[Role]
    disabled: bool
    created: str

    def as_principal(self) -> Principal:
        """The principal that policies see of the person, whether or not they are disabled."""
        return Principal(self.id, self.name, self.groups, self.clearance, self.roles)


class PeopleStore:
    """People in `people.db`, made or brought to its newest form here.

    Several processes may use the file at once; what one commits the next request of another sees, and `changes` tells that
    something was. Raises
    DataDirectoryError where the file cannot be used, DataDirectoryBusy where another process holds it too long.
    """

    def __init__(self, path: Path) -> None:
        self.engine = open_database(path, Path(__file__).parent / "people_migrations")
        self.changes = Changes(path)

    def check_new(self, id: str, name: str, groups: Iterable[str]) -> None:
        """Raises UsageError where `add` would refuse: an id that is taken, reserved or malformed, a name or group that is
        empty, longer than 200 characters, or holds what does not show (control characters among it)."""
        _check(id, name, groups)
        if id in _RESERVED:
            raise UsageError(f"{id!r} is the product's own name", hint="Choose another id.")
        if self._row(id) is not None:
            raise _taken(id)

    def add(self, id: str, name: str, groups: Iterable[str], clearance: str, roles: Iterable[Role]) -> Person:
        """Adds a person. Raises UsageError as `check_new` does, and for a clearance or role that cannot be one; whether
        the clearance is one of the settings' levels is the caller's to check, and an unknown one reads nothing."""
        kept = frozenset(groups)
        self.check_new(id, name, kept)
        return self._insert(id, name, kept, clearance, roles)

    def add_local_owner(self, clearance: str) -> Person:
        """The person for whoever owns the data directory; `clearance` is the highest level. Does nothing if it is there.

        It has no role and no group: what it may do is the policy `local-owner` alone.
        """
        if self._row(LOCAL_OWNER_ID) is None:
            return self._insert(LOCAL_OWNER_ID, "Local owner", frozenset(), clearance, ())
        return self.show(LOCAL_OWNER_ID)

    def list(self) -> list[Person]:
        """Everyone, by id."""
        with reading(self.engine) as connection:
            return [person_of(row) for row in connection.execute(PERSON.select().order_by(PERSON.c.id))]

    def show(self, id: str) -> Person:
        """One person; raises NotFoundError."""
        row = self._row(id)
        if row is None:
            raise NotFoundError(f"there is no person {id!r}", hint="`inhouse people list` shows who is there.")
        return person_of(row)

    def disable(self, id: str) -> None:
        """From the next request on no credential of this person is accepted. Raises NotFoundError, and UsageError for the
        local owner, whose right ends where its policy is taken away."""
        if id == LOCAL_OWNER_ID:
            raise UsageError(
                "the local owner is not disabled",
                hint="Set access.policies to a copy of the policies without local-owner.cedar: then it may do nothing.",
            )
        self.show(id)
        with writing(self.engine) as connection:
            connection.execute(PERSON.update().where(PERSON.c.id == id).values(disabled=True))

    def principal(self, id: str) -> Principal:
        """The principal for a person; raises NotFoundError, or AuthenticationRequired for a disabled one."""
        person = self.show(id)
        if person.disabled:
            raise AuthenticationRequired(f"{id} is disabled", hint="Ask an administrator.")
        return person.as_principal()

    def close(self) -> None:
        """Closes the file."""
        self.changes.close()
        self.engine.dispose()

    def _insert(self, id: str, name: str, groups: frozenset[str], clearance: str, roles: Iterable[Role]) -> Person:
        row = new_row(id, name, groups, clearance, roles)
        try:
            with writing(self.engine) as connection:
                connection.execute(PERSON.insert().values(row))
        except IntegrityError:
            raise _taken(id) from None
        return self.show(id)

    def _row(self, id: str) -> Any:
        with reading(self.engine) as connection:
            return connection.execute(PERSON.select().where(PERSON.c.id == id)).first()


def person_of(row: Any) -> Person:
    """A person from a row of the table."""
    return Person(
        row.id,
        row.name,
        frozenset(json.loads(row.groups)),
        row.clearance,
        frozenset(Role(role) for role in json.loads(row.roles)),
        row.disabled,
        row.created,
    )


def new_row(id: str, name: str, groups: frozenset[str], clearance: str, roles: Iterable[Role]) -> dict[str, Any]:
    """The row of a new person; raises UsageError as `PeopleStore.add` does for what cannot be one."""
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"id": id, **rights_row(id, name, groups, clearance, roles), "disabled": False, "created": created}


def rights_row(id: str, name: str, groups: frozenset[str], clearance: str, roles: Iterable[Role]) -> dict[str, Any]:
    """The columns of a person's name and rights; raises UsageError as `PeopleStore.add` does."""
    _check(id, name, (*groups, clearance))
    try:
        known = sorted({Role(role).value for role in roles})
    except ValueError as error:
        raise UsageError(str(error), hint=f"One of: {', '.join(Role)}.") from None
    return {"name": name, "groups": json.dumps(sorted(groups)), "clearance": clearance, "roles": json.dumps(known)}


def _check(id: str, name: str, words: Iterable[str]) -> None:
    if not _ID.fullmatch(id):
        raise UsageError(
            f"{id!r} cannot be a person's id", hint="Up to 64 of a-z 0-9 . _ @ -, beginning with a letter or digit."
        )
    for word in (name, *words):
        # Two spellings of the same letters would be two groups that nobody can tell apart.
        plain = word.isprintable() and word == word.strip() and word == unicodedata.normalize("NFC", word)
        if not plain or not 0 < len(word) <= 200:
            raise UsageError(
                f"{word!r} cannot be a name", hint="1 to 200 printable characters in Unicode's NFC form, no space at the ends."
            )


def _taken(id: str) -> UsageError:
    return UsageError(f"there is a person {id!r} already", hint="`inhouse people show` shows it.")
