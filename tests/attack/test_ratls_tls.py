"""What TLS has that would go round a verified handshake: renegotiation, early data, sessions that go on.

Each end is asked for it by a peer that does whatever it likes. What the participant's end refuses of a server stands in
`test_ratls_certificate`; here are the guest's end and what neither end does.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL
from tests.support.attested_guest import RunningGuest, Scene
from tests.support.hostile_guest import Forgery, HostileGuest, Talk
from tests.support.raw_client import RawClient


@pytest.fixture(scope="module")
def guest() -> Iterator[RunningGuest]:
    """A guest that is locked."""
    with Scene().serve() as running:
        yield running


def test_a_client_cannot_renegotiate(guest: RunningGuest) -> None:
    """A connection has one handshake: what a client was at its end, it stays."""
    with RawClient(guest.address) as client:
        client.handshake()
        with pytest.raises(SSL.Error):
            client.tls.renegotiate()


def test_a_server_cannot_renegotiate() -> None:
    """A guest that was proven cannot become another within its connection."""
    forgery, ended = Forgery(scene=Scene()), []

    def renegotiate(talk: Talk) -> None:
        talk.prove(forgery)
        try:
            talk.tls.renegotiate()
        except SSL.Error:
            ended.append("refused")

    with HostileGuest(forgery.context(), renegotiate) as hostile, forgery.scene.connect(hostile.url) as connection:
        assert connection.proof.spki_sha256 == forgery.spki_sha256
    assert ended == ["refused"]


def test_a_guest_takes_no_early_data(guest: RunningGuest, tmp_path: Path) -> None:
    """What a guest lets a client keep of a session allows no byte before a handshake, and so none can be replayed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command is not installed: no early data is tried")
    kept, early = tmp_path / "session.pem", tmp_path / "early"
    early.write_bytes(b"GET /whoami HTTP/1.1\r\nHost: guest\r\n\r\n")
    client = [openssl, "s_client", "-tls1_3", "-connect", "{}:{}".format(*guest.address)]
    request = b"GET /whoami HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n"

    def talk(*options: str) -> str:
        command = [*client, "-ign_eof", *options]
        ran = subprocess.run(command, input=request, capture_output=True, timeout=30, check=False)
        return ran.stdout.decode("latin-1")

    assert "HTTP/1.1 200" in talk("-sess_out", str(kept))
    again = talk("-sess_in", str(kept), "-early_data", str(early))
    assert "HTTP/1.1 200" in again
    assert "Early data was accepted" not in again
    assert "Reused, TLS" not in again
    assert guest.requests.count("GET /whoami") == 2
