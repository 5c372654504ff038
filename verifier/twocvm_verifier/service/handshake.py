"""TLS before there is a connection: who begins a handshake takes a place from then on, as everybody does.

asyncio's own server tells nobody of a connection before its handshake is over. Until then it would count for nothing,
and one client that says nothing at all could hold every file that the process may open. And asyncio ends a handshake
that fails before it has sent what OpenSSL says of it, so that nobody would know why: here it is sent, and where a
client's certificate was refused the log says so.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from .logs import event

if TYPE_CHECKING:
    from .process import Doorkeeper

# Of certificates that are refused a line is written as often, however many there are.
REFUSALS_SECONDS: Final = 10.0

Later: TypeAlias = Callable[[float, Callable[[], None]], object]
"""Calls something in so many seconds: an event loop's `call_later`."""


class Refusals:
    """Says in the log that clients' certificates were refused: at once, and then in a line for all of a while.

    Args:
        later: Ends a while.
    """

    def __init__(self, later: Later) -> None:
        self._later = later
        self._waits = False
        self._count = 0
        self._reason = ""

    def note(self, reason: str) -> None:
        """Count one.

        Args:
            reason: In OpenSSL's words, of which there is a list.
        """
        self._count += 1
        self._reason = reason
        if not self._waits:
            self._tell()

    def _tell(self) -> None:
        self._waits = self._count > 0
        if self._waits:
            event("client-certificate-refused", level=logging.WARNING, reason=self._reason, times=self._count)
            self._count = 0
            self._later(REFUSALS_SECONDS, self._tell)


class Handshake(asyncio.Protocol):
    """What a connection is until TLS is spoken on it.

    Args:
        connection: Makes what it is afterwards.
        tls: How TLS is spoken; what speaks it is a `Spoken`.
        seconds: How long the handshake may take.
        doorkeeper: Counts it.
        refusals: Is told where a client's certificate is refused.
    """

    def __init__(
        self,
        connection: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext,
        seconds: float,
        doorkeeper: Doorkeeper,
        refusals: Refusals,
    ) -> None:
        self._connection = connection
        self._tls = tls
        self._seconds = seconds
        self._doorkeeper = doorkeeper
        self._refusals = refusals
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

        def failed(error: ssl.SSLError) -> None:
            if isinstance(error, ssl.SSLCertVerificationError):
                self._refusals.note(error.verify_message)
            # After what is still to be sent; nothing more is read.
            wire.close()

        _FAILED.set(failed)
        try:
            secured = await asyncio.get_running_loop().start_tls(
                wire, early, self._tls, server_side=True, ssl_handshake_timeout=self._seconds
            )
        except OSError:
            # The other end went away, or was too slow.
            return
        finally:
            self._doorkeeper.leave(client)
        # Nothing is there where the handshake failed, or the other end went away in the middle.
        if secured is not None:
            connection = self._connection()
            secured.set_protocol(connection)
            connection.connection_made(secured)
            if early.received:
                connection.data_received(bytes(early.received))


# Who is told that the handshake of a connection failed. What asyncio does for a connection it does in the context in
# which that was begun, and a task has one of its own.
_FAILED: Final[ContextVar[Callable[[ssl.SSLError], None]]] = ContextVar("failed")


class Spoken(ssl.SSLObject):
    """TLS, with its last word: why it was refused."""

    def do_handshake(self) -> None:
        """Go on with the handshake.

        Raises:
            ssl.SSLWantReadError: There is something to send, or to wait for.
        """
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            asyncio.get_running_loop().call_soon(_FAILED.get(), error)
            # asyncio sends what there is to be sent, an alert; for an error it would not.
            raise ssl.SSLWantReadError from error


class _Early(asyncio.Protocol):
    """Keeps what comes with the end of a handshake, before it is known here that it has ended."""

    def __init__(self) -> None:
        self.received = bytearray()

    def data_received(self, data: bytes) -> None:
        self.received += data
