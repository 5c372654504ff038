"""One TLS connection over one socket, for reading and writing in turn, with every wait bounded.

TLS works on memory buffers and the socket is ours. So OpenSSL never makes a system call, whose failure it would leave
in a queue that all connections of a thread share; and one call sends many records.

An end that TLS has not announced is an error, never the end of a message. Errors are this project's own, so that no
library in between takes them for something to try again.
"""

from __future__ import annotations

import io
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from OpenSSL import SSL

from twocvm_verifier.errors import FetchError, HandshakeError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    from twocvm_verifier.clock import Clock

# RFC 8446, 5.1 and 5.2: a record holds at most 2**14 bytes, and takes 5 for its header, 1 for its type, 16 for its tag.
RECORD_BYTES: Final = 1 << 14
_RECORD_OVERHEAD_BYTES: Final = 22
# A flight of our own: a certificate and a signature are far below.
_FLIGHT_BYTES: Final = 1 << 14
# Room for what may have waited for the next write: the end of a handshake, mostly.
_LEFT_BYTES: Final = 1 << 11
_BUFFER_BYTES: Final = 1 << 18
_MILLISECONDS: Final = 1000


class TlsSocket(io.RawIOBase):
    """A socket whose bytes are encrypted. Owns `raw`: closing this closes it.

    Args:
        tls: The connection, in its client state, over memory buffers.
        raw: Its socket, connected; made non-blocking here.
        clock: Whose monotonic time deadlines are counted in.
        wait_seconds: The longest wait for the next byte to move.
    """

    def __init__(self, tls: SSL.Connection, raw: socket.socket, *, clock: Clock, wait_seconds: float) -> None:
        super().__init__()
        raw.setblocking(False)
        self.tls: Final = tls
        self.wait_seconds = wait_seconds
        self._raw = raw
        self._clock = clock
        self._deadline: float | None = None
        self._waits = True
        self._poll = select.poll()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Allow `seconds` for all that is done inside the `with`, whatever moves meanwhile."""
        self._deadline = self._clock.monotonic_seconds() + seconds
        try:
            yield
        finally:
            self._deadline = None

    @contextmanager
    def immediately(self) -> Iterator[None]:
        """Let `readinto` give None instead of waiting, inside the `with`."""
        self._waits = False
        try:
            yield
        finally:
            self._waits = True

    def handshake(self) -> None:
        """Do the TLS handshake; its last flight leaves with the first bytes that are sent, or with `send_held`.

        Raises:
            HandshakeError: It failed; TLS_REFUSED.
            FetchError: The connection was lost, or took too long.
        """
        while True:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                self._flush(_FLIGHT_BYTES)
                self._receive()
            except SSL.Error as error:
                # The peer is told why, if it still listens.
                with suppress(FetchError):
                    self._flush(_FLIGHT_BYTES)
                raise _refusal(error) from error
            else:
                return

    def send_held(self) -> None:
        """Send what waits for more to be sent with it: the end of a handshake.

        Raises:
            FetchError: The connection was lost, or took too long.
        """
        self._flush(_FLIGHT_BYTES)

    def send_all(self, data: ReadableBuffer) -> None:
        """Send all of `data`.

        Raises:
            HandshakeError: The connection is broken; TLS_REFUSED.
            FetchError: The connection was lost, or took too long.
        """
        view = memoryview(data)
        while view:
            try:
                written = self.tls.send(view[:_BUFFER_BYTES])
            except SSL.Error as error:
                raise _refusal(error) from error
            view = view[written:]
            self._flush(_LEFT_BYTES + written + (written // RECORD_BYTES + 1) * _RECORD_OVERHEAD_BYTES)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """Read what there is into `buffer`, waiting for at least one byte; 0 when the peer has ended the connection.

        Raises:
            HandshakeError: The peer broke the connection off with an alert, or sent what is not TLS; TLS_REFUSED.
            FetchError: The connection was lost, ended without a word, or took too long.
        """
        if not self._waits and not self.has_data():
            return None
        view = memoryview(buffer)
        while True:
            try:
                # More than a record at once is never there, and would be allocated in vain.
                return self.tls.recv_into(view, min(len(view), RECORD_BYTES))
            except SSL.WantReadError:
                self._flush(RECORD_BYTES)
                self._receive()
            except SSL.ZeroReturnError:
                return 0
            except SSL.Error as error:
                raise _refusal(error) from error

    def has_data(self) -> bool:
        """Return whether there is something to read now, or the end of the connection; never waits.

        Raises:
            HandshakeError: As `readinto`.
            FetchError: As `readinto`.
        """
        while True:
            try:
                self.tls.recv(1, socket.MSG_PEEK)
            except SSL.WantReadError:
                if not self._receive_now():
                    return False
            except SSL.ZeroReturnError:
                return True
            except SSL.Error as error:
                raise _refusal(error) from error
            else:
                return True

    def break_off(self) -> None:
        """End every wait at once; the only thing here that another thread may call. What waited is lost."""
        with suppress(OSError):
            self._raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Tell the peer, without waiting for it, and close."""
        if not self.closed:
            with suppress(SSL.Error, OSError):
                self.tls.shutdown()
                self._raw.send(self.tls.bio_read(RECORD_BYTES))
            self._raw.close()
        super().close()

    def _receive(self) -> None:
        while not self._receive_now():
            self._wait(select.POLLIN)

    def _receive_now(self) -> bool:
        # Also where nothing has to be waited for: a peer could keep us busy with records that mean nothing.
        self._seconds_left()
        try:
            received = self._raw.recv_into(self._buffer)
        except BlockingIOError:
            return False
        except OSError as error:
            raise lost("broken off") from error
        if not received:
            raise lost("ended without a word")
        self.tls.bio_write(self._buffer[:received])
        return True

    def _flush(self, expected_bytes: int) -> None:
        # A short read says that the buffer is empty without the exception that an empty read costs.
        asked = expected_bytes + 1
        with suppress(SSL.WantReadError):
            while True:
                ciphertext = self.tls.bio_read(asked)
                self._send_raw(memoryview(ciphertext))
                if len(ciphertext) < asked:
                    return

    def _send_raw(self, view: memoryview) -> None:
        while view:
            try:
                view = view[self._raw.send(view) :]
            except BlockingIOError:
                self._wait(select.POLLOUT)
            except OSError as error:
                raise lost("broken off") from error

    def _wait(self, event: int) -> None:
        self._poll.register(self._raw, event)
        if not self._poll.poll(self._seconds_left() * _MILLISECONDS):
            raise _timeout()

    def _seconds_left(self) -> float:
        if self._deadline is None:
            return self.wait_seconds
        seconds = self._deadline - self._clock.monotonic_seconds()
        if seconds <= 0:
            raise _timeout()
        return min(seconds, self.wait_seconds)


def lost(detail: str) -> FetchError:
    """Return the error of a connection that ended before its time."""
    return FetchError("CONNECTION_LOST", f"connection: {detail}")


def _timeout() -> FetchError:
    return FetchError("CONNECTION_TIMEOUT", "connection: the peer took too long")


def _refusal(error: SSL.Error) -> HandshakeError:
    # OpenSSL's own list of (library, function, reason); the peer chooses no more of it than a number of its table.
    reasons = [str(entry[-1]) for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    return HandshakeError("TLS_REFUSED", f"tls: {', '.join(reasons) or type(error).__name__}")
