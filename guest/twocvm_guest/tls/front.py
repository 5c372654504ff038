"""What stands between the HTTP protocol and the application: which requests it sees, and what they see.

A request finds its connection in its scope. An answer is its connection's last where somebody asked for that, and where
it begins before the request was complete: else the rest of the request would have to be read, however long it is, to
find the next one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .http import REFUSAL_BODY, REFUSAL_FIELDS, REFUSAL_STATUS, is_refused

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

    from .identity import PeerConnection
    from .pour import Sink

EXTENSION: Final = "twocvm"
"""Where `scope["extensions"]` holds the `PeerConnection`."""
POUR_EXTENSION: Final = "twocvm.pour"
"""Where it holds what takes a body past ASGI: `GuestHttp.pour`."""

_CLOSE: Final = (b"connection", b"close")


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """An ASGI application around the guest's own, for one connection.

    Attributes:
        app: The guest's application.
        peer: What its requests see of the connection.
        pour: Takes the body of the present request to a sink.
        head_bytes: The most that the head of a request may have.
        began: Told when a request begins.
        is_last: Asked when an answer begins: whether the connection ends with it.
    """

    app: ASGI3Application
    peer: PeerConnection
    pour: Callable[[Sink], Awaitable[None]]
    head_bytes: int
    began: Callable[[], None]
    is_last: Callable[[], bool]

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one request."""
        self.began()
        if scope["type"] != "http" or is_refused(scope, head_bytes=self.head_bytes):
            await _refuse(send)
            return
        extended: Any = {**scope, "extensions": {EXTENSION: self.peer, POUR_EXTENSION: self.pour}}

        async def send_marked(event: ASGISendEvent) -> None:
            if event["type"] == "http.response.start" and self.is_last():
                event["headers"] = [*event.get("headers", ()), _CLOSE]
            await send(event)

        await self.app(extended, receive, send_marked)


async def _refuse(send: ASGISendCallable) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": REFUSAL_STATUS,
            "headers": list(REFUSAL_FIELDS),
        }
    )
    await send({"type": "http.response.body", "body": REFUSAL_BODY, "more_body": False})
