"""What one client and all together may ask, who a client is, and what the service says of its own health."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket

import pytest
import uvicorn
from starlette.responses import Response
from tests.support.verifier_service import service
from uvicorn.server import ServerState

from twocvm_verifier.clock import SystemClock
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.service import assembly, serve, workers
from twocvm_verifier.service.addresses import parse_address
from twocvm_verifier.service.clients import Forwarded, client_of, is_named, parse_networks
from twocvm_verifier.service.limits import Guard, Rate
from twocvm_verifier.service.problems import ServiceError
from twocvm_verifier.service.process import Connection, Doorkeeper
from twocvm_verifier.service.secretfiles import read_password, read_seal_key, read_secret
from twocvm_verifier.service.settings import CollateralPlaces, Limits, Settings
from twocvm_verifier.service.state.sealed import SealedOnly
from twocvm_verifier.service.tokens import KeyRing, new_key

HERE = ("192.0.2.1", 1)


@dataclasses.dataclass
class HandClock:
    """A clock that a test moves."""

    seconds: float = 0.0

    def now(self):
        """Nobody asks."""
        raise NotImplementedError

    def monotonic_seconds(self) -> float:
        """Return what was put in."""
        return self.seconds


async def asked(app, *, client="192.0.2.1", path="/v1/appraise", headers=()) -> tuple[int, dict[bytes, bytes], str]:
    """Ask an application once; return the status, the headers and the client that it saw."""
    told = []
    scope = {"type": "http", "method": "GET", "path": path, "client": client and (client, 1), "headers": list(headers)}

    async def send(message):
        told.append(message)

    await app(scope, None, send)
    return told[0]["status"], dict(told[0]["headers"]), told[1]["body"].decode()


async def mirror(scope, receive, send):
    """Answer with the client."""
    await Response(scope["client"][0] if scope["client"] else "")(scope, receive, send)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("testclient", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_client_is_an_address_or_what_a_subscriber_is_given(address, client):
    """Nobody is many clients by having many addresses of one network."""
    assert client_of(address) == client


def test_a_share_fills_steadily():
    """A burst at once, then as much as the rate says, and who waits as told is answered."""
    clock = HandClock()
    rate = Rate(per_second=2, burst=3, clock=clock)
    assert [rate.wait_seconds("a") for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    assert rate.wait_seconds("b") == 0
    clock.seconds = 0.5
    assert [rate.wait_seconds("a") for _ in range(2)] == [0, 0.5]
    clock.seconds = 100
    assert [rate.wait_seconds("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_of_many_clients_the_quietest_is_forgotten():
    """What is remembered of strangers has a bound."""
    rate = Rate(per_second=1, burst=1, clock=HandClock(), max_clients=2)
    assert [rate.wait_seconds(client) for client in ("a", "b", "a", "c")] == [0, 0, 1, 0]
    assert rate.wait_seconds("a") == 1
    assert rate.wait_seconds("b") == 0


def test_one_client_is_refused_and_others_are_not():
    """429 with Retry-After and a code; probes are always answered, and what is no request passes."""
    seen = []

    async def lifespan(scope, receive, send):
        seen.append(scope["type"])

    async def run():
        guard = Guard(mirror, rate=Rate(per_second=0.1, burst=1, clock=HandClock()), concurrent=8, per_client=8)
        assert (await asked(guard))[0] == 200
        status, headers, body = await asked(guard)
        assert (status, headers[b"retry-after"]) == (429, b"10")
        assert "RATE_LIMITED" in body
        assert (await asked(guard, client="192.0.2.2"))[0] == 200
        assert [(await asked(guard, client=None))[0] for _ in range(2)] == [200, 429]
        assert (await asked(guard, path="/livez"))[0] == (await asked(guard, path="/readyz"))[0] == 200
        await Guard(lifespan, rate=Rate(per_second=1, burst=1, clock=HandClock()), concurrent=1, per_client=1)(
            {"type": "lifespan"}, None, None
        )

    asyncio.run(run())
    assert seen == ["lifespan"]


def test_what_is_under_way_has_a_bound():
    """One more than there may be gets 503, and there is room again afterwards, however it ended."""

    async def run():
        free = asyncio.Event()

        async def slow(scope, receive, send):
            await free.wait()
            if scope["path"] == "/broken":
                raise RuntimeError
            await mirror(scope, receive, send)

        guard = Guard(slow, rate=Rate(per_second=100, burst=100, clock=HandClock()), concurrent=1, per_client=1)
        first = asyncio.create_task(asked(guard, path="/broken"))
        await asyncio.sleep(0)
        status, headers, body = await asked(guard, client="192.0.2.2")
        assert (status, headers[b"retry-after"], "SERVICE_BUSY" in body) == (503, b"1", True)
        free.set()
        with pytest.raises(RuntimeError):
            await first
        assert (await asked(guard))[0] == 200

    asyncio.run(run())


def test_one_client_has_not_everything_under_way():
    """Who holds its share of requests gets 429 for one more; the next client is answered, and it is again later."""

    async def run():
        free = asyncio.Event()

        async def slow(scope, receive, send):
            if scope["path"] == "/slow":
                await free.wait()
            await mirror(scope, receive, send)

        guard = Guard(slow, rate=Rate(per_second=100, burst=100, clock=HandClock()), concurrent=8, per_client=2)
        held = [asyncio.create_task(asked(guard, path="/slow")) for _ in range(2)]
        await asyncio.sleep(0)
        status, headers, body = await asked(guard)
        assert (status, headers[b"retry-after"], "RATE_LIMITED" in body) == (429, b"1", True)
        assert (await asked(guard, client="192.0.2.2"))[0] == 200
        free.set()
        assert [(await each)[0] for each in held] == [200, 200]
        assert (await asked(guard))[0] == 200

    asyncio.run(run())


FORWARDED = b"x-forwarded-for"


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("10.0.0.1", [(FORWARDED, b"192.0.2.7")], "192.0.2.7"),
        ("10.0.0.1", [(FORWARDED, b"203.0.113.9, 192.0.2.7")], "192.0.2.7"),
        ("10.0.0.1", [(FORWARDED, b"203.0.113.9"), (FORWARDED, b"192.0.2.7")], "192.0.2.7"),
        ("10.0.0.1", [(FORWARDED, b"203.0.113.9, 192.0.2.7, 10.0.0.2")], "192.0.2.7"),
        ("::ffff:10.0.0.1", [(FORWARDED, b"2001:db8::1")], "2001:db8::1"),
        ("10.0.0.1", [(FORWARDED, b"10.0.0.3, 10.0.0.2")], "10.0.0.3"),
        ("10.0.0.1", [(FORWARDED, b"192.0.2.7, unknown")], "10.0.0.1"),
        ("10.0.0.1", [(FORWARDED, b"192.0.2.7:80")], "10.0.0.1"),
        ("10.0.0.1", [(FORWARDED, b"192.0.2.7" + b",10.0.0.2" * 16)], "10.0.0.2"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [(b"forwarded", b"for=192.0.2.7")], "10.0.0.1"),
        ("192.0.2.66", [(FORWARDED, b"192.0.2.7")], "192.0.2.66"),
        ("testclient", [(FORWARDED, b"192.0.2.7")], "testclient"),
    ],
)
def test_of_named_proxies_alone_is_believed_who_asks(peer, headers, client):
    """The last address that is none of ours; nothing that a client wrote itself."""
    app = Forwarded(mirror, proxies=parse_networks(["10.0.0.0/8"]))
    assert asyncio.run(asked(app, client=peer, headers=headers))[2] == client


def test_without_named_proxies_nobody_is_believed():
    """On loopback and everywhere else, a client is its connection's other end."""
    app = Forwarded(mirror, proxies=())
    assert asyncio.run(asked(app, client="127.0.0.1", headers=[(FORWARDED, b"192.0.2.7")]))[2] == "127.0.0.1"
    assert not is_named("no address", parse_networks(["0.0.0.0/0"]))


def test_a_service_that_is_ready_says_so():
    """Each part by its name."""
    with service(probes={"state": lambda: None, "keys": lambda: None}) as client:
        assert client.get("/livez").json() == {"status": "ok"}
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ok", "parts": {"keys": "ok", "state": "ok"}})


def test_a_service_that_is_not_ready_says_which_part(caplog):
    """By code and without a word of what went wrong inside; and it is asked again only after a while."""
    asked_for = []

    def broken():
        asked_for.append(1)
        raise RuntimeError("a secret")

    def unreachable():
        raise ServiceError("STATE_UNREACHABLE", "state: at a secret place")

    with service(probes={"state": unreachable, "keys": broken, "collateral": lambda: None}) as client:
        for _ in range(3):
            ready = client.get("/readyz")
        assert client.get("/livez").status_code == 200
    assert ready.status_code == 503
    parts = {"state": "STATE_UNREACHABLE", "keys": "SERVICE_INTERNAL", "collateral": "ok"}
    assert ready.json() == {"status": "not ready", "parts": parts}
    assert "secret" not in ready.text + caplog.text
    assert len(asked_for) == 1


def test_secrets_are_read_where_nobody_else_can(tmp_path):
    """Mode 0600, no link, and what the setting wants."""
    file = tmp_path / "secret"
    file.write_text("ab" * 32 + "\n")
    file.chmod(0o640)
    for read in (read_secret, read_seal_key, read_password):
        with pytest.raises(ServiceError) as exposed:
            read(file)
        assert (exposed.value.code, exposed.value.exit_status) == ("SECRET_EXPOSED", 41)
    file.chmod(0o600)
    assert (read_seal_key(file), read_password(file)) == (b"\xab" * 32, "ab" * 32)
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(OSError, match="symbolic"):
        read_secret(link)
    file.write_text("two words\n")
    for read in (read_seal_key, read_password):
        with pytest.raises(MalformedError) as malformed:
            read(file)
        assert malformed.value.code == "MALFORMED_SECRET"
        assert "words" not in str(malformed.value)


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_of_collateral_that_cannot_be_read_is_told(tmp_path, made):
    """One that is not there yet is made when it is wanted; a file in its place is of no use."""
    place = tmp_path / "store"
    clock = SystemClock()
    settings = Settings(collateral=CollateralPlaces.model_construct(store=place, offline=True))
    probes = assembly._probes(
        collateral=assembly._collateral(settings.collateral, around=lambda fetcher: fetcher),
        keys=KeyRing(current=new_key(), following=None),
        answers=SealedOnly(key=bytes(32), clock=clock),
    )
    if made:
        place.mkdir()
    for probe in probes.values():
        probe()
    if made:
        place.rmdir()
    place.touch(mode=0o600)
    with pytest.raises(ServiceError) as unreadable:
        probes["collateral"]()
    assert unreadable.value.code == "STORE_UNREADABLE"


def test_a_wait_that_begins_anew_has_its_whole_time():
    """A connection ends when its last wait is over, whether that ends later than the one before or earlier."""

    class Wire(asyncio.Transport):
        ended = 0.0

        def abort(self):
            self.ended = asyncio.get_running_loop().time()

    async def lasted(*waits: float) -> float:
        limits = Limits(header_seconds=waits[0])
        protocol = type("Here", (Connection,), {"doorkeeper": Doorkeeper(limits, proxies=())})
        wire, connection = (
            Wire({"peername": HERE}),
            protocol(uvicorn.Config(mirror, log_config=None), ServerState(), {}),
        )
        began = asyncio.get_running_loop().time()
        connection.connection_made(wire)
        for seconds in waits[1:]:
            connection._wait(seconds)
        await asyncio.sleep(0.3)
        connection.connection_lost(ConnectionResetError())
        return wire.ended - began

    # What has not ended by then has never.
    assert asyncio.run(lasted(0.05, 0.15)) >= 0.15
    assert asyncio.run(lasted(60.0, 0.05)) >= 0.05


def test_a_connection_that_was_sent_away_is_not_listened_to():
    """What still comes from it asks nothing and counts nothing."""

    class Wire(asyncio.Transport):
        written = b""
        closed = False

        def write(self, data):
            self.written += bytes(data)

        def close(self):
            self.closed = True

        def is_closing(self):
            return self.closed

    async def run():
        doorkeeper = Doorkeeper(Limits.model_construct(**dict(Limits()) | {"connections": 0}), proxies=())
        protocol = type("Here", (Connection,), {"doorkeeper": doorkeeper})
        config, wire = uvicorn.Config(mirror, log_config=None), Wire()
        connection = protocol(config, ServerState(), {})
        connection.connection_made(wire)
        connection.data_received(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.connection_lost(None)
        return wire

    wire = asyncio.run(run())
    assert wire.closed
    assert wire.written.startswith(b"HTTP/1.1 503 ")
    assert wire.written.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("count", [1, 2])
def test_answers_do_not_wait_for_acknowledgements(count):
    """What is accepted sends at once; else each answer over a kept connection would take 40 ms."""
    listeners = serve._listening(parse_address("127.0.0.1:0"), workers=count)
    try:
        assert len({listener.getsockname() for listener in listeners}) == 1
        for listener in listeners:
            assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        if count == 1:
            with socket.create_connection(listeners[0].getsockname(), timeout=10):
                accepted, _ = listeners[0].accept()
                with accepted:
                    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        for listener in listeners:
            listener.close()


def test_a_worker_stops_as_if_told_to_when_nobody_watches():
    """The end of what its watcher holds open is SIGTERM."""
    told = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        watched, held = os.pipe()
        os.close(held)
        workers._end_with_watcher(watched)
        os.close(watched)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM]
