"""The one function that turns what a request carries into a principal."""

from __future__ import annotations

import base64
import binascii
from typing import Protocol

from policies.errors import AuthenticationRequired
from policies.identity import Principal

_HINT = "Send an API key: `Authorization: Bearer ih_...`; an administrator makes one with `inhouse keys create`."


class Authenticator(Protocol):
    """What knows the keys."""

    def authenticate(self, secret: str) -> Principal:
        """The principal of a key; raises AuthenticationRequired."""


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
