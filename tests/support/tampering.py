"""A guest that lies after it was proven, and a wire that leads elsewhere.

A `LyingGuest` is the real one, whose answers pass through a test's hands: what no measured guest does, but what a
participant must not depend on. `Switchboard` carries each connection to the next of several guests.

    with LyingGuest(World()) as guest:
        guest.lies["/v1/roster"] = lambda body: body.replace(b"true", b"false")
        guest.refusals["/v1/join"] = (409, b"whatever")
        guest.silences.add("/v1/join")            # heard, done, and never answered
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from tests.support.guest import LiveGuest
from tests.support.manifests import World

from twocvm_guest.service.app import build_app
from twocvm_guest.tls import GuestServer

Lie = Callable[[bytes], bytes]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class LyingGuest(LiveGuest):
    """A live guest with answers that a test changes.

    Attributes:
        lies: By path, what an answer's body becomes.
        refusals: By path, the status and body that are answered instead; nothing reaches the guest.
        silences: Paths whose requests are done and whose answers never come.
        hooks: By path, what is called when a request comes.
        requests: Every request that came: method and path.
    """

    def __init__(self, world: World, **arguments: Any) -> None:
        super().__init__(world, **arguments)
        self.lies: dict[str, Lie] = {}
        self.refusals: dict[str, tuple[int, str, bytes]] = {}
        self.silences: set[str] = set()
        self.hooks: dict[str, Callable[[], object]] = {}
        self.requests: list[str] = []
        self._app = build_app(self.guest.agent, clock=self.clock)
        self.guest._server = GuestServer(  # type: ignore[misc]
            self._serve,
            self.guest.agent.connections,
            host="127.0.0.1",
            port=0,  # type: ignore[arg-type]
        )

    def count(self, request: str) -> int:
        """Return how often a request came."""
        return self.requests.count(request)

    async def _serve(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        self.requests.append(f"{scope['method']} {path}")
        self.hooks.get(path, lambda: None)()
        if path in self.refusals:
            await _answer(send, *self.refusals[path])
        elif path in self.silences:
            await self._app(scope, receive, _nothing)
            # An answer without its end: the server closes the connection.
            await send({"type": "http.response.start", "status": 200, "headers": _headers("application/json", 2)})
            await send({"type": "http.response.body", "body": b"{", "more_body": True})
        elif path in self.lies:
            status, media_type, body = await self._honest(scope, receive)
            await _answer(send, status, media_type, self.lies[path](body))
        else:
            await self._app(scope, receive, send)

    async def _honest(self, scope: Any, receive: Any) -> tuple[int, str, bytes]:
        status, media_type, parts = 0, "", []

        async def keep(event: dict[str, Any]) -> None:
            nonlocal status, media_type
            if event["type"] == "http.response.start":
                status = event["status"]
                media_type = dict(event["headers"]).get(b"content-type", b"").decode()
            else:
                parts.append(event.get("body", b""))

        await self._app(scope, receive, keep)
        return status, media_type, b"".join(parts)


class Switchboard:
    """A host that carries each connection, byte for byte, to the next of several guests; the last gets the rest."""

    def __init__(self, *guests: LiveGuest) -> None:
        self._targets = [("127.0.0.1", int(guest.url.rpartition(":")[2])) for guest in guests]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                target = self._targets.pop(0) if len(self._targets) > 1 else self._targets[0]
                guest = socket.create_connection(target)
                threading.Thread(target=_carry, args=(client, guest), daemon=True).start()


def _carry(client: socket.socket, guest: socket.socket) -> None:
    with client, guest, selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        selector.register(client, selectors.EVENT_READ, guest)
        selector.register(guest, selectors.EVENT_READ, client)
        while True:
            for key, _ in selector.select():
                data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                if not data:
                    return
                key.data.sendall(data)


async def _nothing(event: dict[str, Any]) -> None:
    del event


async def _answer(send: Send, status: int, media_type: str, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": _headers(media_type, len(body))})
    await send({"type": "http.response.body", "body": body})


def _headers(media_type: str, size_bytes: int) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", media_type.encode()), (b"content-length", str(size_bytes).encode())]
