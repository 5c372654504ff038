"""Bodies that are poured past HTTP: as whole, as bounded and as well separated from what follows as any other."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from tests.support import processes
from tests.support.attested_guest import Scene
from tests.support.raw_client import RawClient, request

from twocvm_guest.tls import Limits, Sink

# In several pieces, and with an end that is not a piece's.
CONTENT = secrets.token_bytes(3_000_001)


class Pouring:
    """An application that pours the body of every request.

    Attributes:
        bodies: What came, by request.
        views: The pieces as they were handed out.
        errors: What `pour` raised.
        within_seconds: How long it waits for the end of a body.
    """

    def __init__(self, *, refuse_from: int | None = None, within_seconds: float | None = None) -> None:
        self.bodies: list[bytearray] = []
        self.views: list[memoryview] = []
        self.errors: list[BaseException] = []
        self.within_seconds = within_seconds
        self._refuse_from = refuse_from

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pour, and answer with the size."""
        del receive
        self.bodies.append(bytearray())
        pour: Callable[[Sink], Awaitable[None]] = scope["extensions"]["twocvm.pour"]
        try:
            await asyncio.wait_for(pour(self._take), self.within_seconds)
        except (ClientDisconnect, ValueError, TimeoutError) as error:
            self.errors.append(error)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
        await send({"type": "http.response.body", "body": b"%8d" % len(self.bodies[-1])})

    def _take(self, piece: memoryview) -> None:
        self.bodies[-1] += piece
        self.views.append(piece)
        if self._refuse_from is not None and len(self.bodies[-1]) >= self._refuse_from:
            raise ValueError("no more")


@pytest.mark.parametrize("size_bytes", [0, 1, 70_000, len(CONTENT)])
def test_next_request_is_not_taken_for_the_body(size_bytes: int) -> None:
    """Of requests that are sent without waiting, each gets its own body to the last byte, and its own answer."""
    app, content = Pouring(), CONTENT[:size_bytes]
    with Scene().serve(app) as guest, RawClient(guest.address) as client:
        client.handshake().send(request("PUT", "/one", body=content) + request("PUT", "/two", body=b"second"))
        client.send(request("PUT", "/three", "connection: close", body=content))
        answer = client.answer()
    assert app.bodies == [content, b"second", content]
    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert answer.endswith(b"%8d" % size_bytes)


def test_nothing_of_a_body_stays_in_the_buffer() -> None:
    """What was handed out is overwritten before anything else happens, and again after an upload that was refused."""
    for app in (Pouring(), Pouring(refuse_from=2_000_000)):
        with Scene().serve(app) as guest, RawClient(guest.address) as client:
            client.handshake().send(request("PUT", "/one", body=CONTENT))
            client.response()
            assert len(app.views) > 2
            # The first came through h11, in a copy of its own.
            assert not any(any(view) for view in app.views[1:])


def test_refusal_in_mid_body_ends_the_connection() -> None:
    """A sink that refuses is asked nothing more, its answer is read by who still sends, and no request follows."""
    app = Pouring(refuse_from=1_000_000)
    with Scene().serve(app) as guest, RawClient(guest.address) as client:
        client.handshake().send(request("PUT", "/one", body=CONTENT) + request("PUT", "/two"), seconds=1)
        answer = client.answer()
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert b"connection: close" in answer
    assert [str(error) for error in app.errors] == ["no more"]
    assert len(app.bodies) == 1
    assert 1_000_000 <= len(app.bodies[0]) < len(CONTENT)


def test_refusal_with_the_last_byte_leaves_the_connection() -> None:
    """A body that came whole and is refused then keeps nobody from asking for something else."""
    app = Pouring(refuse_from=len(CONTENT))
    with Scene().serve(app) as guest, RawClient(guest.address) as client:
        client.handshake().send(request("PUT", "/one", body=CONTENT))
        assert b"connection: close" not in client.response()
        client.send(request("PUT", "/two", body=b"second"))
        assert client.response().endswith(b"%8d" % len(b"second"))
    assert [str(error) for error in app.errors] == ["no more"]


@pytest.mark.parametrize("sent_bytes", [0, 1000])
def test_body_that_breaks_off_is_never_taken_for_whole(sent_bytes: int) -> None:
    """Whoever pours learns that the rest will not come, with and without a word of the client."""
    app = Pouring()
    with Scene().serve(app) as guest:
        for end in (lambda client: client.raw.close(), lambda client: client.tls.shutdown()):
            with RawClient(guest.address) as client:
                client.handshake().send(request("PUT", "/one", body=bytes(sent_bytes), length=2000))
                time.sleep(0.1)
                end(client)
                processes.wait_until(lambda: app.errors)
            assert isinstance(app.errors.pop(), ClientDisconnect)


def test_body_that_drips_is_dropped() -> None:
    """A poured body must move like any other."""
    app = Pouring()
    with Scene(limits=Limits(stall_seconds=0.4, stall_bytes=1000)).serve(app) as guest:
        with RawClient(guest.address) as client:
            client.handshake().send(request("PUT", "/one", body=b"x", length=2000))
            assert client.seconds_until_end(at_most=4) > 0.3
        processes.wait_until(lambda: app.errors)
    assert isinstance(app.errors[0], ClientDisconnect)


def test_whoever_stops_waiting_gets_nothing_more() -> None:
    """A sink is not called any more once nobody waits for the end of the body, and the connection ends."""
    app = Pouring(within_seconds=0.2)
    with Scene().serve(app) as guest, RawClient(guest.address) as client:
        client.handshake().send(request("PUT", "/one", body=b"x" * 1000, length=len(CONTENT)))
        assert b"connection: close" in client.response()
        client.send(CONTENT[1000:], seconds=0.5)
    assert app.bodies == [b"x" * 1000]
    assert isinstance(app.errors[0], TimeoutError)


def test_client_that_waits_to_be_told_is_told() -> None:
    """Who expects `100 Continue` gets it when the body is wanted."""
    with Scene().serve(Pouring()) as guest, RawClient(guest.address) as client:
        client.handshake().send(request("PUT", "/one", "expect: 100-continue", length=5))
        assert client.receive().startswith(b"HTTP/1.1 100 ")
        client.send(b"hello")
        assert client.response().endswith(b"%8d" % 5)
