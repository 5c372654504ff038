"""More clients than a guest holds: who gives way to whom, and that every honest one is served among hostile ones."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from OpenSSL import SSL
from tests.support.attested_guest import RunningGuest, Scene, tls_identity
from tests.support.guest import ANYBODY, Client, LiveGuest
from tests.support.hostile_clients import hostile_clients
from tests.support.manifests import World
from tests.support.processes import wait_until
from tests.support.raw_client import RawClient, request

from twocvm_guest.tls import Limits, PeerConnection
from twocvm_guest.tls.context import spki_sha256_of

FEW = Limits(connections=8, unlocked_connections=3, of_one_participant=6, idle_seconds=60, head_seconds=60)
NAMES = ("hospital-a", "hospital-b", "analytics")
# Whose keys the guest of these tests knows: two participants, of whom one has two.
OWNERS = {"hospital-a": "hospital-a", "analytics": "hospital-a", "hospital-b": "hospital-b"}
SHARE = FEW.connections // 2
HONEST = HOSTILE = 100


@pytest.fixture
def guest() -> Iterator[RunningGuest]:
    """Return a guest that takes few connections and knows its participants."""
    with Scene(limits=FEW).serve() as running:
        know(running, OWNERS)
        yield running


def know(guest: RunningGuest, owners: Mapping[str, str]) -> None:
    """Have a guest know keys, by whose they are."""
    keys = {spki_sha256_of(tls_identity(name).certificate): owner for name, owner in owners.items()}
    guest.connections.swap(guest.scene.server_identity(), keep=None, participants=keys)


class Crowd:
    """Clients of one guest, all of which stay."""

    def __init__(self, guest: RunningGuest, stack: ExitStack) -> None:
        self._guest = guest
        self._stack = stack

    def comes(self, name: str | None = None, *, asks: bool = True) -> RawClient:
        """Have one more client connect, as a participant or as a stranger, and ask for something."""
        identity = None if name is None else tls_identity(name)
        client = self._stack.enter_context(RawClient(self._guest.address, identity=identity)).handshake()
        if asks:
            assert served(client)
        return client


@pytest.fixture
def crowd(guest: RunningGuest) -> Iterator[Crowd]:
    """Return the clients of the guest."""
    with ExitStack() as stack:
        yield Crowd(guest, stack)


def served(client: RawClient) -> bool:
    """Return whether a client still gets an answer."""
    try:
        client.send(request("GET", "/whoami"))
        return b"200 OK" in client.response()
    except (SSL.Error, OSError, EOFError):
        return False


def test_participant_comes_in_where_strangers_hold_everything(guest: RunningGuest, crowd: Crowd) -> None:
    """Of strangers that came through their handshake and idle, the oldest gives way, one for each who comes."""
    strangers = [crowd.comes() for _ in range(FEW.connections)]
    first, second = crowd.comes("hospital-a"), crowd.comes("hospital-b")
    assert len(guest.connections) <= FEW.connections
    assert [served(client) for client in strangers] == [False, False] + [True] * 6
    assert served(first)
    assert served(second)


def test_stranger_that_idles_gives_way_before_one_that_asks(crowd: Crowd) -> None:
    """Who has asked for nothing yet is spared as long as somebody idles, even somebody younger."""
    asking = crowd.comes(asks=False)
    strangers = [crowd.comes() for _ in range(FEW.connections - 1)]
    crowd.comes("hospital-a")
    assert served(asking)
    assert [served(client) for client in strangers] == [False] + [True] * 6


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /who",
        b"PUT /count HTTP/1.1\r\nhost: g\r\ncontent-length: 1000\r\n\r\nbegun",
    ],
)
def test_strangers_that_begin_and_do_not_end_keep_nobody_out(crowd: Crowd, begun: bytes) -> None:
    """Silence after the handshake, half a head and half a body hold no place that a participant needs."""
    for _ in range(FEW.connections):
        crowd.comes(asks=False).send(begun)
    time.sleep(0.2)
    assert served(crowd.comes("hospital-a"))


def test_sockets_that_are_only_opened_end_nobodys_connection(guest: RunningGuest, crowd: Crowd) -> None:
    """Who opens sockets pushes out its own as soon as they hold a quarter of the room, and not even a stranger."""
    strangers = [crowd.comes() for _ in range(FEW.connections - 3)]
    with ExitStack() as opened:
        for _ in range(3 * FEW.connections):
            opened.enter_context(socket.create_connection(guest.address, timeout=5))
        # They are accepted in the order in which they came, so all of them have been when this one is.
        crowd.comes("hospital-a")
        assert all(served(client) for client in strangers)


def test_stranger_for_whom_the_guest_works_is_answered(guest: RunningGuest, crowd: Crowd) -> None:
    """What the guest has begun for a stranger it ends, whoever comes meanwhile."""
    began, end = threading.Event(), threading.Event()

    async def work(peer: PeerConnection, body: bytes) -> tuple[int, str, bytes]:
        began.set()
        while not end.is_set():
            await asyncio.sleep(0.01)
        return 200, "text/plain", b"done"

    guest.routes["/work"] = work
    busy = crowd.comes(asks=False)
    busy.send(request("GET", "/work"))
    assert began.wait(5)
    for _ in range(2 * FEW.connections):
        crowd.comes()
    end.set()
    assert busy.response().endswith(b"done")


def test_participants_give_way_to_nobody(guest: RunningGuest, crowd: Crowd) -> None:
    """Where participants hold everything, whoever comes is refused, until one of them goes."""
    participants = [crowd.comes(NAMES[number % 2]) for number in range(FEW.connections)]
    with pytest.raises((SSL.Error, ConnectionError)):
        crowd.comes()
    assert all(served(client) for client in participants)
    participants[0].raw.close()
    wait_until(lambda: len(guest.connections) == FEW.connections - 1)
    crowd.comes()


def test_one_participant_keeps_no_other_out(guest: RunningGuest, crowd: Crowd) -> None:
    """A participant has so many connections; a further one costs the oldest of its own that idles."""
    own = [crowd.comes("hospital-a") for _ in range(SHARE)]
    other = crowd.comes("hospital-b")
    newer = crowd.comes("hospital-a")
    assert [served(client) for client in own] == [False] + [True] * (SHARE - 1)
    assert served(other)
    assert served(newer)
    assert len(guest.connections) == SHARE + 1


def test_many_keys_of_one_participant_keep_no_other_out(guest: RunningGuest, crowd: Crowd) -> None:
    """What counts is whose a key is: with two of them nobody has more connections than with one."""
    own = [crowd.comes("hospital-a") for _ in range(SHARE)]
    newer = crowd.comes("analytics")
    assert [served(client) for client in own] == [False] + [True] * (SHARE - 1)
    assert served(newer)
    assert len(guest.connections) == SHARE


def test_participants_together_leave_another_its_share(guest: RunningGuest, crowd: Crowd) -> None:
    """However many connections the others ask for, strangers among them, each participant gets its even share."""
    for number in range(2 * FEW.connections):
        crowd.comes(("hospital-a", "analytics", None)[number % 3])
    own = [crowd.comes("hospital-b") for _ in range(SHARE)]
    assert all(served(client) for client in own)
    assert len(guest.connections) <= FEW.connections


def test_no_participant_has_more_than_the_limit() -> None:
    """Where an even share would be more, the limit of one participant holds."""
    limits = Limits(connections=8, of_one_participant=2)
    with Scene(limits=limits).serve() as guest, ExitStack() as stack:
        know(guest, OWNERS)
        crowd = Crowd(guest, stack)
        own = [crowd.comes("hospital-a") for _ in range(3)]
        assert [served(client) for client in own] == [False, True, True]


def test_participant_whose_connections_all_work_loses_the_oldest(guest: RunningGuest, crowd: Crowd) -> None:
    """The limit holds also for connections on which something is under way."""
    own = [crowd.comes("hospital-a", asks=False) for _ in range(SHARE)]
    crowd.comes("hospital-a")
    assert [served(client) for client in own] == [False] + [True] * (SHARE - 1)


def test_participant_loses_what_idles_before_what_asks(guest: RunningGuest, crowd: Crowd) -> None:
    """An older connection that has something under way is spared as long as one of the same participant idles."""
    asking = crowd.comes("hospital-a", asks=False)
    idle = [crowd.comes("hospital-a") for _ in range(SHARE - 1)]
    crowd.comes("hospital-a")
    assert served(asking)
    assert [served(client) for client in idle] == [False] + [True] * (SHARE - 2)


def test_whoever_locks_comes_in_where_others_idle() -> None:
    """Before the lock everybody is a stranger, and who idles gives way to who comes."""
    with Scene(locked=False, limits=FEW).serve() as guest, ExitStack() as stack:
        crowd = Crowd(guest, stack)
        idle = [crowd.comes() for _ in range(FEW.unlocked_connections)]
        assert served(crowd.comes())
        assert len(guest.connections) <= FEW.unlocked_connections
        assert not served(idle[0])


def test_stranger_has_less_time_to_idle_than_a_participant() -> None:
    """Who is not in the manifest is dropped between two requests when a participant is still waited for."""
    limits = Limits(stranger_idle_seconds=0.4, idle_seconds=60)
    with Scene(limits=limits).serve() as guest, ExitStack() as stack:
        know(guest, {"hospital-a": "hospital-a"})
        crowd = Crowd(guest, stack)
        participant, stranger, other = crowd.comes("hospital-a"), crowd.comes(), crowd.comes("hospital-b")
        assert stranger.seconds_until_end(at_most=5) < 5
        assert other.seconds_until_end(at_most=5) < 5
        assert served(participant)


# Many at once.


def test_every_honest_client_is_served_among_as_many_hostile_ones() -> None:
    """With 100 hostile connections open, 100 honest ones are proven and served at once, each as who it is."""
    with LiveGuest(World()) as guest:
        guest.lock()
        with hostile_clients(guest, HOSTILE), ThreadPoolExecutor(16) as threads, ExitStack() as stack:
            names = [(*NAMES, ANYBODY)[number % 4] for number in range(HONEST)]
            clients = [stack.enter_context(client) for client in threads.map(guest.connect, names)]
            assert len({client.connection.proof.nonce for client in clients}) == HONEST
            statuses = list(threads.map(_status, clients))
            assert statuses == [401 if name == ANYBODY else 200 for name in names]


def _status(client: Client) -> int:
    return client.get("/v1/manifest").status_code
