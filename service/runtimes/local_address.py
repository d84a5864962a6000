"""Where a model server may be: on this machine, behind a Unix socket, or on a private host that settings name."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from policies.errors import SettingsError

_LISTEN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Address:
    """What to connect to: the base URL with the address in place of the name, the Unix socket's path where there is one,
    the Host header, and the name that a certificate must have."""

    base: str
    socket_path: str | None
    host: str
    name: str


def checked_address(url: str, allowed_hosts: Sequence[str], *, port: int | None = None) -> Address:
    """The address of a model server; `port` is the one of URLs that name none (None: that of the scheme). A name is looked
    up here, once, so that it cannot point elsewhere later. Raises SettingsError for anything that is not inside, and for a
    URL that holds a user, a password, a query or a fragment."""
    parts = _split(url)
    if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
        return Address("http://localhost", parts.path, "localhost", "localhost")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _wrong(f"runtime.url = {url!r} is no address of a model server")
    name = parts.hostname
    number = parts.port or port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(name, number, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _wrong(f"the model server {name!r} has no address") from None
    addresses = [unmapped(str(one[4][0])) for one in found]
    inside = all(one.is_loopback for one in addresses)
    permitted = name in allowed_hosts and all(one.is_private or one.is_loopback for one in addresses)
    if not inside and not permitted:
        raise _wrong(f"the model server {name!r} is not inside")
    # `localhost` is often both, and model servers listen on the older one.
    chosen = min(addresses, key=lambda one: one.version)
    address = str(chosen) if chosen.version == 4 else f"[{chosen}]"
    host = f"[{name}]" if ":" in name else name
    return Address(f"{parts.scheme}://{address}:{number}{parts.path.rstrip('/')}", None, f"{host}:{number}", name)


def somebody_listens(path: Path) -> bool:
    """Whether a process accepts connections on a Unix socket; False for the file that an ended one has left."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_LISTEN_SECONDS)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            # A full queue or a missing permission means that there is somebody.
            return True
        return True


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 -- raises for what is no port
    except ValueError:
        raise _wrong(f"runtime.url = {url!r} is no address of a model server") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        # Not repeated: what stands there may be a password.
        raise _wrong("runtime.url must not hold a user, a key, a query or a fragment")
    return parts


def unmapped(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address; of one of IPv4 that is written as IPv6, the former, which is what the system connects to."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _wrong(message: str) -> SettingsError:
    return SettingsError(
        message,
        hint="It must be on this machine (http://127.0.0.1:PORT, unix:///path), or a private host in runtime.allowed_hosts.",
    )
