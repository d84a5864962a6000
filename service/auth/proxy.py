"""A reverse proxy that says who is asking: believed from its address, with its secret, and in no other case."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policies.errors import SettingsError
from service.auth.provider import secret_in

if TYPE_CHECKING:
    from service.settings_groups import ProxySettings

_SHORTEST_SECRET = 32


class ProxyRefused(Exception):
    """Why a proxy's word is not taken, for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ProxySaid:
    """Every value of the two headers that came along, and the address of whoever opened the connection."""

    persons: Sequence[str]
    secrets: Sequence[str]
    peer: str | None


class ProxyRules:
    """What makes a proxy's word good."""

    def __init__(self, settings: ProxySettings, addresses: Sequence[str]) -> None:
        """`addresses` are the proxies', or networks of them. Raises SettingsError where there are none, and for a file that
        cannot be read or holds a secret that could be guessed."""
        assert settings.secret_file is not None
        if not addresses:
            raise SettingsError(
                "proxy.secret_file needs server.forwarded_allow_ips", hint="Name the addresses that the proxy connects from."
            )
        self._secret = secret_in(settings.secret_file, "proxy.secret_file")
        if len(self._secret) < _SHORTEST_SECRET:
            raise SettingsError(f"the secret in {settings.secret_file} is short", hint="Make one: openssl rand -hex 32 > FILE")
        self._addresses = tuple(addresses)

    def person(self, said: ProxySaid) -> str:
        """The id of the person that the proxy names. Raises ProxyRefused."""
        if not self._is_proxy(said.peer):
            raise ProxyRefused("it does not come from a proxy")
        if len(said.secrets) != 1 or not hmac.compare_digest(said.secrets[0].encode(), self._secret.encode()):
            raise ProxyRefused("the secret is missing or wrong")
        if len(said.persons) != 1:
            raise ProxyRefused("it names several people")
        return said.persons[0]

    def _is_proxy(self, peer: str | None) -> bool:
        try:
            address = ipaddress.ip_address(peer or "")
        except ValueError:
            return False
        return any(_holds(one, address) for one in self._addresses)


def _holds(written: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(written)
    except ValueError:
        return False
