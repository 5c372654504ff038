"""What stands between the HTTP protocol and the application: the connection in the scope, and when it is to end.

An answer is its connection's last where somebody asked for that, and where it begins before the request was complete:
else the rest of the request would have to be read, however long it is, to find the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

    from .identity import PeerConnection

EXTENSION: Final = "twocvm"
"""Where `scope["extensions"]` holds the `PeerConnection`."""

_CLOSE: Final = (b"connection", b"close")


class Front:
    """An ASGI application around the guest's own, for one connection.

    Args:
        app: The guest's application.
        peer: What its requests see of the connection.
        began: Told when a request begins.
        is_last: Asked when an answer begins: whether the connection ends with it.
    """

    def __init__(
        self, app: ASGI3Application, *, peer: PeerConnection, began: Callable[[], None], is_last: Callable[[], bool]
    ) -> None:
        self._app = app
        self._peer = peer
        self._began = began
        self._is_last = is_last

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one request."""
        self._began()
        extended: Any = {**scope, "extensions": {EXTENSION: self._peer}}

        async def send_marked(event: ASGISendEvent) -> None:
            if event["type"] == "http.response.start" and self._is_last():
                event["headers"] = [*event.get("headers", ()), _CLOSE]
            await send(event)

        await self._app(extended, receive, send_marked)
