"""The identity provider as the rest of the service sees it: a page's way to it and back, and a token's principal."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from policies.identity import Principal
from policies.people import PeopleStore
from policies.provider_accounts import ProviderAccounts
from service.auth.provider import Flow, Provider
from service.auth.provider_people import ProviderPeople, Record
from service.auth.provider_wire import CodeRefused, ProviderWire
from service.auth.tokens import TokenChecker, TokenRefused
from service.settings_groups import OidcSettings

SIGN_IN = "/sign-in"
"""The page on which people sign in."""

BACK = "/sign-in/provider/return"
"""Where the provider sends the browser back to, behind the service's own address."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What the browser brings back from the provider."""

    state: str | None
    code: str | None
    issuer: str | None


class ProviderSignIn:
    """Joins what is asked of the provider, what its tokens prove, and whom they stand for."""

    def __init__(self, provider: Provider, tokens: TokenChecker, people: ProviderPeople) -> None:
        self._provider = provider
        self._tokens = tokens
        self._people = people

    def begin(self, flow: Flow, public_url: str) -> str:
        """Where the browser goes. Raises IdentityUnavailable."""
        return self._provider.authorization_url(flow, public_url + BACK)

    def finish(self, flow: Flow | None, returned: Returned, public_url: str) -> tuple[Principal, str]:
        """Who has signed in, and the ID token that says so. `flow` is that of this browser, where it has begun one. Raises
        TokenRefused for an answer that is not of this flow, this provider or a person here, and IdentityUnavailable."""
        state = returned.state or ""
        if flow is None or not hmac.compare_digest(state.encode(), flow.state.encode()):
            raise TokenRefused("wrong state")
        if not self._provider.check_issuer(returned.issuer):
            raise TokenRefused("wrong issuer of the answer")
        if not returned.code:
            raise TokenRefused("the provider gives no code")
        try:
            token = self._provider.redeem(returned.code, flow, public_url + BACK)
        except CodeRefused as refusal:
            raise TokenRefused(refusal.reason) from None
        return self._people.principal(self._tokens.identity(token, flow.nonce)), token

    def leave(self, token: str, public_url: str) -> str | None:
        """Where the browser goes to sign out there too, of the session with this ID token; it is sent back to the sign-in page.
        None where the provider has no page for that. Raises IdentityUnavailable."""
        return self._provider.end_session_url(token, public_url + SIGN_IN)

    def check(self) -> str:
        """What the provider has for us, in a line. Raises IdentityUnavailable, and SettingsError for a file or an address."""
        return f"{len(self._provider.keys(None))} keys for signatures"

    def by_access_token(self, token: str) -> tuple[Principal, float]:
        """The principal of an access token, and when that ends in Unix seconds. Raises TokenRefused, IdentityUnavailable."""
        claims = self._tokens.access(token)
        return self._people.principal(claims), self._tokens.end(claims)


def make_provider_sign_in(settings: OidcSettings, people: PeopleStore, levels: Sequence[str], record: Record) -> ProviderSignIn:
    """The provider of the settings; nothing is asked of it yet. Raises SettingsError for an address that is none."""
    wire = ProviderWire(str(settings.issuer), settings.allowed_hosts, settings.ca_file)
    provider = Provider(settings, wire)
    accounts = ProviderAccounts(people)
    return ProviderSignIn(
        provider, TokenChecker(settings, provider), ProviderPeople(settings, people, accounts, levels, record)
    )
