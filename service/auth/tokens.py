"""Tokens of the identity provider: whose signature they have, for whom they are meant, and when."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.auth.provider import Provider, PublicKey
    from service.settings_groups import OidcSettings

_LONGEST = 32_768
_REFUSED_HEADERS = ("b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip")
"""What brings or names a key, or changes how the rest is read."""

_ACCESS_TYPES = {"at+jwt", "application/at+jwt", "jwt", "application/jwt", None}
_IDENTITY_TYPES = {"jwt", "application/jwt", "id_token+jwt", None}
_OF_IDENTITY = ("at_hash", "c_hash", "nonce")
_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class TokenRefused(Exception):
    """Why a token is not accepted, in words of a closed list: for the log, and not for who sent it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TokenChecker:
    """Checks tokens against what the settings pin: issuer, audience, algorithms, and the provider's own keys alone. `now` is
    the time in Unix seconds."""

    def __init__(self, settings: OidcSettings, provider: Provider, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._provider = provider
        self._now = now

    def access(self, token: str) -> Mapping[str, Any]:
        """The claims of an access token for the API. Raises TokenRefused, for an ID token too, and IdentityUnavailable."""
        if self._settings.audience is None:
            raise TokenRefused("access tokens are not switched on")
        claims = self._verified(token, self._settings.audience, _ACCESS_TYPES)
        if any(name in claims for name in _OF_IDENTITY) or claims.get("typ", "Bearer") != "Bearer":
            raise TokenRefused("it is not an access token")
        return claims

    def end(self, claims: Mapping[str, Any]) -> float:
        """Until when, in Unix seconds, a token with these checked claims is accepted."""
        return float(claims["exp"]) + self._settings.clock_skew_seconds

    def identity(self, token: str, nonce: str) -> Mapping[str, Any]:
        """The claims of an ID token for the pages, of the flow that has this nonce. Raises the same."""
        client = str(self._settings.client_id)
        claims = self._verified(token, client, _IDENTITY_TYPES)
        if claims.get("typ", "ID") != "ID":
            raise TokenRefused("it is not an ID token")
        if claims.get("azp", client) != client or (isinstance(claims["aud"], list) and set(claims["aud"]) != {client}):
            raise TokenRefused("it is for another client too")
        said = claims.get("nonce")
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
            raise TokenRefused("wrong nonce")
        return claims

    def _verified(self, token: str, audience: str, types: set[str | None]) -> Mapping[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jws import JWSRegistry

        header = _header(token)
        algorithm, kind = header.get("alg"), header.get("typ")
        if algorithm not in self._settings.algorithms:
            raise TokenRefused("algorithm not allowed")
        if any(name in header for name in _REFUSED_HEADERS):
            raise TokenRefused("its header brings a key or an extension")
        if (kind.lower() if isinstance(kind, str) else kind) not in types:
            raise TokenRefused("wrong type")
        key = self._key(header.get("kid"), str(algorithm))
        registry = JWSRegistry(algorithms=[str(algorithm)], strict_check_header=False)
        try:
            claims = jwt.decode(token, key.key, registry=registry).claims
        except (JoseError, ValueError, TypeError):
            raise TokenRefused("wrong signature") from None
        self._check_claims(claims, audience)
        return claims

    def _key(self, id: Any, algorithm: str) -> PublicKey:
        if id is not None and not isinstance(id, str):
            raise TokenRefused("unknown key")
        kind = _KINDS[algorithm[:2]]
        fitting = [one for one in self._provider.keys(id) if one.key.key_type == kind and one.algorithm in (None, algorithm)]
        # Without an id there must be no choice: a token may not have several keys tried on it.
        if len(fitting) != 1:
            raise TokenRefused("unknown key")
        return fitting[0]

    def _check_claims(self, claims: dict[str, Any], audience: str) -> None:
        from joserfc.errors import ExpiredTokenError, InvalidClaimError, MissingClaimError
        from joserfc.jwt import JWTClaimsRegistry

        asked = JWTClaimsRegistry(
            now=int(self._now()),
            leeway=self._settings.clock_skew_seconds,
            iss={"essential": True, "value": str(self._settings.issuer)},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            asked.validate(claims)
        except ExpiredTokenError:
            raise TokenRefused("expired") from None
        except MissingClaimError:
            raise TokenRefused("it lacks iss, aud, sub, exp or iat") from None
        except InvalidClaimError as error:
            raise TokenRefused(f"wrong {error.claim}") from None


def looks_like_token(credential: str) -> bool:
    """Whether a bearer's credential is in the form of a signed JWT."""
    return credential.count(".") == 2


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > _LONGEST or not token.isascii() or token.count(".") != 2:
        raise TokenRefused("no signed JWT")
    first = token.partition(".")[0]
    try:
        found = json.loads(base64.b64decode(first + "=" * (-len(first) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise TokenRefused("no signed JWT") from None
    if not isinstance(found, dict):
        raise TokenRefused("no signed JWT")
    return found
