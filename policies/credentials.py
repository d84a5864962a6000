"""API keys: 256 random bits, shown once, stored as a hash, dead at expiry, revocation or disabling."""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from policies.database import reading, writing
from policies.errors import AuthenticationRequired, NotFoundError, UsageError
from policies.identity import EVERYONE, LOCAL_OWNER_ID, Principal, Role
from policies.people import PERSON, PeopleStore, Person, person_of

PREFIX = "ih_"
"""What every key begins with, so that a key in the wrong place can be found."""

_RANDOM_BYTES = 32
_LONGEST = 200
_METADATA = sa.MetaData()
API_KEY = sa.Table(
    "api_key",
    _METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("person", sa.Text),
    sa.Column("secret_sha256", sa.Text),
    sa.Column("created", sa.Text),
    sa.Column("expires", sa.Text),
    sa.Column("revoked", sa.Boolean),
    sa.Column("groups", sa.Text),
    sa.Column("clearance", sa.Text),
    sa.Column("roles", sa.Text),
)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key without its secret; times are ISO 8601 in UTC. A right that is None is whatever the owner's is at the time."""

    id: str
    person: str
    created: str
    expires: str
    revoked: bool
    groups: frozenset[str] | None = None
    clearance: str | None = None
    roles: frozenset[Role] | None = None


class KeyStore:
    """The keys beside the people in `people.db`. `classifications`, lowest first, are needed for keys with a clearance of
    their own.

    A plain SHA-256 is enough for a secret of 256 random bits, and a slow hash on each request would be a denial of
    service. The look-up by hash leaks nothing by its timing that helps to find a preimage.
    """

    def __init__(self, people: PeopleStore, classifications: Sequence[str] = ()) -> None:
        self._people = people
        self._engine = people.engine
        self._ranks = {name: rank for rank, name in enumerate(classifications)}

    def create(
        self,
        person: str,
        expires: datetime.datetime,
        *,
        groups: Iterable[str] | None = None,
        clearance: str | None = None,
        roles: Iterable[Role] | None = None,
    ) -> tuple[KeyRecord, str]:
        """A key for a person and its secret, which is nowhere else. What is given of groups, clearance and roles limits
        the key to that; `everyone` stays in any case.

        Raises NotFoundError; UsageError for the local owner, for a disabled person, for more rights than the person has
        now, and for an expiry that is past or has no time zone.
        """
        now = datetime.datetime.now(datetime.UTC)
        if person == LOCAL_OWNER_ID:
            raise UsageError("the local owner has no keys", hint="Add a person: `inhouse people add`.")
        if expires.tzinfo is None or expires <= now:
            raise UsageError("a key must expire in the future", hint="Give a time with its zone.")
        limits = (
            None if groups is None else frozenset(groups) - {EVERYONE},
            clearance,
            None if roles is None else _roles(roles),
        )
        secret = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        values = {
            "id": secrets.token_hex(6),
            "person": person,
            "secret_sha256": _hash(secret),
            "created": now.isoformat(timespec="seconds"),
            "expires": expires.astimezone(datetime.UTC).isoformat(timespec="seconds"),
            "revoked": False,
            "groups": _stored(limits[0]),
            "clearance": clearance,
            "roles": _stored(limits[2]),
        }
        # The person's rights are looked at in the transaction that makes the key: nobody can be disabled in between.
        with writing(self._engine) as connection:
            row = connection.execute(PERSON.select().where(PERSON.c.id == person)).first()
            if row is None:
                raise NotFoundError(f"there is no person {person!r}", hint="`inhouse people list` shows who is there.")
            self._check_limits(person_of(row), *limits)
            connection.execute(API_KEY.insert().values(values))
            made = connection.execute(API_KEY.select().where(API_KEY.c.id == values["id"])).one()
        return _record(made), secret

    def list(self) -> list[KeyRecord]:
        """Every key, oldest first, revoked ones too."""
        oldest_first: tuple[Any, ...] = (API_KEY.c.created, sa.literal_column("rowid"))
        with reading(self._engine) as connection:
            return [_record(row) for row in connection.execute(API_KEY.select().order_by(*oldest_first))]

    def show(self, id: str) -> KeyRecord:
        """One key; raises NotFoundError."""
        with reading(self._engine) as connection:
            row = connection.execute(API_KEY.select().where(API_KEY.c.id == id)).first()
        if row is None:
            raise NotFoundError(f"there is no key {id!r}", hint="`inhouse keys list` shows them.")
        return _record(row)

    def revoke(self, id: str) -> None:
        """The key is refused from the next request on. Raises NotFoundError."""
        self.show(id)
        with writing(self._engine) as connection:
            connection.execute(API_KEY.update().where(API_KEY.c.id == id).values(revoked=True))

    def authenticate(self, secret: str) -> Principal:
        """The principal that the key stands for: its owner with the rights of now, less what the key leaves out. Raises
        AuthenticationRequired, the same for an unknown, expired or revoked key and for a disabled person."""
        return self.identify(secret)[1]

    def identify(self, secret: str) -> tuple[KeyRecord, Principal]:
        """The key and the principal that it stands for; raises as `authenticate` does."""
        if not secret.startswith(PREFIX) or not secret.isascii() or len(secret) > _LONGEST:
            raise _refused()
        digest = _hash(secret)
        with reading(self._engine) as connection:
            found = connection.execute(API_KEY.select().where(API_KEY.c.secret_sha256 == digest)).first()
            if found is None or not secrets.compare_digest(found.secret_sha256, digest):
                raise _refused()
            key = _record(found)
            return key, self._principal(connection, key)

    def principal(self, id: str) -> Principal:
        """The principal that a key stands for now, by the key's id; raises as `authenticate` does."""
        with reading(self._engine) as connection:
            found = connection.execute(API_KEY.select().where(API_KEY.c.id == id)).first()
            if found is None:
                raise _refused()
            return self._principal(connection, _record(found))

    def _principal(self, connection: sa.Connection, key: KeyRecord) -> Principal:
        owner = connection.execute(PERSON.select().where(PERSON.c.id == key.person)).first()
        expired = datetime.datetime.fromisoformat(key.expires) <= datetime.datetime.now(datetime.UTC)
        if key.revoked or expired or owner is None or owner.disabled or owner.id == LOCAL_OWNER_ID:
            raise _refused()
        person = person_of(owner)
        clearance = person.clearance
        if key.clearance is not None:
            if not {key.clearance, clearance} <= self._ranks.keys():
                raise _refused()
            clearance = min(key.clearance, clearance, key=self._ranks.__getitem__)
        groups = person.groups if key.groups is None else person.groups & key.groups
        roles = person.roles if key.roles is None else person.roles & key.roles
        return Principal(person.id, person.name, groups, clearance, roles)

    def _check_limits(
        self, person: Person, groups: frozenset[str] | None, clearance: str | None, roles: frozenset[Role] | None
    ) -> None:
        if person.disabled:
            raise UsageError(f"{person.id} is disabled", hint="A disabled person's keys are all refused.")
        if clearance is not None and clearance not in self._ranks:
            raise UsageError(f"there is no clearance {clearance!r}", hint=f"One of: {', '.join(self._ranks)}.")
        more = sorted((groups or frozenset()) - person.groups) + sorted((roles or frozenset()) - person.roles)
        if clearance is not None and self._ranks[clearance] > self._ranks.get(person.clearance, -1):
            more.append(clearance)
        if more:
            raise UsageError(
                f"{person.id} has not: {', '.join(more)}", hint="A key has fewer rights than its owner, never more."
            )


def _refused() -> AuthenticationRequired:
    return AuthenticationRequired("this key is not accepted", hint="Ask an administrator for a new one.")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _roles(names: Iterable[str]) -> frozenset[Role]:
    try:
        return frozenset(Role(name) for name in names)
    except ValueError as error:
        raise UsageError(str(error), hint=f"One of: {', '.join(Role)}.") from None


def _stored(names: Iterable[str] | None) -> str | None:
    return None if names is None else json.dumps(sorted(names))


def _record(row: Any) -> KeyRecord:
    return KeyRecord(
        row.id,
        row.person,
        row.created,
        row.expires,
        row.revoked,
        None if row.groups is None else frozenset(json.loads(row.groups)),
        row.clearance,
        None if row.roles is None else frozenset(Role(name) for name in json.loads(row.roles)),
    )
