"""One connection of the server: ciphertext from the socket, plaintext to HTTP, and back, without piling up either.

Reading: the socket's bytes are decrypted as they come, unless HTTP has said that it cannot take more; then neither is
decrypted nor read from the socket, so that the peer's sending stops. Writing: what the socket does not take yet is
asyncio's to count, and its `pause_writing` goes straight through to HTTP. So a connection holds a few hundred KiB,
however long a body is. Plaintext is overwritten as soon as HTTP has taken it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from twocvm_verifier.ratls.proof import EXPORTED_BYTES, EXPORTER_LABEL, NONCE_BYTES

from .context import ClientKey, spki_sha256_of
from .engine import RECORD_BYTES, TlsBroken, TlsEngine
from .front import Front
from .http import READ_BYTES
from .identity import PeerConnection
from .transport import TlsTransport
from .watch import Phase, Watch

if TYPE_CHECKING:
    from .connections import Connections
    from .http import GuestHttp


_SOCKET_BYTES: Final = 1 << 18
_ZEROS: Final = memoryview(bytes(READ_BYTES))


def _buffer(size_bytes: int) -> memoryview:
    return memoryview(bytearray(size_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """Where bytes pass through; shared by all links of a loop, for each is done with before a link gives control back.

    Attributes:
        ciphertext: What the socket is read into.
        plaintext: What is decrypted into; all zeros between two uses.
    """

    ciphertext: memoryview = field(default_factory=lambda: _buffer(_SOCKET_BYTES))
    plaintext: memoryview = field(default_factory=lambda: _buffer(READ_BYTES))


class TlsLink(asyncio.BufferedProtocol):
    """The protocol of one accepted socket. On the event loop's thread, but for `retire`.

    Args:
        connections: Where the connection is registered while it lives.
        buffers: Those of the loop.
        make_http: Makes the HTTP protocol, once the handshake is complete.
    """

    def __init__(self, *, connections: Connections, buffers: Buffers, make_http: Callable[[], GuestHttp]) -> None:
        self._connections = connections
        self._buffers = buffers
        self._make_http = make_http
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._http: GuestHttp | None = None
        self._client = ClientKey()
        self._retired = self._last_answer = False
        self._received_bytes = self._sent_bytes = self._requests = 0
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self.peer: PeerConnection | None = None
        self.paused = self.closing = False

    # The socket's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, unless there are too many connections already."""
        self._raw = cast(asyncio.Transport, transport)
        self._watch = Watch(self._connections.limits, now=self._loop.time())
        shown = self._connections.admit(self)
        if shown is None:
            self.closing = True
            self._raw.abort()
            return
        self._identity, context = shown
        self._engine = TlsEngine(context, app_data=self._client, send=self._send)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's own signature
        """Return where the socket's bytes go."""
        return self._buffers.ciphertext

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes from the socket."""
        self._received_bytes += nbytes
        if not (self._retired or self.closing):
            self._engine.receive(self._buffers.ciphertext[:nbytes])
            if self.paused:
                self._raw.pause_reading()
            else:
                self._advance()

    def eof_received(self) -> bool:
        """Drop the connection: its end inside TLS would have come before, so something was cut off."""
        self._raw.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell HTTP, and leave the registry."""
        self.closing = True
        self._connections.forget(self)
        if self._http is not None:
            self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that the socket takes no more for now."""
        if self._http is not None:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the socket takes more again."""
        if self._http is not None:
            self._http.resume_writing()

    # HTTP's side, through `TlsTransport`.

    def write(self, data: bytes) -> None:
        """Encrypt and send `data`, what is little together with what is written right after it; at the end, drop it."""
        if self._retired or self.closing or not data:
            return
        if not self._unsent:
            self._loop.call_soon(self._send_unsent)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes >= RECORD_BYTES:
            self._send_unsent()

    def pause_reading(self) -> None:
        """Hand on nothing more for now."""
        # The socket is read once more before it is left alone: an application that keeps up resumes before that, and
        # spares the event loop two changes for every piece of a body.
        self.paused = True

    def resume_reading(self) -> None:
        """Go on handing on, first what is here already."""
        if self.paused:
            self.paused = False
            # Not from within HTTP's own call, which would find itself called.
            self._loop.call_soon(self._advance)
            self._raw.resume_reading()

    def close(self) -> None:
        """End the connection in order."""
        if not self.closing:
            self._send_unsent()
            self.closing = True
            self._engine.end()
            if self._request_is_incomplete and not self._engine.ended_by_peer:
                self._linger()
            else:
                self._raw.close()

    # The registry's side.

    def retire(self) -> None:
        """Let nothing more in or out, from any thread, and close."""
        self._retired = True
        self._loop.call_soon_threadsafe(self._raw.abort)

    @property
    def is_incomplete(self) -> bool:
        """Whether the client has begun a handshake or a request and not ended it."""
        return self._http is None or self._request_is_incomplete

    @property
    def phase(self) -> Phase:
        """Whose turn it is, and for what."""
        return Phase.ANSWER if self._raw.get_write_buffer_size() else self._phase_without_answer()

    def sweep(self) -> None:
        """Drop the connection if its client has had its time."""
        waiting_bytes = self._raw.get_write_buffer_size()
        moved_bytes = self._sent_bytes - waiting_bytes if waiting_bytes else self._received_bytes
        if self._watch.overdue(self.phase, requests=self._requests, moved_bytes=moved_bytes, now=self._loop.time()):
            self._raw.abort()

    # Inside.

    def _send_unsent(self) -> None:
        unsent, self._unsent, self._unsent_bytes = self._unsent, [], 0
        if not unsent or self._retired or self.closing:
            return
        try:
            self._engine.write(b"".join(unsent))
        except TlsBroken:
            self._raw.abort()

    def _send(self, ciphertext: bytes) -> None:
        self._sent_bytes += len(ciphertext)
        self._raw.write(ciphertext)

    def _advance(self) -> None:
        try:
            if self._http is None and not self._engine.handshake():
                return
            http = self._http or self._begin()
            while not (self.paused or self._retired or self.closing):
                received = self._hand_on(http)
                if self._engine.ended_by_peer:
                    self.close()
                elif not received:
                    return
        except TlsBroken:
            self.closing = True
            self._linger()

    def _hand_on(self, http: GuestHttp) -> int:
        room = self._buffers.plaintext[: http.room_bytes]
        used = len(room)
        try:
            used = self._engine.read_into(room)
            if used:
                http.plaintext_received(room[:used])
        finally:
            room[:used] = _ZEROS[:used]
        return used

    def _begin(self) -> GuestHttp:
        tls = self._engine.connection
        leaf = tls.get_peer_certificate(as_cryptography=True)
        # Positively: the certificate of this connection is the one that the callback accepted in this handshake. What
        # came beside it is not looked at, but for being there.
        if (leaf and spki_sha256_of(leaf)) != self._client.spki_sha256 or tls.get_peer_cert_chain():
            raise TlsBroken
        self.peer = PeerConnection(
            identity=self._identity,
            participant_spki_sha256=self._client.spki_sha256,
            export=self._export,
            close_after_response=self._close_after_response,
        )
        self._connections.introduce(self)
        http = self._http = self._make_http()
        http.app = Front(
            app=http.app,
            peer=self.peer,
            pour=http.pour,
            head_bytes=self._connections.limits.head_bytes,
            began=self._count_request,
            is_last=self._is_last,
        )
        http.connection_made(TlsTransport(self, self._raw))
        return http

    def _linger(self) -> None:
        # Closing a socket with unread bytes resets it, and the reset may overtake the answer or alert just sent. So
        # what still comes is read and dropped, for a while.
        with contextlib.suppress(OSError):
            self._raw.write_eof()
        self._raw.resume_reading()
        self._loop.call_later(self._connections.limits.linger_seconds, self._raw.abort)

    @property
    def _request_is_incomplete(self) -> bool:
        return self._http is not None and self._http.is_incomplete

    def _phase_without_answer(self) -> Phase:
        if self._http is None:
            return Phase.HANDSHAKE
        if self.paused:
            return Phase.WORK
        if self._request_is_incomplete:
            return Phase.BODY
        if self._http.is_between_requests:
            if self._requests == 0 or self._http.has_begun_head:
                return Phase.HEAD
            return Phase.IDLE if self._connections.knows(self.peer) else Phase.STRANGER_IDLE
        return Phase.WORK

    def _count_request(self) -> None:
        self._requests += 1

    def _is_last(self) -> bool:
        return self._last_answer or self._request_is_incomplete

    def _close_after_response(self) -> None:
        self._last_answer = True

    def _export(self, nonce: bytes) -> bytes:
        if threading.get_ident() != self._thread:
            raise RuntimeError("the exporter is asked on the event loop's thread only")
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"nonce: got {len(nonce)} bytes, want {NONCE_BYTES}")
        return self._engine.connection.export_keying_material(EXPORTER_LABEL, EXPORTED_BYTES, nonce)
