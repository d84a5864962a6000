"""Sessions of a browser: begun by a link, a key or a known person, dead at sign-out, expiry, disabling and revocation."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from policies.credentials import KeyStore
from policies.database import reading, writing
from policies.errors import AuthenticationRequired, UsageError
from policies.identity import LOCAL_OWNER_ID, Principal
from policies.people import PERSON, PeopleStore

LINK_PREFIX = "ihl_"
"""What the code of every one-time link begins with."""

_RANDOM_BYTES = 32
_LONGEST = 200
_METADATA = sa.MetaData()
_LINK = sa.Table(
    "sign_in_link",
    _METADATA,
    *(sa.Column(name, sa.Text, primary_key=name == "id") for name in ("id", "person", "secret_sha256", "created", "expires")),
    sa.Column("used", sa.Boolean),
)
_SESSION = sa.Table(
    "session",
    _METADATA,
    *(sa.Column(name, sa.Text, primary_key=name == "id") for name in ("id", "person", "secret_sha256", "created", "expires")),
    sa.Column("ended", sa.Boolean),
    sa.Column("api_key", sa.Text),
    sa.Column("provider_token", sa.Text),
)


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time link without its code; times are ISO 8601 in UTC."""

    id: str
    person: str
    expires: str


@dataclass(frozen=True, slots=True)
class Session:
    """A session without its secret. `api_key` is the key that it was begun with: it has that key's rights and ends with it."""

    id: str
    person: str
    expires: str
    api_key: str | None


class SessionStore:
    """Sessions beside the people in `people.db`. Secrets of 256 random bits are kept as SHA-256, as keys are."""

    def __init__(self, people: PeopleStore, keys: KeyStore) -> None:
        self._people = people
        self._keys = keys
        self._engine = people.engine

    def create_link(self, person: str, lifetime: datetime.timedelta) -> tuple[Link, str]:
        """A link for a person and its code, which is nowhere else. Raises NotFoundError, AuthenticationRequired for a
        disabled person, and UsageError for the local owner."""
        if person == LOCAL_OWNER_ID:
            raise UsageError("the local owner signs in nowhere", hint="Add a person: `inhouse people add`.")
        self._people.principal(person)
        code = LINK_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        row = {**_new(person, code, lifetime), "used": False}
        with writing(self._engine) as connection:
            connection.execute(_LINK.insert().values(row))
        return Link(row["id"], person, row["expires"]), code

    def begin(self, credential: str, lifetime: datetime.timedelta) -> tuple[Session, str]:
        """A session for the code of a link, which is used up by it, or for a key, with which it ends at the latest; and its
        secret, which is nowhere else.

        Raises AuthenticationRequired, the same for what is unknown, used, expired or revoked and for a disabled person.
        """
        if credential.startswith(LINK_PREFIX):
            return self._begin_by_link(credential, lifetime)
        key, principal = self._keys.identify(credential)
        left = datetime.datetime.fromisoformat(key.expires) - datetime.datetime.now(datetime.UTC)
        with writing(self._engine) as connection:
            return self._insert(connection, principal.id, min(lifetime, left), key.id)

    def begin_for(self, person: str, lifetime: datetime.timedelta, provider_token: str | None = None) -> tuple[Session, str]:
        """A session for a person whom another carrier has made known, and its secret. `provider_token` is what the identity
        provider knows its own session by, kept until this one ends. Raises AuthenticationRequired, the same for one who is not
        there or disabled, and for the local owner."""
        with writing(self._engine) as connection:
            row = connection.execute(PERSON.select().where(PERSON.c.id == person)).first()
            if row is None or row.disabled or person == LOCAL_OWNER_ID:
                raise _refused()
            return self._insert(connection, person, lifetime, None, provider_token)

    def authenticate(self, secret: str) -> tuple[Session, Principal]:
        """The session and the principal that it stands for, with the rights of now. Raises AuthenticationRequired."""
        digest = _digest(secret)
        with reading(self._engine) as connection:
            row = connection.execute(_SESSION.select().where(_SESSION.c.secret_sha256 == digest)).first()
        return self._standing(row)

    def principal(self, id: str) -> Principal:
        """The principal that a session stands for now, by the session's id; raises as `authenticate` does."""
        with reading(self._engine) as connection:
            row = connection.execute(_SESSION.select().where(_SESSION.c.id == id)).first()
        return self._standing(row)[1]

    def _standing(self, row: Any) -> tuple[Session, Principal]:
        if row is None or row.ended or _past(row.expires):
            raise _refused()
        session = Session(row.id, row.person, row.expires, row.api_key)
        try:
            if session.api_key is not None:
                return session, self._keys.principal(session.api_key)
            return session, self._people.principal(session.person)
        except AuthenticationRequired:
            raise _refused() from None

    def end(self, id: str) -> str | None:
        """From the next request on the session is refused. What the identity provider knows its own by, where there is one."""
        one = _SESSION.c.id == id
        with writing(self._engine) as connection:
            token: str | None = connection.execute(sa.select(_SESSION.c.provider_token).where(one)).scalar()
            connection.execute(_SESSION.update().where(one).values(ended=True, provider_token=None))
        return token

    def _begin_by_link(self, code: str, lifetime: datetime.timedelta) -> tuple[Session, str]:
        # Looked up and used up in one transaction: of two that come at once, one gets in.
        with writing(self._engine) as connection:
            row = connection.execute(_LINK.select().where(_LINK.c.secret_sha256 == _digest(code))).first()
            if row is None or row.used or _past(row.expires):
                raise _refused()
            person = connection.execute(PERSON.select().where(PERSON.c.id == row.person)).first()
            if person is None or person.disabled:
                raise _refused()
            connection.execute(_LINK.update().where(_LINK.c.id == row.id).values(used=True))
            return self._insert(connection, row.person, lifetime, None)

    @staticmethod
    def _insert(
        connection: sa.Connection,
        person: str,
        lifetime: datetime.timedelta,
        api_key: str | None,
        provider_token: str | None = None,
    ) -> tuple[Session, str]:
        secret = secrets.token_urlsafe(_RANDOM_BYTES)
        row = {**_new(person, secret, lifetime), "ended": False, "api_key": api_key, "provider_token": provider_token}
        connection.execute(_SESSION.insert().values(row))
        # Nobody signs out of a session that has expired: what its token says of somebody is kept no longer than it.
        over = (_SESSION.c.expires <= row["created"]) & _SESSION.c.provider_token.is_not(None)
        connection.execute(_SESSION.update().where(over).values(provider_token=None))
        return Session(row["id"], person, row["expires"], api_key), secret


def csrf_token(secret: str) -> str:
    """What a page of this session sends along with everything that changes something: it tells nothing of the secret, and
    no page of another site can know it."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def _new(person: str, secret: str, lifetime: datetime.timedelta) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "id": secrets.token_hex(6),
        "person": person,
        "secret_sha256": _digest(secret),
        "created": now.isoformat(timespec="seconds"),
        "expires": (now + lifetime).isoformat(timespec="seconds"),
    }


def _digest(secret: str) -> str:
    if not secret.isascii() or len(secret) > _LONGEST:
        raise _refused()
    return hashlib.sha256(secret.encode()).hexdigest()


def _past(expires: str) -> bool:
    return datetime.datetime.fromisoformat(expires) <= datetime.datetime.now(datetime.UTC)


def _refused() -> AuthenticationRequired:
    return AuthenticationRequired("this sign-in is not accepted", hint="Ask for a new link, or sign in with a key.")
