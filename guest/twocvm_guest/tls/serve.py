"""Serve an ASGI application over RA-TLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connections import Connections


class GuestServer:
    """One listening socket; `run` blocks its thread until `stop` is called from any other."""

    def __init__(self, app: Any, connections: Connections, *, host: str, port: int) -> None:
        self._app, self._connections, self._host, self._port = app, connections, host, port

    def run(self, on_ready: Callable[[int], None]) -> None:
        """Serve until `stop`; calls `on_ready` with the bound port once connections are taken."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop serving: let answers that are being written end, then close every connection."""
        raise NotImplementedError


def run(app: Any, connections: Connections, *, host: str, port: int, on_ready: Callable[[int], None]) -> None:
    """Serve `app` until the process is told to end (SIGINT, SIGTERM)."""
    GuestServer(app, connections, host=host, port=port).run(on_ready)
