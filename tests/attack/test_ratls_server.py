"""Attacks on the guest's server: by clients that lie about who they are, or send what is malformed; and its lock."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from OpenSSL import SSL
from tests.support.attested_guest import RunningGuest, Scene, certificate_of, tls_identity
from tests.support.hostile_guest import resigned
from tests.support.processes import wait_until
from tests.support.raw_client import RawClient, all_at_once, request

from twocvm_guest.tls import PeerConnection
from twocvm_guest.tls.context import spki_sha256_of
from twocvm_sdk.connection import TlsIdentity
from twocvm_verifier.errors import FetchError, HandshakeError


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningGuest]:
    """A guest with its usual limits, for all tests here."""
    with Scene().serve() as running:
        yield running


@pytest.fixture
def guest(shared: RunningGuest) -> RunningGuest:
    """The shared guest, as if nothing had been asked of it."""
    shared.requests.clear()
    shared.routes.clear()
    return shared


# Who clients say they are.


def test_client_certificate_that_could_issue_others_is_refused(guest: RunningGuest) -> None:
    """CA:TRUE is refused, although the key is a participant's; that is 10 for who tries."""
    with pytest.raises(HandshakeError) as refusal:
        guest.scene.connect(guest.url, identity=tls_identity(ca=True))
    assert (refusal.value.code, refusal.value.exit_status) == ("TLS_REFUSED", 10)
    assert guest.requests == []


def test_client_chain_is_refused(guest: RunningGuest) -> None:
    """Certificates beside the client's leaf are neither needed nor taken, whether or not they issued it."""
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = certificate_of(authority, ca=True, name="authority")
    issued = certificate_of(tls_identity().key, ca=False, signer=authority, issuer="authority")
    for leaf in (tls_identity().certificate, issued):
        identity = TlsIdentity(key=tls_identity().key, certificate=leaf)
        with RawClient(guest.address, identity=identity, chain=(issuer,)) as client:
            client.handshake().send(request("GET", "/whoami"))
            assert client.answer() == b""
    assert guest.requests == []


def test_leaf_that_an_authority_issued_is_known_by_its_key(guest: RunningGuest) -> None:
    """Who issued a client's certificate means nothing."""
    authority = ec.generate_private_key(ec.SECP256R1())
    issued = certificate_of(tls_identity().key, ca=False, signer=authority, issuer="authority")
    identity = TlsIdentity(key=tls_identity().key, certificate=issued)
    with guest.scene.connect(guest.url, identity=identity) as connection:
        assert connection.http.get(connection.base_url + "/whoami").text.encode().strip(b'"') == tls_identity_hash()


def test_client_certificate_that_cannot_be_read_is_refused(guest: RunningGuest) -> None:
    """What the library that reads certificates cannot read is nobody's."""
    key = tls_identity().key
    good = certificate_of(key, ca=False)
    # Basic constraints whose value is no DER: OpenSSL passes it by, and the reader does not.
    broken = resigned(good.tbs_certificate_bytes.replace(b"\x04\x02\x30\x00", b"\x04\x02\x30\x01"), key)
    with RawClient(guest.address, identity=TlsIdentity(key=key, certificate=broken)) as client:
        client.handshake().send(request("GET", "/whoami"))
        assert client.answer() == b""
    assert guest.requests == []


def tls_identity_hash() -> bytes:
    """The hash of the key of hospital-a, as `/whoami` answers it."""
    return spki_sha256_of(tls_identity().certificate).hex().encode()


@pytest.mark.parametrize(
    "make_key",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate,
    ],
)
@pytest.mark.parametrize("ca", [False, None])
def test_client_is_known_by_its_key_alone(
    guest: RunningGuest,
    make_key: Callable[[], object],
    ca: bool | None,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Whatever kind of key, names and dates a certificate has, the hash of its key is what the application sees."""
    key = make_key()
    certificate = certificate_of(key, ca=ca, name="hospital-a")
    with guest.scene.connect(guest.url, identity=TlsIdentity(key=key, certificate=certificate)) as connection:
        seen = connection.http.get(connection.base_url + "/whoami").json()
    assert seen == spki_sha256_of(certificate).hex()
    assert seen.encode() != tls_identity_hash()


def test_client_without_a_certificate_is_nobody(guest: RunningGuest) -> None:
    """A certificate is asked for, not required."""
    with guest.scene.connect(guest.url, identity=None) as connection:
        assert connection.http.get(connection.base_url + "/whoami").json() is None


def test_clients_never_cross(guest: RunningGuest) -> None:
    """Many participants at once: each request has the identity of its own connection."""
    identities = [tls_identity(name) for name in ("hospital-a", "hospital-b", "analytics")] + [None]
    wrong: list[object] = []

    def ask(identity: TlsIdentity | None) -> None:
        want = None if identity is None else spki_sha256_of(identity.certificate).hex()
        for _ in range(5):
            with guest.scene.connect(guest.url, identity=identity) as connection:
                seen = connection.http.get(connection.base_url + "/whoami").json()
                wrong.extend([] if seen == want else [(seen, want)])

    all_at_once([lambda identity=identity: ask(identity) for identity in identities * 2])
    assert wrong == []


def test_header_of_a_request_says_nothing_about_its_connection(guest: RunningGuest) -> None:
    """Forwarding headers are not believed, and answers name neither software nor time."""
    seen: list[object] = []

    async def spy(peer: PeerConnection, body: bytes) -> tuple[int, str, bytes]:
        seen.append(peer.participant_spki_sha256)
        return 200, "text/plain", b""

    guest.routes["/spy"] = spy
    with RawClient(guest.address) as client:
        client.handshake().send(request("GET", "/spy", "x-forwarded-for: 10.0.0.1", "x-forwarded-proto: http"))
        answer = client.response()
    assert seen == [None]
    assert b"date:" not in answer.lower()
    assert b"server:" not in answer.lower()


# TLS and HTTP that are not what they should be.


def test_older_tls_is_refused(guest: RunningGuest) -> None:
    """Guests speak TLS 1.3 only."""
    with RawClient(guest.address, greatest_version=SSL.TLS1_2_VERSION) as client, pytest.raises(SSL.Error):
        client.handshake()


def test_guest_never_resumes(guest: RunningGuest) -> None:
    """A session that a client kept makes a full handshake, with its certificate, all the same."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    judged: list[int] = []
    context.set_verify(SSL.VERIFY_PEER, lambda *arguments: judged.append(1) or True)
    session = None
    counts = []
    for _ in range(2):
        with socket.create_connection(guest.address) as raw:
            connection = SSL.Connection(context, raw)
            connection.set_connect_state()
            if session is not None:
                connection.set_session(session)
            connection.do_handshake()
            connection.sendall(request("GET", "/whoami"))
            connection.recv(100)
            session = connection.get_session()
            # Without a proper end OpenSSL would give up the session by itself, and this test would show nothing.
            connection.shutdown()
            counts.append(len(judged))
    assert counts[1] == 2 * counts[0]


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + b"\x00" * 100,
        b"\x80" * 400,
        b"\x15\x03\x03\x00\x02\x02\x28",
    ],
)
def test_what_is_not_tls_is_dropped(guest: RunningGuest, garbage: bytes) -> None:
    """Garbage in the place of a handshake ends that connection alone."""
    with socket.create_connection(guest.address) as raw:
        raw.sendall(garbage)
        raw.settimeout(5)
        while raw.recv(1000):
            pass
    with guest.scene.connect(guest.url) as connection:
        assert connection.http.get(connection.base_url + "/whoami").status_code == 200


def test_record_that_was_changed_on_the_way_ends_the_connection(guest: RunningGuest) -> None:
    """Ciphertext that does not authenticate is never handed on."""
    with RawClient(guest.address) as client:
        client.handshake()
        client.raw.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
        assert client.answer() == b""
    assert guest.requests == []


_HOST = b" HTTP/1.1\r\nhost: g\r\n"


@pytest.mark.parametrize(
    "smuggled",
    [
        b"PUT /count" + _HOST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /x" + _HOST,
        b"PUT /count" + _HOST + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"PUT /count" + _HOST + b"transfer-encoding: chunked\r\n\r\nno length\r\n",
        b"PUT /count" + _HOST + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"PUT /count" + _HOST + b"content-length: -1\r\n\r\n",
        b"PUT /count" + _HOST + b"content-length : 3\r\n\r\nabc",
        b"PUT /count" + _HOST + b"transfer-encoding: gzip\r\n\r\n",
        b"GET /a b" + _HOST + b"\r\n",
        b"GET /a\x00b" + _HOST + b"\r\n",
        b"GET *" + _HOST + b"\r\n",
        b"GET https://elsewhere/whoami" + _HOST + b"\r\n",
        b"GET /whoami HTTP/1.1\r\n\r\n",
        b"GET /whoami HTTP/1.0\r\nhost: g\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /whoami" + _HOST + b"x: " + b"a" * 16384 + b"\r\n\r\n",
        b"GET /whoami" + _HOST + b"x: a\r\n" * 3000 + b"\r\n",
        b"GET /" + b"a" * 20000,
        b"\x16\x03\x01",
    ],
)
def test_malformed_request_is_refused(guest: RunningGuest, smuggled: bytes) -> None:
    """What two readers could read in two ways, or is too long, gets 400 and the end of the connection."""
    with RawClient(guest.address) as client:
        client.handshake().send(smuggled + b"\r\n\r\n")
        answer = client.answer()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b'"code":"MALFORMED_REQUEST"' in answer
    assert guest.requests == []


def test_upgrade_to_a_websocket_is_not_offered(guest: RunningGuest) -> None:
    """A guest speaks HTTP/1.1 and nothing else on a connection."""
    upgrade = ("connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: AAAA")
    with RawClient(guest.address) as client:
        client.handshake().send(request("GET", "/whoami", *upgrade))
        assert client.receive().startswith(b"HTTP/1.1 200 ")


def test_upload_that_breaks_off_is_seen_as_broken(guest: RunningGuest) -> None:
    """The application learns that the rest will not come; it never takes a part for the whole."""
    endings: list[str] = []
    ended = threading.Event()

    async def until_end(scope: object, receive: Callable, send: Callable) -> None:
        while True:
            event = await receive()
            if event["type"] == "http.disconnect" or not event.get("more_body"):
                endings.append(event["type"])
                ended.set()
                return

    for end in (lambda client: client.raw.close(), lambda client: client.tls.shutdown()):
        ended.clear()
        with Scene().serve(until_end) as running, RawClient(running.address) as client:
            client.handshake().send(request("PUT", "/count", body=b"x" * 1000, length=2000))
            time.sleep(0.1)
            end(client)
            assert ended.wait(5)
    assert endings == ["http.disconnect", "http.disconnect"]


# The lock.


def test_swap_lets_the_asking_connection_answer_and_ends_every_other(guest: RunningGuest) -> None:
    """At the lock one connection gets its answer, and is then closed; nothing else is answered on older ones."""
    scene = guest.scene
    identity = scene.server_identity()
    slow = asyncio.Event()

    async def swap(peer: PeerConnection, body: bytes) -> tuple[int, str, bytes]:
        await asyncio.to_thread(guest.connections.swap, identity, keep=peer)
        slow.set()
        return 200, "text/plain", b"locked"

    async def wait(peer: PeerConnection, body: bytes) -> tuple[int, str, bytes]:
        await slow.wait()
        return 200, "text/plain", b"too late"

    guest.routes |= {"/swap": swap, "/wait": wait}
    with RawClient(guest.address) as waiting, RawClient(guest.address) as half, RawClient(guest.address) as asking:
        waiting.handshake().send(request("GET", "/wait"))
        asking.handshake()
        wait_until(lambda: guest.requests == ["GET /wait"])
        asking.send(request("GET", "/swap"))
        answer = asking.answer()
        assert answer.endswith(b"locked")
        assert b"connection: close" in answer
        assert waiting.answer() == b""
        with pytest.raises((SSL.Error, ConnectionError)):
            half.handshake()
    with scene.connect(guest.url) as connection:
        assert connection.certificate.spki_sha256 == identity.spki_sha256


def test_nothing_leaves_a_retired_connection(guest: RunningGuest) -> None:
    """From the swap on an older connection carries nothing, also before the loop has had time to close it."""
    sent: list[tuple[int, int]] = []

    async def swap(peer: PeerConnection, body: bytes) -> tuple[int, str, bytes]:
        others = [link for link in guest.connections.snapshot() if link.peer not in (None, peer)]
        guest.connections.swap(guest.scene.server_identity(), keep=peer)
        for link in others:
            before = link._sent_bytes
            link.write(b"too late")
            sent.append((before, link._sent_bytes))
        return 200, "text/plain", b"locked"

    guest.routes["/swap"] = swap
    with RawClient(guest.address) as other, RawClient(guest.address) as asking:
        other.handshake().send(request("GET", "/whoami"))
        other.response()
        asking.handshake().send(request("GET", "/swap"))
        assert asking.response().endswith(b"locked")
        assert other.answer() == b""
    assert sent
    assert all(before == after for before, after in sent)


def test_swap_that_cannot_be_made_changes_nothing(guest: RunningGuest) -> None:
    """A key and a certificate that do not belong together are found before anything has changed."""
    first, second = guest.scene.server_identity(), guest.scene.server_identity()
    before = guest.connections.identity
    mixed = type(first)(
        key=first.key,
        certificate_der=second.certificate_der,
        spki_sha256=first.spki_sha256,
        manifest=first.manifest,
        log=first.log,
    )
    with guest.scene.connect(guest.url) as connection:
        with pytest.raises(SSL.Error):
            guest.connections.swap(mixed, keep=None)
        assert guest.connections.identity is before
        assert connection.http.get(connection.base_url + "/whoami").status_code == 200


def test_exporter_is_for_the_loop_alone_and_for_whole_nonces(guest: RunningGuest) -> None:
    """The exporter is asked on the thread that owns the connection, for 32 bytes of nonce."""
    outcomes: list[str] = []

    async def export(peer: PeerConnection, body: bytes) -> tuple[int, str, bytes]:
        for attempt in (lambda: asyncio.to_thread(peer.export, bytes(32)), lambda: _now(peer.export, bytes(31))):
            try:
                await attempt()
            except (RuntimeError, ValueError) as error:
                outcomes.append(type(error).__name__)
        return 200, "text/plain", peer.export(bytes(32)).hex().encode()

    guest.routes["/export"] = export
    with guest.scene.connect(guest.url) as connection:
        answer = connection.http.get(connection.base_url + "/export").text
        ours = connection.exchanges.tls.tls.export_keying_material(b"Attestation", 32, bytes(32))
    assert (outcomes, answer) == (["RuntimeError", "ValueError"], ours.hex())


def test_stopping_ends_every_connection() -> None:
    """When the guest stops, nothing is left open, whatever its clients were at."""
    with ExitStack() as stack:
        with Scene().serve() as guest:
            stack.enter_context(RawClient(guest.address))
            idle = stack.enter_context(guest.scene.connect(guest.url))
            uploading = stack.enter_context(RawClient(guest.address)).handshake()
            uploading.send(request("PUT", "/count", length=1000))
            wait_until(lambda: len(guest.connections) == 3)
            began = time.monotonic()
        assert time.monotonic() - began < 3
        assert len(guest.connections) == 0
        with pytest.raises(FetchError):
            idle.http.get(idle.base_url + "/whoami")


async def _now(call: Callable[[bytes], bytes], nonce: bytes) -> bytes:
    return call(nonce)
