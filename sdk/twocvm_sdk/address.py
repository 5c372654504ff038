"""Where a guest is: `https://HOST[:PORT]`, and nothing else.

>>> parse_address("https://guest.example:8443/").base_url
'https://guest.example:8443'
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_HTTPS_PORT: Final = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A guest's address.

    Attributes:
        host: A name or an IP address, without brackets, in lower case.
        port: TCP port.
    """

    host: str
    port: int

    @property
    def authority(self) -> str:
        """`HOST:PORT`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """`https://HOST:PORT`."""
        return f"https://{self.authority}"

    @property
    def server_name(self) -> bytes | None:
        """What TLS may say in clear of whom we want to reach: a name, never an IP address (RFC 6066, 3)."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return self.host.encode("ascii")
        return None

    def target_of(self, url: str) -> str:
        """Return the path and query of a URL, which must be of this address.

        Raises:
            ValueError: It leads elsewhere, or carries more than a path and a query.
        """
        parts = urlsplit(url)
        if parse_address(f"{parts.scheme}://{parts.netloc}") != self:
            raise ValueError(f"request: got {url!r:.200}, want one for {self.base_url}")
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def parse_address(url: str) -> Address:
    """Return the address that `url` writes.

    Raises:
        ValueError: Plain HTTP, or anything beyond a host, a port and one slash.
    """
    parts = urlsplit(url)
    if parts.scheme != "https":
        raise ValueError(f"guest: got {url!r:.200}, want https://HOST[:PORT]; nothing is ever sent over plain HTTP")
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment or not parts.hostname:
        raise ValueError(f"guest: got {url!r:.200}, want https://HOST[:PORT] and nothing more")
    if not parts.hostname.isascii():
        raise ValueError(f"guest: got {url!r:.200}, want an ASCII host name")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"guest: got {url!r:.200}, want a port from 0 to 65535") from error
    return Address(host=parts.hostname, port=_HTTPS_PORT if port is None else port)
