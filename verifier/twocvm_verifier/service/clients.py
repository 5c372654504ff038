"""Who a request is from: its connection's other end, or what stands before this process says who, where it is named.

X-Forwarded-For is a list to which everybody on the way appends whom it got the request from, so that only its end can
be believed: from the right, the first address that is none of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

Network: TypeAlias = IPv4Network | IPv6Network
_HEADER: Final = b"x-forwarded-for"
_MAX_HOPS: Final = 16
# What one subscriber is given of IPv6.
_SUBSCRIBER_BITS: Final = 64
UNKNOWN: Final = "unknown"


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks that texts write, an address being a network of one.

    Raises:
        ValueError: One of them does not.
    """
    return tuple(ip_network(text) for text in texts)


@lru_cache(maxsize=4096)
def client_of(address: str) -> str:
    """Return what is counted as one client: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return UNKNOWN
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), _SUBSCRIBER_BITS), strict=False))


def client_in(scope: Scope) -> str:
    """Return whose a request is, as `client_of` counts."""
    return client_of(scope["client"][0]) if scope["client"] else UNKNOWN


def is_named(address: str, networks: Sequence[Network]) -> bool:
    """Return whether an address is of one of some networks."""
    if not networks:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


class Forwarded:
    """Puts the client that a named proxy got a request from in the place of the proxy.

    Args:
        app: What is asked then.
        proxies: Who is believed.
    """

    def __init__(self, app: ASGIApp, *, proxies: Sequence[Network]) -> None:
        self._app = app
        self._proxies = tuple(proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope["client"] and is_named(scope["client"][0], self._proxies):
            scope = {**scope, "client": (self._client(scope), 0)}
        await self._app(scope, receive, send)

    def _client(self, scope: Scope) -> str:
        written = b",".join(value for name, value in scope["headers"] if name == _HEADER).decode("latin-1")
        nearest = str(scope["client"][0])
        # Nobody of ours appends more.
        for hop in list(reversed(written.split(",")))[:_MAX_HOPS]:
            try:
                address = str(ip_address(hop.strip()))
            except ValueError:
                # What is left of it cannot be from one of ours.
                return nearest
            if not is_named(address, self._proxies):
                return address
            nearest = address
        return nearest
