"""What the HTTP protocol writes to: an asyncio transport whose bytes leave encrypted.

It has what uvicorn's HTTP/1.1 protocol calls; whatever else a transport may have raises `NotImplementedError`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol


class Link(Protocol):
    """What a connection does for its transport.

    Attributes:
        closing: Whether nothing more can be written.
    """

    closing: bool

    def write(self, data: bytes) -> None:
        """Encrypt and send."""

    def close(self) -> None:
        """End the connection once all that was written has left."""

    def pause_reading(self) -> None:
        """Stop handing on plaintext, and stop reading from the peer."""

    def resume_reading(self) -> None:
        """Go on after `pause_reading`."""


class TlsTransport(asyncio.Transport):
    """The plaintext side of a `Link`; everything but encryption is the socket's own transport."""

    def __init__(self, link: Link, raw: asyncio.Transport) -> None:
        super().__init__()
        self._link = link
        self._raw = raw

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's own signature
        """Return what asyncio knows of the connection; `ssl_object` says that it is encrypted."""
        if name in ("sslcontext", "ssl_object"):
            return self._link
        return self._raw.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send `data`."""
        self._link.write(bytes(data))

    def is_closing(self) -> bool:
        """Return whether nothing more can be written."""
        return self._link.closing

    def close(self) -> None:
        """End the connection once all that was written has left."""
        self._link.close()

    def pause_reading(self) -> None:
        """Stop handing on plaintext, and stop reading from the peer."""
        self._link.pause_reading()

    def resume_reading(self) -> None:
        """Go on after `pause_reading`."""
        self._link.resume_reading()
