"""One TLS connection over one socket, on a pair of sockets of our own: waits, ends and what lies between."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from OpenSSL import SSL
from tests.support.attested_guest import Scene
from tests.support.hostile_guest import Forgery
from tests.support.sdk import StandingClock

from twocvm_sdk.tlssocket import TlsSocket
from twocvm_verifier.errors import FetchError, HandshakeError


@dataclass
class MovedClock(StandingClock):
    """A clock that a test moves."""

    seconds: float = 0.0

    def monotonic_seconds(self) -> float:
        """Return the seconds that were set."""
        return self.seconds


@dataclass
class Ends:
    """Both ends of a connection: ours, and the peer's as OpenSSL has it."""

    ours: TlsSocket
    peer: SSL.Connection
    wire: socket.socket
    clock: MovedClock


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A connection with its handshake done."""
    left, right = socket.socketpair()
    clock = MovedClock()
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    client.set_connect_state()
    peer = SSL.Connection(Forgery(scene=Scene()).context(), right)
    peer.set_accept_state()
    ours = TlsSocket(client, left, clock=clock, wait_seconds=0.3)
    thread = threading.Thread(target=peer.do_handshake, daemon=True)
    thread.start()
    ours.handshake()
    ours.send_held()
    thread.join()
    with right, contextlib.closing(ours):
        yield Ends(ours, peer, right, clock)


def test_end_of_the_handshake_leaves_with_the_first_bytes() -> None:
    """Until something is sent the peer waits for the handshake's last flight; then it has both at once."""
    left, right = socket.socketpair()
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    client.set_connect_state()
    peer = SSL.Connection(Forgery(scene=Scene()).context(), right)
    peer.set_accept_state()
    ours = TlsSocket(client, left, clock=MovedClock(), wait_seconds=5)
    heard: list[bytes] = []

    def hear() -> None:
        peer.do_handshake()
        heard.append(peer.recv(100))

    thread = threading.Thread(target=hear, daemon=True)
    thread.start()
    with right, contextlib.closing(ours):
        ours.handshake()
        thread.join(0.1)
        assert thread.is_alive()
        ours.send_all(b"first")
        thread.join(5)
    assert heard == [b"first"]


def test_time_is_up_even_while_bytes_come(ends: Ends) -> None:
    """A peer that never lets us wait does not get more time than one that does."""
    with ends.ours.within(10):
        ends.peer.sendall(b"a")
        assert ends.ours.readinto(bytearray(1)) == 1
        ends.peer.sendall(b"b")
        ends.clock.seconds = 10.0
        with pytest.raises(FetchError) as ending:
            ends.ours.readinto(bytearray(1))
    assert ending.value.code == "CONNECTION_TIMEOUT"
    assert ends.ours.readinto(bytearray(1)) == 1


def test_nothing_is_waited_for_when_asked_so(ends: Ends) -> None:
    """Where nothing is there, that is said at once."""
    with ends.ours.immediately():
        assert ends.ours.readinto(bytearray(1)) is None
        ends.peer.sendall(b"a")
        assert ends.ours.readinto(bytearray(1)) == 1


def test_end_in_order_and_end_without_a_word_differ(ends: Ends) -> None:
    """A close_notify is an end; a closed socket is a loss."""
    ends.peer.shutdown()
    assert ends.ours.has_data()
    assert ends.ours.readinto(bytearray(1)) == 0


def test_end_without_a_word_is_a_loss(ends: Ends) -> None:
    """Who cuts the wire cannot make a short message look whole."""
    ends.wire.close()
    for read in (ends.ours.has_data, lambda: ends.ours.readinto(bytearray(1))):
        with pytest.raises(FetchError) as ending:
            read()
        assert ending.value.code == "CONNECTION_LOST"


def test_writing_to_nobody_is_a_loss(ends: Ends) -> None:
    """A peer that is gone is found out by who sends, too."""
    ends.wire.close()
    with pytest.raises(FetchError) as ending:
        ends.ours.send_all(bytes(1 << 20))
    assert ending.value.code == "CONNECTION_LOST"


def test_changed_record_breaks_the_connection(ends: Ends) -> None:
    """Bytes that do not authenticate are never handed on, and nothing works after them."""
    ends.wire.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(HandshakeError) as refusal:
        ends.ours.readinto(bytearray(1))
    assert refusal.value.code == "TLS_REFUSED"
    for use in (ends.ours.has_data, lambda: ends.ours.send_all(b"x")):
        with pytest.raises(HandshakeError):
            use()


def test_failure_of_one_connection_is_not_anothers(ends: Ends) -> None:
    """What broke on one connection leaves nothing behind for the next one of the same thread."""
    ends.wire.close()
    for _ in range(3):
        with pytest.raises(FetchError):
            ends.ours.send_all(bytes(1 << 20))
    scene = Scene()
    with scene.serve() as guest, scene.connect(guest.url) as connection:
        assert connection.http.get(connection.base_url + "/whoami").status_code == 200
