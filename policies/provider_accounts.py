"""Whom the accounts of an identity provider stand for: bound at the first sign-in, so that a name given to another account
later opens nothing."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from policies.database import reading, writing
from policies.errors import AuthenticationRequired
from policies.people import PERSON, PeopleStore

_METADATA = sa.MetaData()
_ACCOUNT = sa.Table(
    "provider_account",
    _METADATA,
    *(sa.Column(name, sa.Text, primary_key=name != "person") for name in ("issuer", "subject", "person")),
    sa.Column("bound", sa.Text),
    sa.Column("told", sa.Integer),
)


@dataclass(frozen=True, slots=True)
class Account:
    """An account of a provider and its person; `told` is when the newest token that was heeded was made, in Unix seconds."""

    issuer: str
    subject: str
    person: str
    told: int


class ProviderAccounts:
    """Accounts beside the people in `people.db`: an account stands for one person, a person for one account of an issuer."""

    def __init__(self, people: PeopleStore) -> None:
        self._engine = people.engine

    def find(self, issuer: str, subject: str) -> Account | None:
        """The account, where it is bound."""
        with reading(self._engine) as connection:
            wanted = (_ACCOUNT.c.issuer == issuer) & (_ACCOUNT.c.subject == subject)
            row = connection.execute(_ACCOUNT.select().where(wanted)).first()
        return None if row is None else Account(row.issuer, row.subject, row.person, row.told)

    def is_bound(self, issuer: str, person: str) -> bool:
        """Whether some account of the issuer stands for the person."""
        with reading(self._engine) as connection:
            wanted = (_ACCOUNT.c.issuer == issuer) & (_ACCOUNT.c.person == person)
            return connection.execute(_ACCOUNT.select().where(wanted)).first() is not None

    def bind(self, issuer: str, subject: str, person: str) -> Account:
        """Lets the account stand for the person from now on. Raises AuthenticationRequired where either stands for another,
        of two that come at once for the second."""
        bound = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        row = {"issuer": issuer, "subject": subject, "person": person, "bound": bound, "told": 0}
        try:
            with writing(self._engine) as connection:
                connection.execute(_ACCOUNT.insert().values(row))
        except IntegrityError:
            raise AuthenticationRequired("this account is not accepted", hint="Ask an administrator.") from None
        return Account(issuer, subject, person, 0)

    def heed(self, account: Account, told: int, rights: Mapping[str, Any], record: Callable[[], object]) -> None:
        """Gives the person what a token that was made at `told` says (columns of `people.rights_row`; none: nothing changes),
        unless one as new was heeded: an old token brings back no right. `record` is called before it holds, and what it
        raises leaves all as it was."""
        with writing(self._engine) as connection:
            wanted = (_ACCOUNT.c.issuer == account.issuer) & (_ACCOUNT.c.subject == account.subject)
            done = connection.execute(_ACCOUNT.update().where(wanted & (_ACCOUNT.c.told < told)).values(told=told))
            if rights and done.rowcount == 1:
                record()
                connection.execute(PERSON.update().where(PERSON.c.id == account.person).values(rights))

    def release(self, person: str) -> None:
        """No account stands for the person any more; the next one that signs in under that id is bound."""
        with writing(self._engine) as connection:
            connection.execute(_ACCOUNT.delete().where(_ACCOUNT.c.person == person))
