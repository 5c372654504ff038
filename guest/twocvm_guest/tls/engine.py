"""One TLS connection without a socket: ciphertext goes in and comes out as bytes.

Over OpenSSL's memory buffers, so that whoever owns the socket decides when bytes move. Nothing here waits, and every
way in which TLS can go wrong is `TlsBroken`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from OpenSSL import SSL

# RFC 8446, 5.1 and 5.2: a record holds at most 2**14 bytes, and takes 5 for its header, 1 for its type, 16 for its tag.
RECORD_BYTES: Final = 1 << 14
_RECORD_OVERHEAD_BYTES: Final = 22
_WRITE_BYTES: Final = 1 << 18
# Room for a handshake flight of our own: a certificate with evidence is under 20 KiB.
_FLIGHT_BYTES: Final = 1 << 15
# Room for what may have waited for the next write: tickets, or the answer to a key update.
_LEFT_BYTES: Final = 1 << 10


class TlsBroken(Exception):  # noqa: N818 - a state of the connection, seen only by its owner
    """The peer broke the protocol, or refused us; the connection can only be dropped."""


class TlsEngine:
    """The state of one connection on the guest's side.

    Args:
        context: The context of the identity that is shown.
        app_data: What the context's callbacks find on the connection.
        send: Takes ciphertext for the peer; called whenever there is some.
    """

    def __init__(self, context: SSL.Context, *, app_data: object, send: Callable[[bytes], None]) -> None:
        self._tls = SSL.Connection(context, None)
        self._tls.set_accept_state()
        self._tls.set_app_data(app_data)
        self._send = send
        self.ended_by_peer = False

    @property
    def connection(self) -> SSL.Connection:
        """The connection itself, for its certificate and exporter."""
        return self._tls

    def receive(self, ciphertext: memoryview) -> None:
        """Take what the peer has sent; `handshake` and `read_into` work on it."""
        self._tls.bio_write(ciphertext)

    def handshake(self) -> bool:
        """Go on with the handshake, and return whether it is complete.

        Raises:
            TlsBroken: It has failed; an alert has been sent.
        """
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._flush(_FLIGHT_BYTES)
            return False
        except SSL.Error as error:
            self._flush(_FLIGHT_BYTES)
            raise TlsBroken from error
        # What OpenSSL has to send now are tickets, which nobody needs: they leave with the first answer.
        return True

    def read_into(self, room: memoryview) -> int:
        """Fill `room` with the plaintext at hand, as far as it goes, and return how many bytes that was.

        Sets `ended_by_peer` once the peer has said that nothing more will come.

        Raises:
            TlsBroken: A record is not authentic, or an alert has come; whatever lies in `room` then is no plaintext.
        """
        filled = 0
        try:
            while filled < len(room):
                filled += self._tls.recv_into(room[filled:], RECORD_BYTES)
        except SSL.WantReadError:
            # A key update asks for an answer, which lies in the buffer now.
            self._flush(RECORD_BYTES)
        except SSL.ZeroReturnError:
            self.ended_by_peer = True
        except SSL.Error as error:
            raise TlsBroken from error
        return filled

    def write(self, plaintext: bytes) -> None:
        """Encrypt `plaintext` and send it.

        Raises:
            TlsBroken: The connection has ended.
        """
        view = memoryview(plaintext)
        try:
            while view:
                written = self._tls.send(view[:_WRITE_BYTES])
                view = view[written:]
                self._flush(_LEFT_BYTES + written + (written // RECORD_BYTES + 1) * _RECORD_OVERHEAD_BYTES)
        except SSL.Error as error:
            raise TlsBroken from error

    def end(self) -> None:
        """Tell the peer that nothing more will come; does nothing on a broken connection."""
        try:
            self._tls.shutdown()
        except SSL.Error:
            return
        self._flush(RECORD_BYTES)

    def _flush(self, expected_bytes: int) -> None:
        # A short read says that the buffer is empty without the exception that an empty read costs.
        asked = expected_bytes + 1
        try:
            while True:
                ciphertext = self._tls.bio_read(asked)
                self._send(ciphertext)
                if len(ciphertext) < asked:
                    return
        except SSL.WantReadError:
            return
