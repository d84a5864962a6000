"""What a request carries becomes a principal here and nowhere else."""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from policies.credentials import KeyRecord
from policies.errors import AuthenticationRequired, IdentityUnavailable, NotFoundError
from policies.identity import LOCAL_OWNER_ID, Credential, Principal
from policies.sessions import Session
from service.auth.proxy import ProxyRefused, ProxyRules, ProxySaid
from service.auth.tokens import TokenRefused, looks_like_token

_KEY_HINT = "Send an API key: `Authorization: Bearer ih_...`; an administrator makes one with `inhouse keys create`."
_SEVERAL = "several"


class Carrier(StrEnum):
    """In what a request can carry who is asking."""

    COMMAND_LINE = "command line"
    KEY = "key"
    PASSWORD = "password"  # noqa: S105 -- the word
    PROXY = "proxy"
    SESSION = "session"
    TOKEN = "token"  # noqa: S105 -- the word


API = frozenset({Carrier.KEY, Carrier.TOKEN, Carrier.PROXY})
"""What opens a route of the API. No cookie: another site's page could have it sent."""

DOCS = API | {Carrier.PASSWORD}
"""What opens the pages that a browser opens by itself: the key may come as the password of its own dialogue."""

PAGES = frozenset({Carrier.SESSION})
"""What opens a page."""

PROXY = frozenset({Carrier.PROXY})
"""What a session is begun with where a proxy knows the person."""

COMMAND_LINE = frozenset({Carrier.COMMAND_LINE})
"""What runs an operation."""


@dataclass(frozen=True, slots=True)
class Carried:
    """All that a request carries of who is asking. `owner` says that it came through the door that only the owner of the
    data directory has, and `as_person` whom they act as."""

    authorization: str | None = None
    cookies: Sequence[str] = ()
    proxy: ProxySaid | None = None
    peer: str | None = None
    owner: bool = False
    as_person: str | None = None


@dataclass(frozen=True, slots=True)
class Recognised:
    """Who is asking, by what; `session` is there for that carrier. The principal's credentials are all that came along."""

    principal: Principal
    carrier: Carrier
    session: Session | None = None


class People(Protocol):
    """What knows the people."""

    def principal(self, id: str) -> Principal:
        """The principal of a person; raises NotFoundError, AuthenticationRequired for a disabled one."""


class Keys(Protocol):
    """What knows the keys."""

    def identify(self, secret: str) -> tuple[KeyRecord, Principal]:
        """The key of a secret and its principal; raises AuthenticationRequired."""

    def principal(self, id: str) -> Principal:
        """The same by the key's id, as it stands now."""


class Sessions(Protocol):
    """What knows who is signed in."""

    def authenticate(self, secret: str) -> tuple[Session, Principal]:
        """The session of a secret and its principal; raises AuthenticationRequired."""

    def principal(self, id: str) -> Principal:
        """The same by the session's id, as it stands now."""


class Carriers:
    """Recognises people by whatever carries them. `token` makes a principal of an access token, says when in Unix seconds that
    ends, and raises TokenRefused; it and `proxy` are None where the settings have them off, and then neither is looked at.
    `refused` is told the carrier and the reason of what was refused, and where it came from."""

    def __init__(
        self,
        people: People,
        keys: Keys,
        sessions: Sessions,
        *,
        token: Callable[[str], tuple[Principal, float]] | None = None,
        proxy: ProxyRules | None = None,
        refused: Callable[[str, str, str | None], object] = lambda carrier, reason, peer: None,
    ) -> None:
        self._people = people
        self._keys = keys
        self._sessions = sessions
        self._token = token
        self._proxy = proxy
        self.refused = refused

    def recognise(self, carried: Carried, accepted: Collection[Carrier]) -> Recognised:
        """Who is asking. Every carrier that came along is looked at, also those that do not open this route: each must be
        good, and all must mean the same person with the same rights.

        Raises AuthenticationRequired, in the same words for an unknown, expired or revoked credential and a disabled
        person; and where nothing came along that is `accepted`.
        """
        found = list(self._each(carried, accepted))
        chosen = next((one for one in found if one.carrier in accepted), None)
        if chosen is None:
            raise _nothing(accepted)
        if any(one.principal != chosen.principal for one in found):
            self.refused(_SEVERAL, "they do not mean the same person with the same rights", carried.peer)
            raise AuthenticationRequired("this request says in two ways who is asking", hint="Send one of them.")
        together = tuple(credential for one in found for credential in one.principal.credentials)
        return replace(chosen, principal=replace(chosen.principal, credentials=together))

    def look_again(self, principal: Principal, now: float) -> None:
        """Raises AuthenticationRequired unless all that the principal's request carried would still be accepted at that time.
        Whether the person is disabled is the caller's to ask."""
        if principal.is_past(now):
            raise _ended()
        for one in principal.credentials:
            if one.carrier in (Carrier.KEY, Carrier.PASSWORD):
                self._keys.principal(one.id)
            elif one.carrier == Carrier.SESSION:
                self._sessions.principal(one.id)

    def _each(self, carried: Carried, accepted: Collection[Carrier]) -> Iterator[Recognised]:
        if carried.owner:
            yield _known(self._people.principal(carried.as_person or LOCAL_OWNER_ID), Carrier.COMMAND_LINE)
        if self._proxy is not None and carried.proxy is not None:
            yield _known(self._by_proxy(self._proxy, carried.proxy), Carrier.PROXY)
        scheme, _, credential = (carried.authorization or "").partition(" ")
        if scheme.lower() == "bearer" and credential.strip():
            yield self._by_bearer(credential.strip(), carried.peer)
        # A browser sends what it was told for one page to all the others: elsewhere it says nothing.
        if scheme.lower() == "basic" and Carrier.PASSWORD in accepted and (password := _password(credential)):
            yield self._by_key(password, Carrier.PASSWORD)
        if len(carried.cookies) > 1:
            # One of them may have been put there by somebody else.
            raise _nothing(PAGES)
        for secret in carried.cookies:
            session, principal = self._sessions.authenticate(secret)
            known = _known(principal, Carrier.SESSION, session.id, _seconds(session.expires))
            yield replace(known, session=session)

    def _by_key(self, secret: str, carrier: Carrier) -> Recognised:
        key, principal = self._keys.identify(secret)
        return _known(principal, carrier, key.id, _seconds(key.expires))

    def _by_bearer(self, credential: str, peer: str | None) -> Recognised:
        if self._token is None or not looks_like_token(credential):
            return self._by_key(credential, Carrier.KEY)
        try:
            principal, expires = self._token(credential)
            return _known(principal, Carrier.TOKEN, expires=expires)
        except TokenRefused as refusal:
            self.refused(Carrier.TOKEN, refusal.reason, peer)
            raise AuthenticationRequired(
                "this token is not accepted", hint="Get a new one; the audit log says to auditors what was wrong with it."
            ) from None
        except IdentityUnavailable as away:
            # What it says names machines inside.
            self.refused(Carrier.TOKEN, away.message, peer)
            raise IdentityUnavailable("tokens cannot be checked now", hint="Try again in a minute.") from None

    def _by_proxy(self, rules: ProxyRules, said: ProxySaid) -> Principal:
        try:
            person = rules.person(said)
            if person == LOCAL_OWNER_ID:
                raise ProxyRefused("the person is the product's own")
            return self._people.principal(person)
        except ProxyRefused as refusal:
            self.refused(Carrier.PROXY, refusal.reason, said.peer)
        except (NotFoundError, AuthenticationRequired):
            self.refused(Carrier.PROXY, "there is no such person, or they are disabled", said.peer)
        raise AuthenticationRequired("the word of this proxy is not accepted", hint="See the audit log.")


def _known(principal: Principal, carrier: Carrier, id: str = "", expires: float | None = None) -> Recognised:
    return Recognised(replace(principal, credentials=(Credential(carrier, id, expires),)), carrier)


def _seconds(time: str) -> float:
    return datetime.datetime.fromisoformat(time).timestamp()


def _password(credential: str) -> str | None:
    try:
        _, colon, password = base64.b64decode(credential.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password if colon else None


def _ended() -> AuthenticationRequired:
    return AuthenticationRequired("what this request came with has ended", hint="Sign in again, or send a new key or token.")


def _nothing(accepted: Collection[Carrier]) -> AuthenticationRequired:
    if Carrier.SESSION in accepted:
        return AuthenticationRequired("this needs a sign-in", hint="Open the link that you were given, or use a key.")
    return AuthenticationRequired("this needs a key", hint=_KEY_HINT)
