"""API keys: 256 random bits, shown once, stored as a hash, dead at expiry, revocation or disabling."""

from __future__ import annotations

import datetime
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from policies.errors import AuthenticationRequired, NotFoundError, UsageError
from policies.identity import LOCAL_OWNER_ID, Principal
from policies.people import PeopleStore

PREFIX = "ih_"
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
)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key without its secret; times are ISO 8601 in UTC."""

    id: str
    person: str
    created: str
    expires: str
    revoked: bool


class KeyStore:
    """The keys beside the people in `people.db`.

    A plain SHA-256 is enough for a secret of 256 random bits, and a slow hash on each request would be a denial of
    service. The look-up by hash leaks nothing by its timing that helps to find a preimage.
    """

    def __init__(self, people: PeopleStore) -> None:
        self._people = people
        self._engine = people.engine

    def create(self, person: str, expires: datetime.datetime) -> tuple[KeyRecord, str]:
        """A key for a person and its secret. Raises NotFoundError; UsageError for the local owner, for a disabled
        person, or an expiry that is past or has no time zone."""
        found = self._people.show(person)
        if person == LOCAL_OWNER_ID:
            raise UsageError("the local owner has no keys", hint="Add a person: `inhouse people add`.")
        if found.disabled:
            raise UsageError(f"{person} is disabled")
        now = datetime.datetime.now(datetime.UTC)
        if expires.tzinfo is None or expires <= now:
            raise UsageError("a key must expire in the future")
        secret = PREFIX + secrets.token_urlsafe(32)
        values = {
            "id": secrets.token_hex(6),
            "person": person,
            "secret_sha256": _hash(secret),
            "created": now.isoformat(timespec="seconds"),
            "expires": expires.astimezone(datetime.UTC).isoformat(timespec="seconds"),
            "revoked": False,
        }
        with self._engine.begin() as connection:
            connection.execute(API_KEY.insert().values(values))
        return KeyRecord(values["id"], person, values["created"], values["expires"], False), secret  # type: ignore[arg-type]

    def list(self) -> list[KeyRecord]:
        """Every key, oldest first, revoked ones too."""
        with self._engine.connect().execution_options(reading=True) as connection:
            return [_record(row) for row in connection.execute(API_KEY.select().order_by(API_KEY.c.created))]

    def revoke(self, id: str) -> None:
        """The key is refused from the next request on. Raises NotFoundError."""
        with self._engine.begin() as connection:
            if not connection.execute(API_KEY.update().where(API_KEY.c.id == id).values(revoked=True)).rowcount:
                raise NotFoundError(f"there is no key {id!r}", hint="`inhouse keys list` shows them.")

    def authenticate(self, secret: str) -> Principal:
        """The principal that the key stands for. Raises AuthenticationRequired, the same for an unknown, expired or
        revoked key and for a disabled person."""
        refused = AuthenticationRequired("this key is not accepted", hint="Ask an administrator for a new one.")
        if not secret.startswith(PREFIX) or not secret.isascii() or len(secret) > 200:
            raise refused
        with self._engine.connect().execution_options(reading=True) as connection:
            row = connection.execute(API_KEY.select().where(API_KEY.c.secret_sha256 == _hash(secret))).first()
        now = datetime.datetime.now(datetime.UTC)
        if row is None or row.revoked or datetime.datetime.fromisoformat(row.expires) <= now:
            raise refused
        try:
            return self._people.principal(row.person)
        except (AuthenticationRequired, NotFoundError):
            raise refused from None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _record(row: Any) -> KeyRecord:
    return KeyRecord(row.id, row.person, row.created, row.expires, row.revoked)
