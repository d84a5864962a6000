"""What the identity provider's claims mean here: which person, and which name, groups, clearance and roles they have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from policies.audit.events import EventTag
from policies.errors import AuthenticationRequired, NotFoundError, UsageError
from policies.identity import LOCAL_OWNER_ID, SYSTEM_ID, Principal, Role
from policies.people import rights_row
from service.auth.tokens import TokenRefused

if TYPE_CHECKING:
    from policies.people import PeopleStore, Person
    from policies.provider_accounts import Account, ProviderAccounts
    from service.settings_groups import OidcSettings

Record = Callable[[EventTag, str, Mapping[str, Any]], object]


@dataclass(frozen=True, slots=True)
class Told:
    """What the claims say; None for what the settings leave to the person's own row."""

    subject: str
    person: str
    issued: int
    name: str | None
    groups: frozenset[str] | None
    clearance: str | None
    roles: frozenset[Role] | None


class ProviderPeople:
    """Finds the person of an account. The row in `people.db` is what every carrier goes by; a token that is newer than those
    before it brings the row up to date with what the settings map, so that a group that the provider took away is gone for
    keys and sessions too. `levels` are the classifications, lowest first; `record` writes to the log."""

    def __init__(
        self,
        settings: OidcSettings,
        people: PeopleStore,
        accounts: ProviderAccounts,
        levels: Sequence[str],
        record: Record,
    ) -> None:
        self._settings = settings
        self._people = people
        self._accounts = accounts
        self._levels = levels
        self._record = record
        self._binding = threading.Lock()

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """The principal that verified claims stand for. Raises TokenRefused where there is no enabled person for them, and
        none may be made."""
        told = told_by(claims, self._settings, self._levels)
        issuer = str(self._settings.issuer)
        account = self._accounts.find(issuer, told.subject)
        if account is None:
            with self._binding:
                account = self._accounts.find(issuer, told.subject) or self._bound(issuer, told)
        person = self._people.show(account.person)
        if person.disabled:
            raise TokenRefused("the person is disabled")
        if told.issued > account.told:
            self._heed(account, person, told)
        try:
            return self._people.principal(account.person)
        except AuthenticationRequired:
            raise TokenRefused("the person is disabled") from None

    def _bound(self, issuer: str, told: Told) -> Account:
        if told.person in (LOCAL_OWNER_ID, SYSTEM_ID):
            raise TokenRefused("the person is the product's own")
        try:
            person = self._people.show(told.person)
        except NotFoundError:
            person = self._made(told)
        if person.disabled:
            raise TokenRefused("the person is disabled")
        if self._accounts.is_bound(issuer, person.id):
            raise TokenRefused("another account stands for the person")
        payload = {"person": person.id, "issuer": issuer, "subject": told.subject}
        self._record(EventTag.PERSON_BOUND, SYSTEM_ID, payload)
        try:
            return self._accounts.bind(issuer, told.subject, person.id)
        except AuthenticationRequired:
            raise TokenRefused("another account stands for the person") from None

    def _made(self, told: Told) -> Person:
        if not self._settings.create_people:
            raise TokenRefused("there is no such person")
        name, groups = told.name or told.person, told.groups or frozenset()
        clearance, roles = told.clearance or self._levels[0], told.roles or frozenset({Role.USER})
        try:
            self._people.check_new(told.person, name, groups)
            rights = {"groups": sorted(groups), "clearance": clearance, "roles": sorted(roles)}
            self._record(EventTag.PERSON_ADDED, SYSTEM_ID, {"person": told.person, **rights})
            return self._people.add(told.person, name, groups, clearance, roles)
        except UsageError:
            raise TokenRefused("the claims cannot be a person") from None

    def _heed(self, account: Account, person: Person, told: Told) -> None:
        wanted: dict[str, Any] = {
            "name": told.name or person.name,
            "groups": person.groups if told.groups is None else told.groups,
            "clearance": told.clearance or person.clearance,
            "roles": person.roles if told.roles is None else told.roles,
        }
        was = [f"{name}: {_shown(getattr(person, name))}" for name, value in wanted.items() if getattr(person, name) != value]
        try:
            row = rights_row(person.id, **wanted) if was else {}
        except UsageError:
            raise TokenRefused("the claims cannot be a person") from None
        shown = {**wanted, "groups": sorted(wanted["groups"]), "roles": sorted(wanted["roles"])}

        def record() -> None:
            self._record(EventTag.PERSON_CHANGED, SYSTEM_ID, {"person": person.id, **shown, "was": was})

        self._accounts.heed(account, told.issued, row, record)


def told_by(claims: Mapping[str, Any], settings: OidcSettings, levels: Sequence[str]) -> Told:
    """What verified claims say of a person, by the mapping in the settings. A claim that is mapped and missing says: none.
    Raises TokenRefused where they name no person."""
    person = claim(claims, settings.person_claim)
    if not isinstance(person, str) or not person:
        raise TokenRefused("it names no person")
    if settings.person_claim == "email" and claims.get("email_verified") is not True:
        raise TokenRefused("its e-mail address is not verified")
    name = claim(claims, settings.name_claim)
    groups = clearance = roles = None
    if settings.groups_claim is not None:
        said = _words(claims, settings.groups_claim)
        groups = frozenset(settings.groups[one] for one in said if one in settings.groups) if settings.groups else said
    if settings.clearance_claim is not None:
        found = [settings.clearances[one] for one in _words(claims, settings.clearance_claim) if one in settings.clearances]
        clearance = max(found, key=levels.index, default=levels[0])
    if settings.roles_claim is not None:
        roles = frozenset(settings.roles[one] for one in _words(claims, settings.roles_claim) if one in settings.roles)
    shown = name if isinstance(name, str) and name.strip() else None
    return Told(str(claims["sub"]), person.lower(), int(claims["iat"]), shown, groups, clearance, roles)


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by the way to one within another (`realm_access.roles`); None where it is missing."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _words(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """The words of a claim that is a list of them, or one."""
    said = claim(claims, name)
    return frozenset(one for one in (said if isinstance(said, list) else [said]) if isinstance(one, str))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(sorted(value))
