"""The identity provider that the settings name: what it says of itself, its keys, and the authorization code flow."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode, urlsplit

from policies.errors import IdentityUnavailable, SettingsError
from service.auth.provider_wire import ProviderWire

if TYPE_CHECKING:
    from joserfc.jwk import Key

    from service.settings_groups import OidcSettings

_DISCOVERY = "/.well-known/openid-configuration"
_KINDS = {"RSA", "EC", "OKP"}
_SHORTEST_RSA_BITS = 2048
_RANDOM_BYTES = 32
_WAIT_SECONDS = 2.0
_FAILED_SECONDS = 5.0
_LONGEST_HINT = 4096
"""Characters of an ID token that go into an address: servers take addresses of some 8,000, and without it a provider asks."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One way to the provider and back, known by a secret that the browser keeps: what goes over the provider is derived
    from it and tells nothing of it, so that what comes back is of this browser and of this flow."""

    secret: str

    @classmethod
    def begin(cls) -> Flow:
        """A new one, of 256 random bits."""
        return cls(secrets.token_urlsafe(_RANDOM_BYTES))

    @property
    def state(self) -> str:
        """What must come back with the code."""
        return self._derived("state")

    @property
    def nonce(self) -> str:
        """What the ID token must hold."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """What redeems the code, and whose hash alone the browser carries to the provider (RFC 7636)."""
        return self._derived("verifier")

    def _derived(self, what: str) -> str:
        return hmac.new(self.secret.encode(), what.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key of the provider: its id, the algorithm that it is for, where it says so, and itself."""

    id: str | None
    algorithm: str | None
    key: Key


class Provider:
    """Asks the provider over `wire`, seldom: what it says of itself and its keys are kept for `keys_minutes`, and a token
    that names an unknown key has the keys fetched once, not more often than each `key_pause_seconds`. Safe for threads.
    `clock` counts seconds and never goes back."""

    def __init__(self, settings: OidcSettings, wire: ProviderWire, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._wire = wire
        self._clock = clock
        self._lock = threading.Lock()
        self._said: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, Sequence[PublicKey]] | None = None
        self._asked: float | None = None
        self._failed: float | None = None

    def keys(self, id: str | None) -> Sequence[PublicKey]:
        """The keys of that id, or all where a token names none. Raises IdentityUnavailable where they are too old, and the
        provider does not answer: a key that was withdrawn must not live on."""
        found = self._kept(self._keys)
        if found is not None and (matching := _matching(found, id)):
            return matching
        # Not for long: a provider that hangs must not hold up everybody else's requests with the threads that wait for it.
        if not self._lock.acquire(timeout=_WAIT_SECONDS):
            raise _silent()
        try:
            # Whoever waited here may find what the one before them fetched.
            found = self._kept(self._keys)
            if found is not None and ((matching := _matching(found, id)) or not self._may_ask()):
                return matching
            if not self._may_ask():
                raise _silent()
            self._asked = self._clock()
            fetched = self._fetch_keys()
            self._keys = (self._clock(), fetched)
            return _matching(fetched, id)
        finally:
            self._lock.release()

    def authorization_url(self, flow: Flow, back: str) -> str:
        """Where the browser goes to sign in; `back` is where it is sent afterwards. Raises IdentityUnavailable."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code",
            "client_id": str(self._settings.client_id),
            "redirect_uri": back,
            "scope": " ".join(self._settings.scopes),
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return _page(str(self._metadata().get("authorization_endpoint")), query)

    def end_session_url(self, token: str, back: str) -> str | None:
        """Where the browser goes to sign out there too (OpenID Connect RP-Initiated Logout 1.0): `token` is the ID token that
        it signed in by, `back` where it is sent afterwards. None where the provider names no such page. Raises
        IdentityUnavailable."""
        where = self._metadata().get("end_session_endpoint")
        if where is None:
            return None
        query = {"client_id": str(self._settings.client_id), "post_logout_redirect_uri": back}
        if len(token) <= _LONGEST_HINT:
            query["id_token_hint"] = token
        return _page(str(where), query)

    def check_issuer(self, named: str | None) -> bool:
        """Whether an answer comes from this provider by what it says itself (RFC 9207): another one must not be able to pass
        its answer off as this one's."""
        if named is None:
            return not self._metadata().get("authorization_response_iss_parameter_supported", False)
        return named == self._settings.issuer

    def redeem(self, code: str, flow: Flow, back: str) -> str:
        """The ID token for a code. Raises CodeRefused, and IdentityUnavailable where the answer has none."""
        said = self._metadata()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": flow.verifier}
        form["client_id"] = str(self._settings.client_id)
        authorization = None
        if self._settings.client_secret_file is not None:
            secret = secret_in(self._settings.client_secret_file, "oidc.client_secret_file")
            if "client_secret_basic" in said.get("token_endpoint_auth_methods_supported", ("client_secret_basic",)):
                pair = f"{quote_plus(form['client_id'])}:{quote_plus(secret)}"
                authorization = "Basic " + base64.b64encode(pair.encode()).decode()
            else:
                form["client_secret"] = secret
        token = self._wire.post(str(said.get("token_endpoint")), form, authorization).get("id_token")
        if not isinstance(token, str):
            raise IdentityUnavailable("the identity provider gave no ID token", hint="oidc.scopes must hold `openid`.")
        return token

    def _metadata(self) -> Mapping[str, Any]:
        said = self._kept(self._said)
        if said is None:
            if self._failed is not None and self._clock() - self._failed < _FAILED_SECONDS:
                raise _silent()
            self._failed = self._clock()
            said = self._wire.get(str(self._settings.issuer).rstrip("/") + _DISCOVERY)
            if said.get("issuer") != self._settings.issuer:
                raise IdentityUnavailable(
                    "the identity provider names itself otherwise", hint="oidc.issuer must be exactly what it says."
                )
            self._said, self._failed = (self._clock(), said), None
        assert isinstance(said, dict)
        return said

    def _fetch_keys(self) -> Sequence[PublicKey]:
        if self._settings.jwks_file is not None:
            try:
                said = json.loads(self._settings.jwks_file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                raise IdentityUnavailable("oidc.jwks_file cannot be read", hint="It must be a JSON Web Key Set.") from None
        else:
            said = self._wire.get(str(self._metadata().get("jwks_uri")))
        listed = said.get("keys") if isinstance(said, dict) else None
        return [key for one in (listed if isinstance(listed, list) else []) if (key := _public(one)) is not None]

    def _kept(self, what: tuple[float, Any] | None) -> Any:
        young = what is not None and self._clock() - what[0] < self._settings.keys_minutes * 60
        return what[1] if young and what is not None else None

    def _may_ask(self) -> bool:
        return self._asked is None or self._clock() - self._asked >= self._settings.key_pause_seconds


def _silent() -> IdentityUnavailable:
    return IdentityUnavailable("the identity provider did not answer a moment ago", hint="Try again in a minute.")


def _page(where: str, query: Mapping[str, str]) -> str:
    """The address of a page of the provider, for a browser; raises IdentityUnavailable where it is none to send anybody to."""
    try:
        parts = urlsplit(where)
    except ValueError:
        raise _no_page() from None
    here = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not (parts.hostname and (parts.scheme == "https" or here)):
        raise _no_page()
    return f"{where}{'&' if parts.query else '?'}{urlencode(query)}"


def _no_page() -> IdentityUnavailable:
    return IdentityUnavailable("the identity provider's page is not https", hint="See its discovery document.")


def secret_in(path: Path, setting: str) -> str:
    """The secret that a file holds, without the space around it. Raises SettingsError."""
    try:
        found = path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}", hint=f"{setting} must be a readable file.") from None
    if not found or not found.isprintable():
        raise SettingsError(f"{path} holds no secret", hint=f"{setting} must hold one line, the secret.")
    return found


def _matching(keys: Sequence[PublicKey], id: str | None) -> Sequence[PublicKey]:
    return [one for one in keys if id is None or one.id == id]


def _public(said: Any) -> PublicKey | None:
    """A key that may verify signatures; None for every other one: a shared secret, a short one, one for encryption."""
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry

    if not isinstance(said, dict) or said.get("kty") not in _KINDS or said.get("use", "sig") != "sig":
        return None
    try:
        if said["kty"] == "RSA" and _bits(said["n"]) < _SHORTEST_RSA_BITS:
            return None
        key = JWKRegistry.import_key({name: value for name, value in said.items() if name not in ("key_ops", "x5c", "x5u")})
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    id, algorithm = said.get("kid"), said.get("alg")
    return PublicKey(id if isinstance(id, str) else None, algorithm if isinstance(algorithm, str) else None, key)


def _bits(number: str) -> int:
    """The length of a number in a key."""
    return int.from_bytes(base64.urlsafe_b64decode(number + "=" * (-len(number) % 4)), "big").bit_length()
