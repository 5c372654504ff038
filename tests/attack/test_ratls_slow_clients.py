"""Attacks on the guest's server by clients that are slow, silent or greedy: they cost themselves alone."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from OpenSSL import SSL
from tests.support.attested_guest import RunningGuest, Scene
from tests.support.processes import wait_until
from tests.support.raw_client import RawClient, all_at_once, request

from twocvm_guest.tls import Limits, PeerConnection

SHORT = Limits(
    connections=8,
    unlocked_connections=3,
    handshake_seconds=0.4,
    head_seconds=0.4,
    idle_seconds=2.0,
    stranger_idle_seconds=0.8,
    stall_seconds=0.4,
    stall_bytes=1000,
    linger_seconds=0.3,
)
# Sweeps come every fifth of a second.
SOON = 2.5


@pytest.fixture
def strict() -> Iterator[RunningGuest]:
    """A guest with very short limits."""
    with Scene(limits=SHORT).serve() as running:
        yield running


def test_client_that_says_nothing_is_dropped(strict: RunningGuest) -> None:
    """The handshake has its time."""
    with RawClient(strict.address) as client, socket.create_connection(strict.address) as silent:
        silent.settimeout(SOON)
        assert silent.recv(1) == b""
        assert client.seconds_until_end(at_most=SOON) < SOON


def test_client_that_stops_in_the_handshake_is_dropped(strict: RunningGuest) -> None:
    """Half a handshake is none."""
    memory = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    memory.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        memory.do_handshake()
    hello = memory.bio_read(1 << 16)
    with socket.create_connection(strict.address) as raw:
        raw.sendall(hello[: len(hello) // 2])
        raw.settimeout(SOON)
        assert raw.recv(1) == b""


def test_client_without_a_first_request_is_dropped(strict: RunningGuest) -> None:
    """After the handshake a request must come."""
    with RawClient(strict.address) as client:
        assert 0.2 < client.handshake().seconds_until_end(at_most=SOON) < SOON


def test_client_that_drips_a_head_is_dropped(strict: RunningGuest) -> None:
    """Slow-loris: a head has its time in all, however often a byte of it comes."""
    with RawClient(strict.address) as client:
        client.handshake()
        began = time.monotonic()
        with pytest.raises(SSL.Error):  # noqa: PT012 - it ends somewhere in the loop
            for byte in request("GET", "/whoami", "x: " + "a" * 200):
                client.send(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - began < SOON
    assert strict.requests == []


def test_client_that_drips_a_second_head_is_dropped(strict: RunningGuest) -> None:
    """The same holds for every later request."""
    with RawClient(strict.address) as client:
        client.handshake().send(request("GET", "/whoami"))
        client.response()
        client.send(b"GET /who")
        assert 0.2 < client.seconds_until_end(at_most=SOON) < SOON


def test_idle_client_is_dropped_after_its_time(strict: RunningGuest) -> None:
    """Between two requests there is time, and then no more; a client that asks again and again is kept."""
    with RawClient(strict.address) as client:
        client.handshake()
        for _ in range(4):
            client.send(request("GET", "/whoami"))
            assert b"200 OK" in client.response()
            time.sleep(0.3)
        assert 0.5 < client.seconds_until_end(at_most=2 * SOON) < 2 * SOON


def test_client_that_drips_a_body_is_dropped(strict: RunningGuest) -> None:
    """A body must move; one that moves is kept, however long it takes."""
    with RawClient(strict.address) as honest:
        honest.handshake().send(request("PUT", "/count", length=12000))
        for _ in range(12):
            honest.send(bytes(1000))
            time.sleep(0.1)
        assert honest.response().endswith(b"12000")
    with RawClient(strict.address) as client:
        client.handshake().send(request("PUT", "/count", length=20000))
        began = time.monotonic()
        with pytest.raises(SSL.Error):  # noqa: PT012 - it ends somewhere in the loop
            for _ in range(200):
                client.send(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began < SOON


def test_client_that_does_not_read_is_dropped(strict: RunningGuest) -> None:
    """An answer that nobody takes is not kept for ever."""
    with RawClient(strict.address, receive_buffer_bytes=4096) as client:
        client.handshake().send(request("GET", "/bytes/50000000"))
        wait_until(lambda: len(strict.connections) == 1)
        wait_until(lambda: len(strict.connections) == 0, seconds=2 * SOON)


def test_guest_that_works_long_is_waited_for(strict: RunningGuest) -> None:
    """While the guest itself is the one to act, its client is not late."""

    async def work(peer: PeerConnection, body: bytes) -> tuple[int, str, bytes]:
        await asyncio.sleep(1.2)
        return 200, "text/plain", b"done"

    strict.routes["/work"] = work
    with RawClient(strict.address) as client:
        client.handshake().send(request("GET", "/work"))
        assert client.response().endswith(b"done")


def test_answer_that_nobody_reads_does_not_pile_up() -> None:
    """Writing waits for the client: the application is held back, however long its answer."""
    produced: list[int] = []

    async def flood(scope: object, receive: Callable, send: Callable) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000000000")]})
        for _ in range(1000):
            produced.append(1 << 16)
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})

    with Scene().serve(flood) as guest, RawClient(guest.address, receive_buffer_bytes=4096) as client:
        client.handshake().send(request("GET", "/flood"))
        time.sleep(0.5)
        held = sum(produced)
        time.sleep(0.5)
        assert sum(produced) == held
    assert 0 < held < 8 << 20


def test_upload_that_nobody_reads_does_not_pile_up() -> None:
    """Reading waits for the application: what it does not take stays with the client."""
    release = threading.Event()

    async def wait(scope: object, receive: Callable, send: Callable) -> None:
        while not release.is_set():
            await asyncio.sleep(0.01)
        size, more = 0, True
        while more:
            event = await receive()
            size, more = size + len(event.get("body", b"")), event.get("more_body", False)
        body = str(size).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
        await send({"type": "http.response.body", "body": body.zfill(8)})

    with Scene().serve(wait) as guest, RawClient(guest.address) as client:
        body = bytes(64 << 20)
        client.handshake().send(request("PUT", "/wait", length=len(body)))
        sent = client.send(body, seconds=1)
        # What the kernel's buffers on both sides hold, and one buffer of ours.
        assert sent < 16 << 20
        release.set()
        client.send(body[sent:], seconds=20)
        assert client.answer(seconds=1).endswith(b"67108864")


@pytest.mark.parametrize("locked", [True, False])
def test_sockets_that_are_only_opened_keep_nobody_out(*, locked: bool) -> None:
    """However many connections stand without a handshake, another is taken, and those that came through one stay."""
    limits = Limits(connections=8, unlocked_connections=8, handshake_seconds=60)
    with Scene(locked=locked, limits=limits).serve() as guest, ExitStack() as stack:
        first = stack.enter_context(RawClient(guest.address)).handshake()
        for _ in range(3 * limits.connections):
            stack.enter_context(RawClient(guest.address))
        wait_until(lambda: len(guest.connections) == limits.connections)
        for client in (first, stack.enter_context(RawClient(guest.address)).handshake()):
            client.send(request("GET", "/whoami"))
            assert b"200 OK" in client.receive()
        assert len(guest.connections) <= limits.connections


def test_honest_clients_are_served_among_hostile_ones() -> None:
    """A hundred silent, slow and malformed connections stand, and every honest client is served."""
    with Scene().serve() as guest, ExitStack() as stack:
        for number in range(100):
            client = stack.enter_context(RawClient(guest.address))
            if number % 4:
                client.handshake()
            if number % 4 == 2:
                client.send(b"GET /who")
            if number % 4 == 3:
                client.send(request("PUT", "/count", length=1 << 30))
        failures: list[object] = []

        def honest() -> None:
            with guest.scene.connect(guest.url) as connection:
                answer = connection.http.put(connection.base_url + "/count", data=bytes(100_000))
                failures.extend([] if answer.json() == 100_000 else [answer])

        all_at_once([honest] * 20)
        assert failures == []
        assert len(guest.requests) == 20 + 25


def test_early_answer_reaches_who_is_still_sending() -> None:
    """A refusal of an upload can be read by a client that has not sent all of it, and ends the connection."""

    async def refuse(scope: object, receive: Callable, send: Callable) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})

    with Scene().serve(refuse) as guest, RawClient(guest.address) as client:
        client.handshake().send(request("PUT", "/count", length=1 << 40) + bytes(1 << 20), seconds=1)
        answer = client.answer()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer
