"""A TLS client that verifies nothing and sends what a test says, byte for byte: an attacker's, or a broken one."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from OpenSSL import SSL

from twocvm_sdk.connection import TlsIdentity

_STEP_SECONDS = 0.01


class RawClient:
    """One connection; use as a context manager.

    Args:
        address: Host and port.
        identity: The client certificate to show; None shows none.
        chain: Further certificates to send after it.
        versions: The greatest TLS version to offer.
        receive_buffer_bytes: Of the socket, where it matters how much the kernel takes.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        identity: TlsIdentity | None = None,
        chain: tuple[Any, ...] = (),
        greatest_version: int = SSL.TLS1_3_VERSION,
        receive_buffer_bytes: int | None = None,
    ) -> None:
        self.raw = socket.socket()
        if receive_buffer_bytes is not None:
            self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.raw.connect(address)
        self.raw.setblocking(False)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(greatest_version)
        if identity is not None:
            context.use_certificate(identity.certificate)
            context.use_privatekey(identity.key)
        for certificate in chain:
            context.add_extra_chain_cert(certificate)
        self.tls = SSL.Connection(context, self.raw)
        self.tls.set_connect_state()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()
        # pyOpenSSL leaves failed system calls in a queue that the next connection of this thread would trip over.
        SSL._lib.ERR_clear_error()

    def handshake(self, *, seconds: float = 5.0) -> Self:
        """Do the handshake."""
        self._until(self.tls.do_handshake, seconds)
        return self

    def send(self, data: bytes, *, seconds: float = 5.0) -> int:
        """Send what can be sent within `seconds` and return how many bytes that was."""
        view, deadline = memoryview(data), time.monotonic() + seconds
        while view and time.monotonic() < deadline:
            with contextlib.suppress(SSL.WantReadError, SSL.WantWriteError):
                view = view[self.tls.send(view[: 1 << 16]) :]
                continue
            time.sleep(_STEP_SECONDS)
        return len(data) - len(view)

    def receive(self, *, seconds: float = 5.0) -> bytes:
        """Return the next bytes; empty where the connection has ended in order. Raises `TimeoutError`."""
        try:
            data: bytes = self._until(lambda: self.tls.recv(1 << 16), seconds)
        except SSL.ZeroReturnError:
            return b""
        return data

    def response(self) -> bytes:
        """Return one whole answer, by its Content-Length."""
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer) < _answer_bytes(answer):
            piece = self.receive()
            if not piece:
                raise EOFError("the answer was cut short")
            answer += piece
        return answer

    def answer(self, *, seconds: float = 5.0) -> bytes:
        """Return everything until the end of the connection, however it ends."""
        parts, deadline = [], time.monotonic() + seconds
        with contextlib.suppress(SSL.Error, OSError):
            while part := self.receive(seconds=deadline - time.monotonic()):
                parts.append(part)
        return b"".join(parts)

    def seconds_until_end(self, *, at_most: float) -> float:
        """Return how long the server kept the connection; raises `TimeoutError` where it still does."""
        began = time.monotonic()
        with contextlib.suppress(SSL.ZeroReturnError, SSL.SysCallError, SSL.Error):
            while True:
                if not self.receive(seconds=began + at_most - time.monotonic()):
                    break
        return time.monotonic() - began

    def _until(self, call: Any, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                return call()
            except (SSL.WantReadError, SSL.WantWriteError):
                if time.monotonic() > deadline:
                    raise TimeoutError("the server says nothing") from None
                time.sleep(_STEP_SECONDS)


def request(method: str, path: str, *fields: str, body: bytes = b"", length: int | None = None) -> bytes:
    """Return a request; `length` announces another length than the body's."""
    size = len(body) if length is None else length
    lines = [f"{method} {path} HTTP/1.1", "host: guest", f"content-length: {size}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def all_at_once(calls: Sequence[Callable[[], None]]) -> None:
    """Have each client do its part in a thread of its own, and demand that none of them fails."""
    errors: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def _answer_bytes(answer: bytes) -> int:
    head, _, _ = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    if length is None:
        raise ValueError("the answer has no length")
    return len(head) + 4 + int(length[1])
