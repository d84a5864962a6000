"""What a request carries becomes a principal here and nowhere else."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Protocol

from policies.errors import AuthenticationRequired
from policies.identity import Principal
from policies.sessions import Session

_HINT = "Send an API key: `Authorization: Bearer ih_...`; an administrator makes one with `inhouse keys create`."


class Authenticator(Protocol):
    """What knows the keys."""

    def authenticate(self, secret: str) -> Principal:
        """The principal of a key; raises AuthenticationRequired."""


class Sessions(Protocol):
    """What knows who is signed in."""

    def authenticate(self, secret: str) -> tuple[Session, Principal]:
        """The session of a secret and its principal; raises AuthenticationRequired."""


def visitor_of(cookies: Sequence[str], sessions: Sessions) -> tuple[Session, Principal]:
    """The session and principal that a browser's session cookie stands for. Raises AuthenticationRequired where there is
    none, or several of that name: one may have been put there by somebody else."""
    if len(cookies) != 1:
        raise AuthenticationRequired("this needs a sign-in", hint="Open the link that you were given, or use a key.")
    return sessions.authenticate(cookies[0])


def principal_of(authorization: str | None, keys: Authenticator, *, basic: bool = False) -> Principal:
    """The principal that an Authorization header stands for: `Bearer KEY`; and, where `basic` says that a browser's own
    dialogue is meant, `Basic` with the key as password under any name.

    Raises AuthenticationRequired for everything else, in the same words for an unknown, expired or revoked key.
    """
    scheme, _, credential = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and credential.strip():
        return keys.authenticate(credential.strip())
    if basic and scheme.lower() == "basic":
        try:
            _, colon, password = base64.b64decode(credential.strip(), validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon, password = "", ""
        if colon:
            return keys.authenticate(password)
    raise AuthenticationRequired("this needs a key", hint=_HINT)
