"""One TLS connection over one socket, for reading and writing in turn, with every wait bounded.

An end that TLS has not announced is an error, never the end of a message. Errors are this project's own, so that no
library in between takes them for something to try again.
"""

from __future__ import annotations

import io
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from OpenSSL import SSL

from twocvm_verifier.errors import FetchError, HandshakeError, TwoCvmError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    from twocvm_verifier.clock import Clock

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# RFC 8446, 5.1: one record is what one read gives; a larger buffer would only be allocated in vain.
RECORD_BYTES: Final = 1 << 14
_MILLISECONDS: Final = 1000


class TlsSocket(io.RawIOBase):
    """A socket whose bytes are encrypted. Owns `raw`: closing this closes it.

    Args:
        tls: The connection, in its client state.
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
        """Do the TLS handshake.

        Raises:
            HandshakeError: It failed; TLS_REFUSED.
            FetchError: The connection was lost, or took too long.
        """
        self._until_done(self.tls.do_handshake)

    def send_all(self, data: ReadableBuffer) -> None:
        """Send all of `data`.

        Raises:
            HandshakeError: The peer broke the connection off with an alert; TLS_REFUSED.
            FetchError: The connection was lost, or took too long.
        """
        view = memoryview(data)
        while view:
            view = view[self._until_done(self.tls.send, view) :]

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """Read what there is into `buffer`, waiting for at least one byte; 0 when the peer has ended the connection.

        Raises:
            HandshakeError: As `send_all`.
            FetchError: As `send_all`; also where the connection ended without a word.
        """
        if not self._waits and not self.has_data():
            return None
        view = memoryview(buffer)
        try:
            return self._until_done(self.tls.recv_into, view, min(len(view), RECORD_BYTES))
        except SSL.ZeroReturnError:
            return 0

    def has_data(self) -> bool:
        """Return whether there is something to read now, or the end of the connection; never waits.

        Raises:
            HandshakeError: As `send_all`.
            FetchError: As `send_all`.
        """
        try:
            self.tls.recv(1, socket.MSG_PEEK)
        except SSL.WantReadError:
            return False
        except SSL.ZeroReturnError:
            return True
        except SSL.Error as error:
            raise _refusal(error) from error
        return True

    def close(self) -> None:
        """Tell the peer, without waiting for it, and close."""
        if not self.closed:
            with suppress(SSL.Error):
                self.tls.shutdown()
            self._raw.close()
        super().close()

    def _until_done(
        self, call: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result:
        while True:
            remaining = self._remaining_seconds()
            try:
                return call(*arguments, **named)
            except SSL.WantReadError:
                self._wait(select.POLLIN, remaining)
            except SSL.WantWriteError:
                self._wait(select.POLLOUT, remaining)
            except SSL.ZeroReturnError:
                raise
            except SSL.Error as error:
                raise _refusal(error) from error

    def _remaining_seconds(self) -> float:
        if self._deadline is None:
            return self.wait_seconds
        remaining = self._deadline - self._clock.monotonic_seconds()
        if remaining <= 0:
            raise _timeout()
        return min(remaining, self.wait_seconds)

    def _wait(self, event: int, seconds: float) -> None:
        self._poll.register(self._raw, event)
        if not self._poll.poll(seconds * _MILLISECONDS):
            raise _timeout()


def lost(detail: str) -> FetchError:
    """Return the error of a connection that ended before its time."""
    return FetchError("CONNECTION_LOST", f"connection: {detail}")


def _timeout() -> FetchError:
    return FetchError("CONNECTION_TIMEOUT", "connection: the peer took too long")


def _refusal(error: SSL.Error) -> TwoCvmError:
    if isinstance(error, SSL.SysCallError):
        return lost("ended without a word")
    # OpenSSL's own list of (library, function, reason); the peer chooses no more of it than a number of its table.
    reasons = [str(entry[-1]) for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    return HandshakeError("TLS_REFUSED", f"tls: {', '.join(reasons) or type(error).__name__}")
