"""Serve an ASGI application over RA-TLS: uvicorn's HTTP/1.1 on the connections of this package.

No header tells the guest's time or software, no header of a request is believed about the connection, and nothing is
logged of requests.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn

from .http import GuestHttp
from .link import Buffers, TlsLink

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

    from .connections import Connections

_BACKLOG: Final = 512
_SHUTDOWN_SECONDS: Final = 5
# uvicorn ticks ten times a second.
_TICKS_PER_SWEEP: Final = 2
# `watch` closes idle connections, by the guest's own limits; uvicorn's timer must not come before it.
_NEVER_SECONDS: Final = 10**9


class GuestServer:
    """One listening socket; `run` blocks its thread until `stop` is called from any other.

    Args:
        app: The ASGI application; finds the `PeerConnection` in `scope["extensions"]["twocvm"]`.
        connections: Identity, limits and open connections.
        host: Address or name to listen on.
        port: TCP port; 0 for any that is free.
    """

    def __init__(self, app: ASGI3Application, connections: Connections, *, host: str, port: int) -> None:
        self._address = (host, port)
        self._server = _Server(_configuration(app, connections), connections)

    def run(self, on_ready: Callable[[int], None]) -> None:
        """Serve until `stop`, or SIGINT or SIGTERM on the main thread.

        Args:
            on_ready: Called with the port, once connections are taken.

        Raises:
            OSError: The address cannot be listened on.
        """
        with _listen(*self._address) as listener:
            self._server.on_ready = lambda: on_ready(listener.getsockname()[1])
            self._server.run(sockets=[listener])

    def stop(self) -> None:
        """Take no more connections, let answers that are being written end, and return from `run`."""
        self._server.should_exit = True


def run(
    app: ASGI3Application, connections: Connections, *, host: str, port: int, on_ready: Callable[[int], None]
) -> None:
    """Serve `app` until the process is told to end; as `GuestServer.run`."""
    GuestServer(app, connections, host=host, port=port).run(on_ready)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections
        self.on_ready: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.on_ready()

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_PER_SWEEP == 0:
            for link in self._connections.snapshot():
                link.sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn closes idle connections and waits for the others; it need not wait for what a client has to send.
        for link in self._connections.snapshot():
            if link.is_incomplete:
                link.retire()
        await super().shutdown(sockets=sockets)
        for link in self._connections.snapshot():
            link.retire()


def _configuration(app: ASGI3Application, connections: Connections) -> uvicorn.Config:
    buffers = Buffers()

    def make_link(**uvicorns: Any) -> TlsLink:  # noqa: ANN401 - passed on as it comes
        return TlsLink(connections=connections, buffers=buffers, make_http=lambda: GuestHttp(**uvicorns))

    return uvicorn.Config(
        app,
        # uvicorn calls it as it would call a protocol class.
        http=cast("type[asyncio.Protocol]", make_link),
        ws="none",
        loop="asyncio",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_NEVER_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=connections.limits.head_bytes,
    )


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    # Accepted sockets inherit it. asyncio sets it only on sockets that know their protocol's number, and these do not.
    # Without it every answer's body waits some 40 ms for the acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
