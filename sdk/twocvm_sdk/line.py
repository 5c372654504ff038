"""One verified connection, as HTTP libraries use it: what none of their requests can get past.

Rules for every request, in order; whatever could lead it elsewhere, or past the verification, is refused and not
ignored:
1. One request at a time.
2. Its method has an answer with a body, and its URL is of this connection's guest: HTTPS, this host, this port.
3. Its body has a length, for guests take none without.
4. The connection's proof is younger than was demanded, or is made anew; on this connection, for there is no other.

A library brings its own idea of proxies, redirections and certificates; each client refuses those in its own words.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .connection import AttestedConnection
    from .httpwire import Body, Head

# Said by us alone, or not said at all.
_OUR_FIELDS: Final = frozenset({"host", "content-length"})
# A request that was cancelled ends at once, and its thread a moment later; whoever comes next waits for that moment.
LEAVING_SECONDS: Final = 0.25


class Line:
    """What the requests of an HTTP library go over.

    Args:
        connection: Verified.
        max_proof_age_seconds: A proof that is older is made anew before the next request; infinite where whoever sends
            the requests sees to it.
    """

    def __init__(self, connection: AttestedConnection, *, max_proof_age_seconds: float) -> None:
        self.connection: Final = connection
        self._max_proof_age_seconds = max_proof_age_seconds
        self._turn = threading.Lock()

    def send(
        self,
        method: str | None,
        url: str | None,
        *,
        fields: Iterable[tuple[str, str]],
        body: Iterable[bytes],
        wait_seconds: float | None,
    ) -> tuple[Head, Body]:
        """Send a request, and return the head of its answer and the body to be read.

        Args:
            method: Such as `PUT`; not `HEAD`.
            url: In full.
            fields: Its fields as the library has them, Content-Length among them where there is a body.
            body: Its pieces.
            wait_seconds: The longest wait for the next byte from now on; None leaves it as it is.

        Raises:
            ValueError: A rule of the module is broken; nothing was sent.
            RuntimeError: Another request is under way, or its answer was not read to its end.
            TwoCvmError: As `Exchanges.request`, or the guest did not prove itself anew.
        """
        if not self._turn.acquire(timeout=LEAVING_SECONDS):
            raise RuntimeError("an attested connection sends one request at a time")
        try:
            if method is None or url is None or method == "HEAD":
                raise ValueError(f"request: got {method!r}, want a method whose answer has a body")
            target, listed = self.connection.address.target_of(url), tuple(fields)
            length = _content_length(listed)
            if wait_seconds is not None:
                self.connection.exchanges.tls.wait_seconds = wait_seconds
            self.refresh()
            kept = [(name, value) for name, value in listed if name.lower() not in _OUR_FIELDS]
            return self.connection.exchanges.request(method, target, fields=kept, body=body, content_length=length)
        finally:
            self._turn.release()

    def refresh(self) -> None:
        """Have the guest prove itself anew if its last proof is too old.

        Raises:
            TwoCvmError: It did not; the connection has ended.
        """
        if self.connection.proof_age_seconds > self._max_proof_age_seconds:
            self.connection.reprove()


def seconds_of(timeout: object) -> float:
    """Return a timeout that a caller gave, in seconds.

    Raises:
        ValueError: It is no time: nobody waits for ever by mistake.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
        raise ValueError(f"timeout: got {timeout!r:.40}, want seconds")
    return float(timeout)


def text(value: Any) -> str:  # noqa: ANN401 - header values are text or bytes, and libraries differ in saying so
    """Return a header's name or value as text."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _content_length(fields: tuple[tuple[str, str], ...]) -> int:
    lengths = [value for name, value in fields if name.lower() == "content-length"]
    if any(name.lower() == "transfer-encoding" for name, _ in fields):
        raise ValueError("request: the body has no length; guests take none without")
    if len(lengths) > 1 or not all(value.isascii() and value.isdecimal() for value in lengths):
        raise ValueError(f"request: got lengths {lengths!r:.80}, want at most one number")
    return int(lengths[0]) if lengths else 0
