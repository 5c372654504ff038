"""Addresses as the owner writes them: where to listen, who stands before, where the state is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from .clients import parse_networks

_ADDRESS: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})", re.ASCII)
_URL: Final = re.compile(r"https?://[A-Za-z0-9._~:\[\]/-]+", re.ASCII)
_MAX_PORT: Final = 65_535
_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen.

    Attributes:
        host: An IPv4 or IPv6 address.
        port: A port; 0 is any free one.
        loopback: Whether only this machine reaches it.
    """

    host: str
    port: int
    loopback: bool

    def url(self, scheme: str, *, port: int) -> str:
        """Return the URL of this address with the port that it got."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{port}"


def parse_address(text: str) -> Address:
    """Return the address that a text writes, such as `127.0.0.1:8443` or `[::1]:8443`.

    Raises:
        ValueError: It does not.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3]) > _MAX_PORT:
        raise ValueError("want an address and a port, such as 127.0.0.1:8443")
    address = ip_address(match[1] or match[2])
    return Address(host=str(address), port=int(match[3]), loopback=address.is_loopback)


def require_address_or_none(text: str) -> str:
    """Return the text, which is empty or an address to listen at.

    Raises:
        ValueError: It is neither.
    """
    return require_address(text) if text else text


def require_address(text: str) -> str:
    """Return the text, which is an address to listen at.

    Raises:
        ValueError: It is not.
    """
    parse_address(text)
    return text


def require_networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the texts, which are addresses or networks.

    Raises:
        ValueError: One of them is not.
    """
    parse_networks(texts)
    return texts


def require_url(text: str) -> str:
    """Return the text, which is empty or an http or https URL, without the slash at its end.

    Raises:
        ValueError: It is not.
    """
    if text and not _URL.fullmatch(text):
        raise ValueError("want a URL of http or https")
    return text.rstrip("/")


def require_redis(text: str) -> str:
    """Return the text, which is the URL of a Redis without a password in it.

    Raises:
        ValueError: It is not.
    """
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - it is read, and so checked, when it is asked for
    except ValueError:
        raise ValueError("want redis://HOST:PORT/DB") from None
    if parts.scheme not in _REDIS_SCHEMES or not (parts.netloc or parts.path):
        raise ValueError("want redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix://PATH")
    if parts.query or "@" in text:
        raise ValueError("want neither a user nor a password nor a query in it: they are settings of their own")
    return text
