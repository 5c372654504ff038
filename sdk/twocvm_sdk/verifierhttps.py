"""HTTPS to a verifier: one request on one connection, with a size and a deadline for all of it.

No redirect is followed, no proxy and nothing of the environment is used, nothing is decompressed, no credential is
sent. The server's certificate must lead to a CA that its caller trusts, and be of the URL's host.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from twocvm_verifier.errors import FetchError

MAX_ANSWER_BYTES: Final = 1 << 20
_DEFAULT_PORT: Final = 443
_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where a verifier is, and how it is asked.

    Attributes:
        url: `https://HOST[:PORT]`, without anything behind it: the name under which it signs, too.
        ca: PEM of the CAs that its certificate may lead to; those of this machine where None.
        seconds: How long one request may take, from the connection to the last byte. Only the look-up of the host's
            name is not in it, which has a limit of its own on every machine.

    Raises:
        ValueError: The URL is no such URL, or the time is not positive.
        OSError: The file cannot be read, or holds no certificate.
    """

    url: str
    ca: Path | None
    seconds: float

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if (
            parts.scheme != "https"
            or not parts.hostname
            or self.url != f"https://{parts.netloc}"
            or "@" in parts.netloc
        ):
            raise ValueError(f"verifier: got {self.url!r:.200}, want https://HOST[:PORT]")
        if not self.seconds > 0:
            raise ValueError(f"verifier: got {self.seconds} s, want more than none")
        self._context()

    def get(self, path: str) -> bytes:
        """Return what is at a path, as JSON.

        Raises:
            FetchError: VERIFIER_UNREACHABLE.
        """
        return self._ask("GET", path, None, {})

    def post(self, path: str, body: bytes, *, media_type: str) -> bytes:
        """Return the answer to a body. Errors as `get`."""
        return self._ask("POST", path, body, {"Content-Type": media_type})

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        try:
            return self._exchange(method, path, body, {"Accept": "application/json", "Connection": "close", **headers})
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FetchError("VERIFIER_UNREACHABLE", f"{self.url}{path}: {type(error).__name__}") from error

    def _exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        parts = urlsplit(self.url)
        host, port = str(parts.hostname), parts.port or _DEFAULT_PORT
        raw = socket.create_connection((host, port), timeout=self.seconds)
        with self._context().wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False) as tls:
            # The socket's own: `SSLSocket.shutdown` would have the reader go on without TLS.
            cut = threading.Timer(self.seconds, socket.socket.shutdown, (tls, socket.SHUT_RDWR))
            cut.daemon = True
            cut.start()
            try:
                tls.do_handshake()
                connection = http.client.HTTPConnection(host, port)
                connection.sock = tls
                connection.request(method, path, body, headers)
                with connection.getresponse() as response:
                    return self._read(response, path)
            finally:
                cut.cancel()

    def _read(self, response: http.client.HTTPResponse, path: str) -> bytes:
        media_type = response.headers.get_content_type()
        encoding = response.headers.get("Content-Encoding", "identity")
        if response.status != _OK or media_type != "application/json" or encoding != "identity":
            detail = f"got {response.status} and {media_type!r:.80}, want {_OK} and application/json as it is"
            raise FetchError("VERIFIER_UNREACHABLE", f"{self.url}{path}: {detail}")
        body = response.read(MAX_ANSWER_BYTES + 1)
        if len(body) > MAX_ANSWER_BYTES or response.length:
            # `length` is what was announced and did not come.
            raise FetchError("VERIFIER_UNREACHABLE", f"{self.url}{path}: too long an answer, or not all of it")
        return body
