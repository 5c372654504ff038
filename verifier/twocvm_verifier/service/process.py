"""One process that answers: uvicorn, with a limit to every wait and to every number that a stranger chooses.

uvicorn waits for a request for ever, for the handshake of TLS for a minute, and answers what is too much as text; here
a connection has a time for each thing that it waits for, and a share.
"""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from twocvm_verifier.errors import MalformedError

from .clients import Network, client_of, is_named
from .evidence_forms import DOCUMENT
from .handshake import Handshake, Refusals
from .problems import ServiceError, problem
from .settings import Limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn._types import ASGI3Application

BACKLOG: Final = 2048
# Who is still sending reads the answer before the connection ends; behind a proxy each holds one of its few places.
LINGER_SECONDS: Final = 1.0
CLIENT_CERTIFICATE: Final = "client_certificate"


class Doorkeeper:
    """Counts the connections of this process.

    Args:
        limits: How many there may be.
        proxies: What stands before this process, and brings many clients.
    """

    def __init__(self, limits: Limits, *, proxies: Sequence[Network]) -> None:
        self.limits = limits
        self._proxies = tuple(proxies)
        self._open: Counter[str] = Counter()

    def enter(self, address: str) -> str:
        """Count a connection; return what `leave` wants, or nothing where there is no room for it."""
        client = client_of(address)
        mine = self._open[client]
        if self._open.total() >= self.limits.connections:
            return ""
        if mine >= self.limits.connections_per_client and not is_named(address, self._proxies):
            return ""
        self._open[client] = mine + 1
        return client

    def leave(self, client: str) -> None:
        """Count a connection no longer."""
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]


def serve_on(
    app: ASGIApp,
    listener: socket.socket,
    *,
    tls: ssl.SSLContext | None,
    limits: Limits,
    proxies: Sequence[Network],
    ready: Callable[[], None],
) -> None:
    """Answer at a listener until SIGTERM or SIGINT, and then what is under way.

    Args:
        app: What answers.
        listener: Bound already.
        tls: How TLS is spoken; None where it is not.
        limits: What is too much.
        proxies: What stands before this process.
        ready: Called once everything that comes is answered.
    """
    # uvicorn would log the path and the query of each request, and a query may hold a nonce.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        cast("ASGI3Application", app),
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        ws="none",
        # Whatever else is installed: a handshake that fails is told in the way that asyncio has them.
        loop="asyncio",
        http=type("Connection", (Connection,), {"doorkeeper": Doorkeeper(limits, proxies=proxies)}),
        timeout_graceful_shutdown=math.ceil(limits.shutdown_seconds),
    )
    server = _Server(config, tls=tls, handshake_seconds=limits.header_seconds, ready=ready)

    def end(_signal: int, _frame: object) -> None:
        server.should_exit = True

    # Before uvicorn has handlers of its own this is asked; and afterwards, for it raises the signal that ended it once
    # more when all is done, and to be told to stop is no failure.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        *,
        tls: ssl.SSLContext | None,
        handshake_seconds: float,
        ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen as uvicorn would, but with a limit to the wait for a handshake."""
        await self.lifespan.startup()

        protocol = cast(type[Connection], self.config.http_protocol_class)

        def connection() -> Connection:
            return protocol(self.config, self.server_state, self.lifespan.state)

        loop = asyncio.get_running_loop()
        refusals = Refusals(loop.call_later)

        def accepted() -> asyncio.Protocol:
            if self._tls is None:
                return connection()
            return Handshake(
                connection,
                tls=self._tls,
                seconds=self._handshake_seconds,
                doorkeeper=protocol.doorkeeper,
                refusals=refusals,
            )

        self.servers = [await loop.create_server(accepted, sock=each, backlog=BACKLOG) for each in sockets or ()]
        self.started = True
        self._ready()


class Connection(H11Protocol):
    """A connection: at each time it waits for a request, or for the end of one, and for neither too long."""

    doorkeeper: ClassVar[Doorkeeper]
    _client = ""
    _deadline: asyncio.TimerHandle | None = None
    _until = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let a connection in, or send it away."""
        super().connection_made(transport)
        self._client = self.doorkeeper.enter(self.client[0] if self.client else "")
        if not self._client:
            transport.write(_turned_away())
            transport.close()
            return
        shown = transport.get_extra_info("ssl_object")
        certificate = None if shown is None else shown.getpeercert(binary_form=True)
        self.app_state = {**self.app_state, CLIENT_CERTIFICATE: certificate}
        self._wait(self.doorkeeper.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._client:
            self.doorkeeper.leave(self._client)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, unless the connection was sent away."""
        if self._client:
            super().data_received(data)

    def handle_events(self) -> None:
        """Take what came; with a new request the time for it begins."""
        before = cast("object", self.cycle)
        super().handle_events()
        if self.cycle is not before:
            self._wait(self.doorkeeper.limits.request_seconds)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it may quote what was sent
        """Answer what is no HTTP, as everything is answered that is malformed."""
        answer = problem(MalformedError(DOCUMENT, "", "request: is no HTTP"))
        answer.headers["Connection"] = "close"
        for event in (
            h11.Response(status_code=400, headers=answer.raw_headers, reason=b"Bad Request"),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def on_response_complete(self) -> None:
        """Wait for the next request; for what is still to come of this one, which nobody reads, only a moment."""
        seconds, unread = self.doorkeeper.limits.header_seconds, self.conn.their_state is h11.SEND_BODY
        self._wait(min(seconds, LINGER_SECONDS) if unread else seconds)
        super().on_response_complete()

    def shutdown(self) -> None:
        """End, once what is under way is answered; who says nothing when TLS ends is waited for no longer than that."""
        super().shutdown()
        if self.transport.is_closing():
            self._wait(LINGER_SECONDS)

    def _wait(self, seconds: float) -> None:
        """Wait for so long from now on. A timer that ends before that is left, and looks again: it is rarely set."""
        self._until = self.loop.time() + seconds
        if self._deadline is not None:
            if self._deadline.when() <= self._until:
                return
            self._deadline.cancel()
        self._deadline = self.loop.call_at(self._until, self._look)

    def _look(self) -> None:
        if self.loop.time() < self._until:
            self._deadline = self.loop.call_at(self._until, self._look)
        else:
            self.transport.abort()


def _turned_away() -> bytes:
    """Return the answer to a connection that there is no room for."""
    answer = problem(ServiceError("SERVICE_BUSY", "connections: too many are open"))
    answer.headers["Connection"] = "close"
    lines = [b"HTTP/1.1 503 Service Unavailable", *(name + b": " + value for name, value in answer.raw_headers)]
    return b"\r\n".join((*lines, b"", bytes(answer.body)))
