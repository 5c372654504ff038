"""What every answer says to browsers, whoever made it: load nothing, frame nothing, guess no type, keep nothing.

A route that says something else says it itself; what is here fills in the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVERY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
_RAW: Final = tuple((name.lower().encode("ascii"), value.encode("ascii")) for name, value in EVERY.items())
# A year, as browsers' lists want it; said only by who speaks TLS.
_SECURE: Final = (*_RAW, (b"strict-transport-security", b"max-age=31536000"))


class Headers:
    """Fills in the headers of every answer.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""

        async def filled(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name for name, _ in message["headers"]}
                wanted = _SECURE if scope["scheme"] == "https" else _RAW
                message["headers"] = [*message["headers"], *(each for each in wanted if each[0] not in said)]
            await send(message)

        await self._app(scope, receive, filled if scope["type"] == "http" else send)
