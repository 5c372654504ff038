"""TLS before there is a connection: who begins a handshake takes a place from then on, as everybody does.

asyncio's own server tells nobody of a connection before its handshake is over. Until then it would count for nothing,
and one client that says nothing at all could hold every file that the process may open.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from .process import Doorkeeper


class Handshake(asyncio.Protocol):
    """What a connection is until TLS is spoken on it.

    Args:
        connection: Makes what it is afterwards.
        tls: How TLS is spoken.
        seconds: How long the handshake may take.
        doorkeeper: Counts it.
    """

    def __init__(
        self, connection: Callable[[], asyncio.Protocol], *, tls: ssl.SSLContext, seconds: float, doorkeeper: Doorkeeper
    ) -> None:
        self._connection = connection
        self._tls = tls
        self._seconds = seconds
        self._doorkeeper = doorkeeper
        self._shaking: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, where there is room."""
        wire = cast(asyncio.Transport, transport)
        client = self._doorkeeper.enter((wire.get_extra_info("peername") or ("",))[0])
        if not client:
            # Nobody can be told anything before TLS is spoken.
            wire.abort()
            return
        self._shaking = asyncio.get_running_loop().create_task(self._shake(wire, client))

    async def _shake(self, wire: asyncio.Transport, client: str) -> None:
        early = _Early()
        try:
            secured = await asyncio.get_running_loop().start_tls(
                wire, early, self._tls, server_side=True, ssl_handshake_timeout=self._seconds
            )
        except OSError:
            # No TLS, an older one, a certificate of nobody's, or too slow: the connection has ended.
            return
        finally:
            self._doorkeeper.leave(client)
        # Nothing is there where the other end went away in the middle.
        if secured is not None:
            connection = self._connection()
            secured.set_protocol(connection)
            connection.connection_made(secured)
            if early.received:
                connection.data_received(bytes(early.received))


class _Early(asyncio.Protocol):
    """Keeps what comes with the end of a handshake, before it is known here that it has ended."""

    def __init__(self) -> None:
        self.received = bytearray()

    def data_received(self, data: bytes) -> None:
        self.received += data
