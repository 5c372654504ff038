"""HTTP/1.1 as a guest takes it: uvicorn's, less what two readers could read in two ways.

A request has a path, HTTP/1.1, at most `Limits.head_bytes` of head, and a body that Content-Length measures. Anything
else is refused before the application sees it, and ends the connection.

A body comes to the application in messages, or is poured past HTTP (`pour`). Then h11, which was left in the middle of
that body, is done with once the answer is, and the next request has another.

Spec: docs/spec/ratls.md, 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import h11
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

from twocvm_verifier import strictjson
from twocvm_verifier.codes import CODES

from .pour import Pour, Sink

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent, HTTPScope

READ_BYTES: Final = 1 << 18
"""How much plaintext is handed on at once: enough that the work for each piece does not count."""

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

    def __init__(self, **uvicorns: Any) -> None:  # noqa: ANN401 - passed on as it comes
        super().__init__(**uvicorns)
        self._head_bytes = cast(int, self.config.h11_max_incomplete_event_size)
        self._pour: Pour | None = None

    @property
    def is_between_requests(self) -> bool:
        """Whether the next bytes belong to the head of a request."""
        return self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE

    @property
    def has_begun_head(self) -> bool:
        """Whether some of that head is here."""
        return bool(self.conn.trailing_data[0])

    @property
    def is_incomplete(self) -> bool:
        """Whether the client has sent a head, and not all of its body."""
        return self.conn.their_state is h11.SEND_BODY and not (self._pour and self._pour.remaining_bytes == 0)

    @property
    def room_bytes(self) -> int:
        """How much plaintext may be handed on at once."""
        return READ_BYTES if self._pour is None else min(READ_BYTES, self._pour.room_bytes)

    def plaintext_received(self, plaintext: memoryview) -> None:
        """Take the next bytes, at most `room_bytes`; they may be overwritten afterwards."""
        if self._pour is None:
            self.data_received(bytes(plaintext))
            return
        self._pour.take(plaintext)
        if self._pour.ended.done():
            # What follows belongs to the next request, or to nobody.
            self.flow.pause_reading()

    async def pour(self, sink: Sink) -> None:
        """Hand the body of the present request to `sink` as it comes, and return at its end.

        Once for a request, of whose body nothing was received before.

        Raises:
            ClientDisconnect: The client is gone.
            Exception: Whatever `sink` raised; the rest of the body is nobody's then.
        """
        # What came together with the head has gone through h11; nobody holds it while more is waited for.
        remaining_bytes = self._pour_first(await self.cycle.receive(), sink)
        if remaining_bytes == 0:
            return
        self._pour = Pour(sink=sink, remaining_bytes=remaining_bytes, ended=self.loop.create_future())
        self.flow.resume_reading()
        try:
            await self._pour.ended
        finally:
            self.flow.pause_reading()

    def _pour_first(self, message: ASGIReceiveEvent, sink: Sink) -> int:
        if message["type"] != "http.request":
            raise ClientDisconnect
        body = message["body"]
        sink(memoryview(body))
        if not message["more_body"]:
            return 0
        return next(int(value) for name, value in self.headers if name == b"content-length") - len(body)

    def on_response_complete(self) -> None:
        """Forget the request that has its answer."""
        if not self.is_incomplete:
            if self._pour is not None:
                self.conn = h11.Connection(h11.SERVER, self._head_bytes)
            self._forget_request()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application, and forget the request."""
        if self._pour is not None and not self._pour.ended.done():
            self._pour.ended.set_exception(ClientDisconnect())
        super().connection_lost(exc)
        self._forget_request()

    def _forget_request(self) -> None:
        # Its headers say of an item what only the item's owner may know. The next request sets all of them anew.
        self._pour = None
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
