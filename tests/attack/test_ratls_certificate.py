"""Attacks on the handshake: certificates that are not what they claim, and TLS that is not what it should be.

In every one of them the attacker sees neither the participant's certificate nor a byte of data.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA384
from OpenSSL import SSL
from tests.support.attested_guest import AFTER_LOCK, NO_CRL, Scene, policy
from tests.support.hostile_cbor import tricks
from tests.support.hostile_guest import Forgery, HostileGuest, octet_string, with_second_copy
from tests.support.manifests import AT, NOT_BEFORE
from tests.support.sdk import StandingClock

from twocvm_guest.platforms.simulated import SimulatedChip
from twocvm_sdk.connection import Timeouts
from twocvm_sdk.handshake import Handshake
from twocvm_sdk.tlssocket import TlsSocket
from twocvm_verifier.binding import batch_claims, cert_claims, channel_claims, receipt_claims
from twocvm_verifier.errors import BindingError, FetchError, HandshakeError, TwoCvmError
from twocvm_verifier.evidence import encode_cbor
from twocvm_verifier.framing import sha256
from twocvm_verifier.snp.roots import simulated_roots
from twocvm_verifier.verifier import SnpVerifier

OTHER = sha256(b"another manifest")
SHORT = Timeouts(connect_seconds=2, handshake_seconds=0.5, proof_seconds=0.5, io_seconds=0.5)


@pytest.fixture
def scene() -> Scene:
    """The honest world that is attacked."""
    return Scene()


def refuse(scene: Scene, context: SSL.Context, code: str, **changes: object) -> HandshakeError:
    """Assert that connecting is refused with `code`, and that nothing of ours reached the attacker."""
    with HostileGuest(context) as hostile, pytest.raises(HandshakeError) as refusal:
        scene.connect(hostile.url, **changes)
    assert refusal.value.code == code, refusal.value
    assert (hostile.shown, hostile.heard) == ([], b"")
    return refusal.value


def test_honest_forgery_is_accepted_in_the_handshake(scene: Scene) -> None:
    """The forger's tools make what is accepted when nothing is made wrong; so what is refused below is the one flaw."""
    forgery = Forgery(scene=scene)
    with (
        HostileGuest(forgery.context(), script=lambda talk: talk.prove(forgery)) as hostile,
        scene.connect(hostile.url) as connection,
    ):
        assert connection.proof.spki_sha256 == forgery.spki_sha256
    assert hostile.shown != []


def test_certificate_without_evidence_is_refused(scene: Scene) -> None:
    """A plain TLS server is no guest."""
    refuse(scene, Forgery(scene=scene, carries_evidence=False).context(), "NO_EVIDENCE")


def test_genuine_evidence_under_another_key_is_refused(scene: Scene) -> None:
    """Evidence copied from a genuine guest's certificate does not prove another key."""
    genuine = Forgery(scene=scene).certificate_evidence()
    refuse(scene, Forgery(scene=scene, evidence=genuine).context(), "CLAIMS_MISMATCH")


def test_genuine_report_under_rewritten_claims_is_refused(scene: Scene) -> None:
    """Claims rewritten for the attacker's key are not what the genuine report signs."""
    genuine = Forgery(scene=scene).certificate_evidence()
    refuse(scene, Forgery(scene=scene, report=genuine.report).context(), "REPORT_DATA_MISMATCH")


def test_guest_of_another_manifest_is_refused(scene: Scene) -> None:
    """A genuine guest that is locked to another manifest is not the expected one."""
    forgery = Forgery(scene=scene)
    forgery.claims = cert_claims(spki_sha256=forgery.spki_sha256, manifest=OTHER, log=AFTER_LOCK)
    refuse(scene, forgery.context(), "CLAIMS_MISMATCH")


def test_manifest_in_clear_unlike_the_one_in_the_claims_is_refused(scene: Scene) -> None:
    """The two halves of REPORT_DATA name one manifest."""
    forgery = Forgery(scene=scene)
    right = cert_claims(spki_sha256=forgery.spki_sha256, manifest=forgery.manifest, log=AFTER_LOCK)
    forgery.fields = {"report_data": right.report_data()[:32] + OTHER}
    refuse(scene, forgery.context(), "REPORT_DATA_MISMATCH")


def test_unlocked_guest_is_refused_and_sees_no_participant(scene: Scene) -> None:
    """Before the lock nobody but `lock` goes on, and nobody's certificate is shown; its evidence is verified first."""
    unlocked = Scene(locked=False)
    refusal = refuse(scene, _context_of(unlocked), "NOT_LOCKED")
    assert refusal.exit_status == 50
    refuse(scene, _context_of(unlocked), "CHAIN_ROOT_UNKNOWN", expectation=_expecting_another_chip(scene))


def test_unlocked_claims_over_a_locked_report_are_refused(scene: Scene) -> None:
    """Zero claims do not stand over a report that names a manifest."""
    forgery = Forgery(scene=scene)
    zero = cert_claims(spki_sha256=forgery.spki_sha256, manifest=bytes(32), log=AFTER_LOCK)
    forgery.claims = zero
    forgery.fields = {"report_data": zero.report_data()[:32] + forgery.manifest}
    refuse(scene, forgery.context(), "REPORT_DATA_MISMATCH", expectation=scene.expectation(unlocked_ok=True))


def test_unknown_root_is_refused(scene: Scene) -> None:
    """A chain that comes with the evidence proves nothing about its own root."""
    refuse(scene, Forgery(scene=scene).context(), "CHAIN_ROOT_UNKNOWN", expectation=_expecting_another_chip(scene))


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("measurement", b"\x22" * 48, "MEASUREMENT_MISMATCH"),
        ("policy", (1 << 17 | 1 << 16 | 1 << 19).to_bytes(8, "little"), "DEBUG_ALLOWED"),
        ("policy", (1 << 17 | 1 << 16 | 1 << 18).to_bytes(8, "little"), "MIGRATION_ALLOWED"),
        ("vmpl", (1).to_bytes(4, "little"), "VMPL_REFUSED"),
        ("vmpl", b"\xff" * 4, "VMPL_REFUSED"),
        ("host_data", OTHER, "HOST_DATA_MISMATCH"),
        ("chip_id", b"\x33" * 64, "CHIP_ID_MISMATCH"),
        ("chip_id", bytes(64), "CHIP_ID_MISMATCH"),
    ],
)
def test_unacceptable_report_is_refused(scene: Scene, field: str, value: bytes, code: str) -> None:
    """A report that a genuine chip signed is refused for what it says."""
    refuse(scene, Forgery(scene=scene, fields={field: value}).context(), code)


def test_chip_that_is_not_listed_is_refused(scene: Scene) -> None:
    """Where chips are pinned, a genuine guest on another machine is refused."""
    pinned = scene.expectation(policy=policy(chip_ids=(b"\x44" * 64,)))
    refuse(scene, Forgery(scene=scene).context(), "CHIP_NOT_ACCEPTED", expectation=pinned)


@pytest.mark.parametrize("role", ["channel", "batch", "receipt"])
def test_evidence_of_another_context_is_refused(scene: Scene, role: str) -> None:
    """A report made for a channel, a batch or a receipt is none for a certificate."""
    forgery = Forgery(scene=scene)
    shared = {"spki_sha256": forgery.spki_sha256, "manifest": forgery.manifest, "log": AFTER_LOCK}
    forgery.claims = {
        "channel": lambda: channel_claims(**shared, nonce=b"n" * 32, binder=b"b" * 32),
        "batch": lambda: batch_claims(**shared, root=b"r" * 32),
        "receipt": lambda: receipt_claims(**shared, statement=b"s" * 32),
    }[role]()
    refuse(scene, forgery.context(), "CLAIMS_MISMATCH")


def test_claims_of_another_role_are_refused(scene: Scene) -> None:
    """What a client would claim is not taken from a server."""
    forgery = Forgery(scene=scene)
    right = cert_claims(spki_sha256=forgery.spki_sha256, manifest=forgery.manifest, log=AFTER_LOCK).encode()
    forgery.claims = right.replace(b"\x46server", b"\x46client")
    refuse(scene, forgery.context(), "MALFORMED_CLAIMS")


@pytest.mark.parametrize("offset", [0x000, 0x008, 0x050, 0x070, 0x090, 0x140, 0x1A0, 0x29F, 0x2A0, 0x2E8])
def test_report_with_one_bit_flipped_is_refused(scene: Scene, offset: int) -> None:
    """No bit of a report or of its signature may change."""
    forgery = Forgery(scene=scene)
    report = bytearray(forgery.certificate_evidence().report)
    report[offset] ^= 0x04
    forgery.report = bytes(report)
    with HostileGuest(forgery.context()) as hostile, pytest.raises(HandshakeError):
        scene.connect(hostile.url)
    assert (hostile.shown, hostile.heard) == ([], b"")


@pytest.mark.parametrize("change", [lambda report: report[:-1], lambda report: report + b"\0"])
def test_report_of_another_length_is_refused(scene: Scene, change: Callable[[bytes], bytes]) -> None:
    """A report has 1184 bytes."""
    forgery = Forgery(scene=scene)
    forgery.report = change(forgery.certificate_evidence().report)
    refuse(scene, forgery.context(), "MALFORMED_REPORT")


def _evidence_members(scene: Scene) -> dict[str, object]:
    platform = scene.platform
    evidence = Forgery(scene=scene).certificate_evidence()
    return {
        "snp": ["application/octet-stream", evidence.report],
        "claims": ["application/cbor", evidence.claims],
        "vek": ["application/pkix-cert", platform.vek()],
    }


@pytest.mark.parametrize("trick", sorted(tricks({"a": b"", "b": b""})))
def test_evidence_with_a_cbor_trick_is_refused(scene: Scene, trick: str) -> None:
    """The collection has one spelling, and none but it is read."""
    raw = tricks(_evidence_members(scene))[trick]
    value = octet_string(raw) if len(raw) > 255 else bytes([4, len(raw)]) + raw if len(raw) < 128 else octet_string(raw)
    with (
        HostileGuest(Forgery(scene=scene, value=value).context()) as hostile,
        pytest.raises(HandshakeError) as refusal,
    ):
        scene.connect(hostile.url)
    assert refusal.value.exit_status == 30
    assert (hostile.shown, hostile.heard) == ([], b"")


@pytest.mark.parametrize(
    "spell",
    [
        lambda cbor: octet_string(cbor) + b"\0",
        lambda cbor: octet_string(cbor)[:-1],
        lambda cbor: b"\x04\x83" + len(cbor).to_bytes(3, "big") + cbor,
        lambda cbor: b"\x24\x80" + octet_string(cbor) + b"\0\0",
        lambda cbor: b"\x03" + octet_string(cbor)[1:],
        lambda cbor: cbor,
        lambda cbor: octet_string(octet_string(cbor)),
        lambda _: b"",
        lambda _: b"\x04",
        lambda _: b"\x04\x00",
        lambda _: octet_string(bytes(16381)),
    ],
)
def test_extension_with_a_der_trick_is_refused(scene: Scene, spell: Callable[[bytes], bytes]) -> None:
    """The extension's value is one OCTET STRING in DER of at most 16384 bytes."""
    value = spell(encode_cbor(Forgery(scene=scene).certificate_evidence()))
    with (
        HostileGuest(Forgery(scene=scene, value=value).context()) as hostile,
        pytest.raises(HandshakeError) as refusal,
    ):
        scene.connect(hostile.url)
    assert refusal.value.exit_status == 30
    assert (hostile.shown, hostile.heard) == ([], b"")


def test_critical_evidence_is_refused(scene: Scene) -> None:
    """The evidence extension is never critical."""
    refuse(scene, Forgery(scene=scene, critical=True).context(), "MALFORMED_RATLS_CERTIFICATE")


def test_unknown_critical_extension_is_refused(scene: Scene) -> None:
    """What must be understood and is not is refused (RFC 5280, 4.2)."""
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
    context = Forgery(scene=scene, extensions=((unknown, True),)).context()
    refuse(scene, context, "MALFORMED_RATLS_CERTIFICATE")


def test_leaf_for_another_purpose_is_refused(scene: Scene) -> None:
    """What OpenSSL objects to beside the leaf's being self-signed is not overlooked."""
    for_clients = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH])
    refuse(scene, Forgery(scene=scene, extensions=((for_clients, False),)).context(), "HANDSHAKE_UNVERIFIED")


def test_leaf_signed_with_another_hash_is_refused(scene: Scene) -> None:
    """A guest's leaf is signed with ECDSA and SHA-256."""
    refuse(scene, Forgery(scene=scene, hash=SHA384()).context(), "MALFORMED_RATLS_CERTIFICATE")


def test_fault_of_our_own_is_not_taken_for_a_refusal(scene: Scene) -> None:
    """What goes wrong on our side inside the handshake comes out as it is, and nothing is sent."""

    class Broken:
        """A verifier with a fault."""

        def judge(self, *arguments: object, **named: object) -> None:
            """Fail."""
            raise ZeroDivisionError

    with (
        HostileGuest(Forgery(scene=scene).context()) as hostile,
        pytest.raises(ZeroDivisionError),
    ):
        scene.connect(hostile.url, expectation=scene.expectation(verifier=Broken()))
    assert (hostile.shown, hostile.heard) == ([], b"")


def test_second_copy_of_the_evidence_is_refused(scene: Scene) -> None:
    """Two extensions of one kind are not for the reader to choose from."""
    forgery = Forgery(scene=scene)
    refuse(scene, forgery.context(with_second_copy(forgery)), "MALFORMED_RATLS_CERTIFICATE")


@pytest.mark.parametrize(
    "key", [lambda: ec.generate_private_key(ec.SECP384R1()), lambda: rsa.generate_private_key(65537, 2048)]
)
def test_leaf_of_another_kind_of_key_is_refused(scene: Scene, key: Callable[[], object]) -> None:
    """A guest's TLS key is P-256."""
    refuse(scene, Forgery(scene=scene, key=key()).context(), "MALFORMED_RATLS_CERTIFICATE")


def test_leaf_that_another_key_signed_is_refused(scene: Scene) -> None:
    """A leaf that an authority issued is refused, whatever evidence it carries."""
    authority = ec.generate_private_key(ec.SECP256R1())
    issued = Forgery(scene=scene, signer=authority, issuer="authority")
    refuse(scene, issued.context(), "CERTIFICATE_SIGNATURE")
    disguised = Forgery(scene=scene, signer=authority)
    refuse(scene, disguised.context(), "CERTIFICATE_SIGNATURE")


def test_leaf_that_names_another_issuer_is_refused(scene: Scene) -> None:
    """A leaf that its own key signed says so."""
    refuse(scene, Forgery(scene=scene, issuer="authority").context(), "CERTIFICATE_SIGNATURE")


def test_genuine_certificate_appended_to_another_is_refused(scene: Scene) -> None:
    """A genuine leaf beside the attacker's own does not count, and neither does any other certificate."""
    context = Forgery(scene=scene, carries_evidence=False).context()
    context.add_extra_chain_cert(Forgery(scene=scene).certificate())
    refuse(scene, context, "MALFORMED_RATLS_CERTIFICATE")
    context = Forgery(scene=scene).context()
    context.add_extra_chain_cert(Forgery(scene=scene, carries_evidence=False).certificate())
    refuse(scene, context, "MALFORMED_RATLS_CERTIFICATE")


def test_tls_1_2_is_refused(scene: Scene) -> None:
    """There is no way down to an older TLS."""
    context = Forgery(scene=scene).context()
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    assert refuse(scene, context, "TLS_REFUSED").exit_status == 10


def test_expired_chain_is_refused(scene: Scene) -> None:
    """The VEK must be valid at the participant's own time, whatever the guest's clock says."""

    class LongAgo:
        """A clock before the chip existed."""

        now = staticmethod(lambda: NOT_BEFORE.replace(year=2020))
        monotonic_seconds = staticmethod(lambda: 0.0)

    refuse(scene, Forgery(scene=scene).context(), "CHAIN_NOT_YET_VALID", clock=LongAgo())


def test_resumption_is_never_accepted(scene: Scene) -> None:
    """A resumed session skips the verify callback; a handshake in which it did not run is refused."""
    forgery = Forgery(scene=scene)
    server = forgery.context()
    server.set_session_id(b"hostile")
    asked: list[int] = []
    client = SSL.Context(SSL.TLS_CLIENT_METHOD)
    client.set_verify(SSL.VERIFY_PEER, lambda *arguments: asked.append(1) or True)
    with HostileGuest(server, script=lambda talk: talk.say(b"x")) as hostile:
        first = _exchange(hostile, client, session=None)
        times_asked = len(asked)
        second = _exchange(hostile, client, session=first.get_session())
    assert times_asked > 0
    assert len(asked) == times_asked, "the session was not resumed, so this test shows nothing"
    handshake = Handshake(expectation=scene.expectation(), identity=None, at=AT)
    handshake.connection = second
    with pytest.raises(BindingError) as refusal:
        handshake.proof()
    assert refusal.value.code == "HANDSHAKE_UNVERIFIED"


def test_judgement_of_one_handshake_is_not_anothers(scene: Scene) -> None:
    """A certificate that was accepted says nothing for a connection that has another."""
    accepted, other = Forgery(scene=scene), Forgery(scene=scene)
    client = SSL.Context(SSL.TLS_CLIENT_METHOD)
    with (
        HostileGuest(accepted.context(), script=lambda talk: talk.prove(accepted)) as first,
        HostileGuest(other.context(), script=lambda talk: talk.say(b"x")) as second,
    ):
        handshake = Handshake(expectation=scene.expectation(), identity=None, at=AT)
        with socket.create_connection(_address_of(first)) as raw:
            tls = TlsSocket(handshake.connection, raw, clock=StandingClock(), wait_seconds=5)
            assert handshake.run(tls, seconds=5).spki_sha256 == accepted.spki_sha256
        handshake.connection = _exchange(second, client, session=None)
    with pytest.raises(BindingError) as refusal:
        handshake.proof()
    assert refusal.value.code == "HANDSHAKE_UNVERIFIED"


def test_client_offers_nothing_to_resume_and_no_early_data(scene: Scene) -> None:
    """The first flight has no session, no early data and no promise of a later authentication."""
    flights = []
    for _ in range(2):
        with (
            _socket_server(lambda accepted: flights.append(accepted.recv(1 << 16))) as port,
            pytest.raises(FetchError),
        ):
            scene.connect(f"https://127.0.0.1:{port}", timeouts=SHORT)
    for flight in flights:
        # RFC 8446, 4.2: pre_shared_key 41, early_data 42, post_handshake_auth 49.
        assert not {41, 42, 49} & set(_extensions(flight))
        assert 43 in _extensions(flight)


def test_silent_peer_is_left_in_time(scene: Scene) -> None:
    """Whoever takes the connection and says nothing holds nobody up; that is 40, not a refusal."""
    with (
        _socket_server(lambda accepted: accepted.recv(1 << 16) and accepted.recv(1)) as port,
        pytest.raises(FetchError) as ending,
    ):
        scene.connect(f"https://127.0.0.1:{port}", timeouts=SHORT)
    assert (ending.value.code, ending.value.exit_status) == ("CONNECTION_TIMEOUT", 40)


def test_peer_that_hangs_up_is_lost(scene: Scene) -> None:
    """A connection that ends in the handshake is 40, not a refusal."""
    with _socket_server(lambda accepted: None) as port, pytest.raises(FetchError) as ending:
        scene.connect(f"https://127.0.0.1:{port}")
    assert (ending.value.code, ending.value.exit_status) == ("CONNECTION_LOST", 40)


def test_peer_that_speaks_plain_http_is_refused(scene: Scene) -> None:
    """What is not TLS is no guest."""
    with (
        _socket_server(lambda accepted: accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n")) as port,
        pytest.raises(HandshakeError) as refusal,
    ):
        scene.connect(f"https://127.0.0.1:{port}")
    assert refusal.value.code == "TLS_REFUSED"


def test_nobody_there_is_said_as_such(scene: Scene) -> None:
    """An address at which nobody listens cannot be judged."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FetchError) as ending:
        scene.connect(f"https://127.0.0.1:{port}")
    assert (ending.value.code, ending.value.exit_status) == ("GUEST_UNREACHABLE", 40)


def test_verdicts_never_cross_between_connections(scene: Scene) -> None:
    """Honest and hostile handshakes at the same time, in threads: each gets its own verdict."""
    honest, hostile = Forgery(scene=scene), Forgery(scene=scene, carries_evidence=False)
    wrong: list[object] = []

    def connect(url: str, *, accepted: bool) -> None:
        for _ in range(6):
            try:
                scene.connect(url).close()
                wrong.extend([] if accepted else ["accepted"])
            except TwoCvmError as error:
                wrong.extend([error] if accepted or error.code != "NO_EVIDENCE" else [])

    with (
        HostileGuest(honest.context(), script=lambda talk: talk.prove(honest)) as good,
        HostileGuest(hostile.context()) as bad,
    ):
        threads = [
            threading.Thread(target=connect, args=(guest.url,), kwargs={"accepted": guest is good}, daemon=True)
            for guest in (good, bad) * 3
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert bad.shown == []


def _context_of(scene: Scene) -> SSL.Context:
    identity = scene.server_identity()
    certificate = x509.load_der_x509_certificate(identity.certificate_der)
    return Forgery(scene=scene, key=identity.key).context(certificate)


def _expecting_another_chip(scene: Scene) -> object:
    another = SimulatedChip.create(at=NOT_BEFORE)
    roots = simulated_roots(another.certificates.chain_pem)
    return scene.expectation(verifier=SnpVerifier(roots=roots, crls=NO_CRL))


def _exchange(hostile: HostileGuest, client: SSL.Context, *, session: SSL.Session | None) -> SSL.Connection:
    """Connect as `client`, and read until the server's tickets have come."""
    with socket.create_connection(_address_of(hostile)) as raw:
        connection = SSL.Connection(client, raw)
        connection.set_connect_state()
        if session is not None:
            connection.set_session(session)
        connection.do_handshake()
        assert connection.recv(1) == b"x"
    return connection


def _address_of(hostile: HostileGuest) -> tuple[str, int]:
    host, port = hostile.url.removeprefix("https://").split(":")
    return host, int(port)


@contextmanager
def _socket_server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A plain socket that serves one connection in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            accepted, _ = listener.accept()
            with accepted:
                serve(accepted)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


def _extensions(flight: bytes) -> list[int]:
    """Return the extension types of a ClientHello: RFC 8446, 4.1.2, in one record."""
    at = 5 + 4 + 2 + 32
    at += 1 + flight[at]
    at += 2 + int.from_bytes(flight[at : at + 2], "big")
    at += 1 + flight[at]
    end = at + 2 + int.from_bytes(flight[at : at + 2], "big")
    at += 2
    types = []
    while at < end:
        types.append(int.from_bytes(flight[at : at + 2], "big"))
        at += 4 + int.from_bytes(flight[at + 2 : at + 4], "big")
    return types
