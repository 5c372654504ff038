"""One TLS connection without a socket: what its owner relies on when a connection is not what it should be."""

from __future__ import annotations

import contextlib

import pytest
from OpenSSL import SSL
from tests.support.attested_guest import Scene

from twocvm_guest.tls.context import ClientKey, server_context
from twocvm_guest.tls.engine import RECORD_BYTES, TlsBroken, TlsEngine


class Pair:
    """An engine and a client, joined by their bytes."""

    def __init__(self) -> None:
        self.to_client: list[bytes] = []
        context = server_context(Scene().server_identity())
        self.engine = TlsEngine(context, app_data=ClientKey(), send=self.to_client.append)
        self.client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.client.set_connect_state()

    def exchange(self) -> None:
        """Carry everything that waits, both ways."""
        for piece in self.to_client:
            self.client.bio_write(piece)
        self.to_client.clear()
        try:
            self.engine.receive(memoryview(self.client.bio_read(1 << 20)))
        except SSL.WantReadError:
            return

    def read(self) -> bytes:
        """Return what the engine has, up to a size that is no multiple of a record's."""
        room = bytearray(100_000)
        return bytes(room[: self.engine.read_into(memoryview(room))])

    def connected(self) -> Pair:
        """Complete the handshake."""
        for _ in range(3):
            with contextlib.suppress(SSL.WantReadError):
                self.client.do_handshake()
            self.exchange()
            done = self.engine.handshake()
        assert done
        return self


def test_whatever_is_written_is_read_in_order() -> None:
    """Pieces of any size come out as one stream, on both sides."""
    pair = Pair().connected()
    sent = b"".join(bytes([size % 251]) * size for size in (1, RECORD_BYTES, RECORD_BYTES + 1, 700_000))
    pair.engine.write(sent)
    pair.exchange()
    received = b""
    while len(received) < len(sent):
        received += pair.client.recv(1 << 20)
    assert received == sent
    view = memoryview(sent)
    received = b""
    while view:
        view = view[pair.client.send(view[: 1 << 17]) :]
        pair.exchange()
        while plaintext := pair.read():
            received += plaintext
    assert received == sent


def test_nothing_can_be_written_before_the_handshake() -> None:
    """A connection that is not made yet carries nothing, and ends in silence."""
    pair = Pair()
    with pytest.raises(TlsBroken):
        pair.engine.write(b"too early")
    pair.engine.end()
    assert pair.to_client == []


def test_peers_end_is_seen_and_ours_is_said() -> None:
    """An end in order is told apart from a cut, both ways."""
    pair = Pair().connected()
    pair.client.shutdown()
    pair.exchange()
    assert (pair.read(), pair.engine.ended_by_peer) == (b"", True)
    pair.engine.end()
    pair.exchange()
    with pytest.raises(SSL.ZeroReturnError):
        pair.client.recv(1)
