"""The one-time secret with which the first administrator is made: nobody becomes one by coming first."""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from policies.database import reading, writing
from policies.errors import AuthenticationRequired
from policies.identity import LOCAL_OWNER_ID, Role
from policies.people import PERSON, PeopleStore, new_row

OFFER_PREFIX = "ihf_"
"""What every such secret begins with."""

_RANDOM_BYTES = 32
_LONGEST = 200
_METADATA = sa.MetaData()
_OFFER = sa.Table(
    "first_administrator",
    _METADATA,
    *(sa.Column(name, sa.Text, primary_key=name == "id") for name in ("id", "secret_sha256", "created", "expires")),
    sa.Column("used", sa.Boolean),
)


@dataclass(frozen=True, slots=True)
class Offer:
    """A secret's record without the secret; `expires` is ISO 8601 in UTC."""

    id: str
    expires: str


class FirstAdministrator:
    """Offers beside the people in `people.db`. A secret of 256 random bits is kept as SHA-256, as keys are."""

    def __init__(self, people: PeopleStore) -> None:
        self._people = people
        self._engine = people.engine

    def offer(self, lifetime: datetime.timedelta) -> tuple[Offer, str] | None:
        """A new secret, which is nowhere else and makes those before it void; None where there is an administrator."""
        now = datetime.datetime.now(datetime.UTC)
        secret = OFFER_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        row = {
            "id": secrets.token_hex(6),
            "secret_sha256": _digest(secret),
            "created": now.isoformat(timespec="seconds"),
            "expires": (now + lifetime).isoformat(timespec="seconds"),
            "used": False,
        }
        with writing(self._engine) as connection:
            if _administrators(connection):
                return None
            connection.execute(_OFFER.update().values(used=True))
            connection.execute(_OFFER.insert().values(row))
        return Offer(str(row["id"]), str(row["expires"])), secret

    def withdraw(self, offer: str) -> None:
        """The secret of this offer opens nothing from now on."""
        with writing(self._engine) as connection:
            connection.execute(_OFFER.update().where(_OFFER.c.id == offer).values(used=True))

    def is_open(self, secret: str) -> bool:
        """Whether the secret would make an administrator now."""
        with reading(self._engine) as connection:
            return _found(connection, secret) is not None and not _administrators(connection)

    def claim(self, secret: str, id: str, name: str, clearance: str) -> Offer:
        """Makes the administrator, with that role alone, and uses the secret up. Of several at once one succeeds.

        Raises AuthenticationRequired, the same for a secret that is unknown, used or expired and where there is an
        administrator; UsageError for an id or name that cannot be one, or is taken: then the secret stays good.
        """
        if not self.is_open(secret):
            raise _refused()
        self._people.check_new(id, name, ())
        row = new_row(id, name, frozenset(), clearance, (Role.ADMIN,))
        try:
            # Looked up and used up in the transaction that makes the person: of a hundred at once, one gets in.
            with writing(self._engine) as connection:
                found = _found(connection, secret)
                if found is None or _administrators(connection):
                    raise _refused()
                connection.execute(_OFFER.update().where(_OFFER.c.id == found.id).values(used=True))
                connection.execute(PERSON.insert().values(row))
        except IntegrityError:
            raise _refused() from None
        return found


def _found(connection: sa.Connection, secret: str) -> Offer | None:
    if not secret.startswith(OFFER_PREFIX) or not secret.isascii() or len(secret) > _LONGEST:
        return None
    row = connection.execute(_OFFER.select().where(_OFFER.c.secret_sha256 == _digest(secret))).first()
    now = datetime.datetime.now(datetime.UTC)
    if row is None or row.used or datetime.datetime.fromisoformat(row.expires) <= now:
        return None
    return Offer(row.id, row.expires)


def _administrators(connection: sa.Connection) -> bool:
    """Whether somebody administers; a disabled administrator does not, and the local owner is none."""
    rows = connection.execute(PERSON.select().where(~PERSON.c.disabled & (PERSON.c.id != LOCAL_OWNER_ID)))
    return any(Role.ADMIN in json.loads(row.roles) for row in rows)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _refused() -> AuthenticationRequired:
    return AuthenticationRequired(
        "this secret is not accepted", hint="`inhouse init` prints a new one while nobody is an administrator."
    )
