"""Requests and answers, one after the other, on one TLS connection.

Whatever goes wrong ends the connection: after a broken exchange nobody knows where the next answer begins.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from twocvm_verifier.errors import FetchError, MalformedError

from .httpwire import Body, Head, read_head, request_head
from .tlssocket import RECORD_BYTES, TlsSocket, lost

# What is read ahead, and what a body is sent in.
CHUNK_BYTES: Final = 1 << 18


class Exchanges:
    """The HTTP/1.1 exchanges of one connection. Owns `tls`.

    Args:
        tls: The connection, its handshake done.
        host: `HOST:PORT`, for the Host field.
    """

    def __init__(self, tls: TlsSocket, *, host: str) -> None:
        self.tls: Final = tls
        self._host = host
        self._reader = io.BufferedReader(tls, CHUNK_BYTES)
        self._open_body: Body | None = None
        self._last = False

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._reader.closed

    def request(
        self,
        method: str,
        target: str,
        *,
        fields: Iterable[tuple[str, str]],
        body: Iterable[bytes],
        content_length: int,
    ) -> tuple[Head, Body]:
        """Send a request and return the head of its answer, and the body to be read.

        Sending stops when an answer comes before its end; the connection then ends with that answer.

        Args:
            method: Such as `PUT`.
            target: The path with its query, percent-encoded.
            fields: Further fields of the head.
            body: Its pieces, `content_length` bytes in all.
            content_length: See there.

        Raises:
            RuntimeError: The answer before was not read to its end.
            ValueError: `body` has another length, or the head cannot be written.
            MalformedError: The answer is not framed as `httpwire` demands, or something came unasked.
            FetchError: The connection was lost, or took too long, or has ended before.
            HandshakeError: The peer broke the connection off with an alert.
        """
        head = request_head(method, target, host=self._host, fields=fields, content_length=content_length)
        with self.ending_on_failure():
            self.require_idle()
            self._send(head, body, content_length)
            answer = read_head(self._reader)
            self._last = self._last or ("connection", "close") in answer.fields
            self._open_body = Body(self._reader, size_bytes=answer.content_length, abandon=self.close)
            return answer, self._open_body

    def require_idle(self) -> None:
        """Refuse where no request can be sent now.

        Raises:
            RuntimeError: The answer before was not read to its end.
            MalformedError: Something came unasked.
            FetchError: The connection has ended.
        """
        if self.closed:
            raise lost("has ended")
        if self._open_body is not None and self._open_body.remaining_bytes:
            raise RuntimeError("the answer before was not read to its end")
        if self._last:
            raise lost("the guest ended it after its last answer")
        self.require_silence()

    def require_silence(self) -> None:
        """Refuse whatever came without having been asked for.

        Raises:
            MalformedError: Something did.
            FetchError: The connection has ended.
        """
        if self._pending():
            raise MalformedError("http", "answer", "got bytes after its end")

    @contextmanager
    def ending_on_failure(self) -> Iterator[None]:
        """End the connection when the `with` is left by an exception."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection; a second call does nothing."""
        self._reader.close()

    def _pending(self) -> bool:
        with self.tls.immediately():
            if self._reader.peek(1):
                return True
        # Bytes would have been seen by now: what is left to read can only be the end.
        if self.tls.has_data():
            raise lost("the guest ended it")
        return False

    def _send(self, head: bytes, body: Iterable[bytes], content_length: int) -> None:
        unsent_bytes = len(head) + content_length
        try:
            for packet in _packets(head, _measured(body, content_length)):
                self.tls.send_all(packet)
                unsent_bytes -= len(packet)
                if unsent_bytes and self.tls.has_data():
                    self._last = True
                    return
        except FetchError:
            # The guest may have answered and closed while we were still sending.
            self._last = True
            if not self._has_answer():
                raise

    def _has_answer(self) -> bool:
        try:
            return self.tls.has_data()
        except FetchError:
            return False


def _measured(body: Iterable[bytes], content_length: int) -> Iterator[bytes]:
    remaining_bytes = content_length
    for piece in body:
        remaining_bytes -= len(piece)
        if remaining_bytes < 0:
            break
        yield piece
    if remaining_bytes:
        raise ValueError(f"body: not the {content_length} bytes that were announced")


def _packets(head: bytes, body: Iterator[bytes]) -> Iterator[bytes]:
    # A small body leaves together with the head, in one record; a large one is not copied for that.
    first = next(body, b"")
    if len(first) > RECORD_BYTES:
        yield head
        yield first
    else:
        yield head + first
    yield from body
