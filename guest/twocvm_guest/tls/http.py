"""HTTP/1.1 as a guest takes it: uvicorn's, less what two readers could read in two ways.

A request has a path, HTTP/1.1, at most `Limits.head_bytes` of head, and a body that Content-Length measures. Anything
else is refused before the application sees it, and ends the connection.

Spec: docs/spec/ratls.md, 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from twocvm_verifier import strictjson
from twocvm_verifier.codes import CODES

if TYPE_CHECKING:
    from uvicorn._types import HTTPScope

REFUSAL_STATUS: Final = 400
REFUSAL_BODY: Final = strictjson.canonical(
    {
        "type": "urn:2cvm:code:malformed_request",
        "status": REFUSAL_STATUS,
        "code": "MALFORMED_REQUEST",
        "detail": CODES["MALFORMED_REQUEST"].meaning,
    }
)
REFUSAL_FIELDS: Final = (
    (b"content-type", b"application/problem+json"),
    (b"content-length", str(len(REFUSAL_BODY)).encode("ascii")),
    (b"connection", b"close"),
)

# RFC 9112, 2.1: what a line has beside its name and value, or its method and target.
_FIELD_OVERHEAD_BYTES: Final = len(": \r\n")
_REQUEST_LINE_OVERHEAD_BYTES: Final = len("  HTTP/1.1\r\n\r\n")


class GuestHttp(H11Protocol):
    """uvicorn's protocol, with our own answer to what is not HTTP, and without a memory of requests."""

    def records_received(self, records: Iterable[bytes]) -> None:
        """Take plaintext as it was decrypted; joined before, every byte would be copied once more."""
        self._unset_keepalive_if_required()
        for record in records:
            self.conn.receive_data(record)
        self.handle_events()

    def on_response_complete(self) -> None:
        """Forget the request that has its answer."""
        if self.conn.their_state is h11.DONE:
            self._forget_request()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application, and forget the request."""
        super().connection_lost(exc)
        self._forget_request()

    def _forget_request(self) -> None:
        # Its headers say of an item what only the item's owner may know. The next request sets all three anew.
        self.cycle = self.scope = self.headers = None  # type: ignore[assignment]

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, and end the connection; `msg` is uvicorn's and is not repeated."""
        del msg
        if self.cycle is not None:
            # An application that works on this request learns that its client is gone, and its answer is dropped.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        for event in (
            h11.Response(status_code=REFUSAL_STATUS, headers=list(REFUSAL_FIELDS), reason=b"Bad Request"),
            h11.Data(data=REFUSAL_BODY),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def is_refused(scope: HTTPScope, *, head_bytes: int) -> bool:
    """Return whether a request that is HTTP is none of a guest's.

    Args:
        scope: The request as uvicorn has parsed it.
        head_bytes: The most that its head may have.
    """
    fields = scope["headers"]
    if scope["http_version"] != "1.1" or not scope["raw_path"].startswith(b"/"):
        return True
    if any(name == b"transfer-encoding" for name, _ in fields):
        return True
    line_bytes = len(scope["method"]) + len(scope["raw_path"]) + 1 + len(scope["query_string"])
    fields_bytes = sum(len(name) + len(value) + _FIELD_OVERHEAD_BYTES for name, value in fields)
    return line_bytes + fields_bytes + _REQUEST_LINE_OVERHEAD_BYTES > head_bytes
