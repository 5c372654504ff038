"""Attacks on channel evidence: by who has the TLS key, by who relays, and by how answers are framed.

Whatever the attacker does here, he completes the handshake; but not a byte of data reaches him.
"""

from __future__ import annotations

import dataclasses
import re
import socket
import time
from collections.abc import Callable

import pytest
from cryptography import x509
from OpenSSL import SSL
from tests.support.attested_guest import AFTER_LOCK, BEFORE_LOCK, Scene
from tests.support.hostile_guest import Forgery, HostileGuest, Talk, framed

from twocvm_sdk.channel import ATTEST_PATH
from twocvm_sdk.connection import Timeouts
from twocvm_verifier import framing
from twocvm_verifier.binding import LogPosition, batch_claims, receipt_claims
from twocvm_verifier.errors import FetchError, HandshakeError, TwoCvmError
from twocvm_verifier.evidence import MAX_JSON_BYTES, encode_json

Script = Callable[[Talk], None]
HASTY = Timeouts(connect_seconds=2, handshake_seconds=5, proof_seconds=0.5, io_seconds=5)


@pytest.fixture
def forgery() -> Forgery:
    """A certificate that is accepted, whose key the attacker has."""
    return Forgery(scene=Scene())


def refuse(forgery: Forgery, script: Script, code: str, **changes: object) -> TwoCvmError:
    """Assert that the connection is refused with `code`, and that nothing was heard but a request for evidence."""
    with HostileGuest(forgery.context(), script) as hostile, pytest.raises(TwoCvmError) as refusal:
        forgery.scene.connect(hostile.url, **changes)
    assert refusal.value.code == code, refusal.value
    assert len(hostile.talks) == 1
    assert hostile.heard.count(b" HTTP/1.1\r\n") == 1
    assert hostile.heard.startswith(b"POST " + ATTEST_PATH.encode())
    return refusal.value


def test_stolen_key_with_full_relay_gets_no_byte_of_data() -> None:
    """Who has the guest's key and relays the request for evidence to the genuine guest is refused before any data."""
    scene = Scene()
    with scene.serve() as genuine:
        stolen = genuine.connections.identity
        forgery = Forgery(scene=scene, key=stolen.key)
        context = forgery.context(x509.load_der_x509_certificate(stolen.certificate_der))

        def relay(talk: Talk) -> None:
            upstream, raw = _client(genuine.address)
            with raw:
                while data := talk.hear():
                    upstream.sendall(data)
                    talk.say(_whole_answer(upstream))

        with HostileGuest(context, relay) as hostile, pytest.raises(HandshakeError) as refusal:
            _upload(scene, hostile.url, b"SECRET")
        assert refusal.value.code == "CLAIMS_MISMATCH"
        assert b"SECRET" not in hostile.heard
        assert hostile.heard.count(b" HTTP/1.1\r\n") == 1
        assert genuine.requests == []


def test_evidence_for_another_nonce_is_refused(forgery: Forgery) -> None:
    """Evidence made earlier, for a nonce of somebody else, is stale."""
    refuse(forgery, lambda talk: talk.prove(forgery, nonce=b"o" * 32), "CLAIMS_MISMATCH")


def test_evidence_for_another_connection_is_refused(forgery: Forgery) -> None:
    """The right nonce under another connection's exporter value is a relay."""
    refuse(forgery, lambda talk: talk.prove(forgery, binder=b"b" * 32), "CLAIMS_MISMATCH")


def test_evidence_given_twice_is_refused_the_second_time(forgery: Forgery) -> None:
    """A new proof is over a new nonce; the answer of before does not do."""

    def repeat(talk: Talk) -> None:
        answer = encode_json(forgery.channel_evidence(talk, talk.question()))
        talk.answer(answer)
        talk.question()
        talk.answer(answer)

    with HostileGuest(forgery.context(), repeat) as hostile, forgery.scene.connect(hostile.url) as connection:
        with pytest.raises(TwoCvmError) as refusal:
            connection.reprove()
        assert connection.closed
    assert refusal.value.code == "CLAIMS_MISMATCH"


def test_nonces_are_32_bytes_and_never_the_same(forgery: Forgery) -> None:
    """Each request for evidence on a connection has a nonce of its own."""
    nonces: list[bytes] = []

    def prove(talk: Talk) -> None:
        for _ in range(3):
            nonces.append(talk.question())
            talk.answer(encode_json(forgery.channel_evidence(talk, nonces[-1])))

    with HostileGuest(forgery.context(), prove) as hostile, forgery.scene.connect(hostile.url) as connection:
        connection.reprove()
        connection.reprove()
    assert len(set(nonces)) == 3
    assert {len(nonce) for nonce in nonces} == {32}


def test_poor_randomness_is_our_own_fault(forgery: Forgery) -> None:
    """A short nonce, or the same twice, never leaves."""
    with HostileGuest(forgery.context(), lambda talk: talk.prove(forgery)) as hostile:
        with pytest.raises(ValueError, match="randomness"):
            forgery.scene.connect(hostile.url, randomness=lambda size: bytes(size - 1))
        connection = forgery.scene.connect(hostile.url, randomness=bytes)
        with pytest.raises(ValueError, match="randomness"):
            connection.reprove()
        assert connection.closed
    assert hostile.heard.count(b"nonce") == 1


def test_the_certificates_own_evidence_is_refused(forgery: Forgery) -> None:
    """What the certificate shows does not prove the channel."""

    def show(talk: Talk) -> None:
        talk.question()
        talk.answer(encode_json(forgery.certificate_evidence()))

    refuse(forgery, show, "CLAIMS_MISMATCH")


def test_evidence_of_a_receipt_is_refused(forgery: Forgery) -> None:
    """A report over a receipt's statement does not prove the channel."""
    claims = receipt_claims(
        spki_sha256=forgery.spki_sha256, manifest=forgery.manifest, log=AFTER_LOCK, statement=b"s" * 32
    )
    refuse(
        forgery,
        lambda talk: talk.question() and talk.answer(encode_json(forgery.evidence_for(claims))),
        "CLAIMS_MISMATCH",
    )


def test_channel_of_an_unlocked_guest_behind_a_locked_certificate_is_refused(forgery: Forgery) -> None:
    """The manifest of the certificate stays that of its connection."""
    refuse(forgery, lambda talk: talk.prove(forgery, manifest=bytes(32)), "CLAIMS_MISMATCH")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("report_id", b"\x77" * 32),
        ("host_data", None),
        ("policy", (1 << 17).to_bytes(8, "little")),
    ],
)
def test_another_instance_behind_the_same_key_is_refused(forgery: Forgery, field: str, value: bytes | None) -> None:
    """What tells a launch from others is the same in the channel's report as in the certificate's."""
    changed = {field: forgery.manifest if value is None else value}
    refuse(forgery, lambda talk: talk.prove(forgery, **changed), "INSTANCE_CHANGED")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("measurement", b"\x22" * 48, "MEASUREMENT_MISMATCH"),
        ("policy", (1 << 17 | 1 << 19).to_bytes(8, "little"), "DEBUG_ALLOWED"),
        ("vmpl", (2).to_bytes(4, "little"), "VMPL_REFUSED"),
        ("chip_id", b"\x55" * 64, "CHIP_ID_MISMATCH"),
        ("report_data", bytes(64), "REPORT_DATA_MISMATCH"),
    ],
)
def test_channel_report_is_appraised_in_full(forgery: Forgery, field: str, value: bytes, code: str) -> None:
    """The channel's report is held to the same policy as the certificate's."""
    refuse(forgery, lambda talk: talk.prove(forgery, **{field: value}), code)


@pytest.mark.parametrize("log", [BEFORE_LOCK, LogPosition(head=b"h" * 32, events=AFTER_LOCK.events)])
def test_log_that_went_back_or_aside_is_refused(forgery: Forgery, log: LogPosition) -> None:
    """Events never fall on a connection, and the same number of them has the same head."""
    refuse(forgery, lambda talk: talk.prove(forgery, log=log), "LOG_WENT_BACK")


def test_log_that_grows_is_accepted_and_then_never_shrinks(forgery: Forgery) -> None:
    """Every proof is compared with the one before it, not with the first alone."""
    later = LogPosition(head=b"l" * 32, events=5)

    def grow_and_shrink(talk: Talk) -> None:
        talk.prove(forgery, log=later)
        talk.prove(forgery, log=LogPosition(head=b"m" * 32, events=4))

    with HostileGuest(forgery.context(), grow_and_shrink) as hostile:
        connection = forgery.scene.connect(hostile.url)
        assert connection.proof.log == later
        with pytest.raises(TwoCvmError) as refusal:
            connection.reprove()
    assert refusal.value.code == "LOG_WENT_BACK"


def test_batched_evidence_is_accepted_by_its_path(forgery: Forgery) -> None:
    """A report over a Merkle root proves every connection that has a path to it."""

    def batch(talk: Talk) -> None:
        leaf, claims = _batch(forgery, talk, talk.question())
        talk.answer(encode_json(dataclasses.replace(forgery.evidence_for(claims), path=_path(leaf))))

    with HostileGuest(forgery.context(), batch) as hostile, forgery.scene.connect(hostile.url) as connection:
        assert connection.proof.batched


@pytest.mark.parametrize(
    "forge",
    [
        lambda path: path[:33],
        lambda path: b"",
        lambda path: bytes([path[0] ^ 1]) + path[1:],
        lambda path: path[:40] + bytes([path[40] ^ 1]) + path[41:],
        lambda path: path[33:] + path[:33],
        lambda path: path + path[:33],
    ],
)
def test_forged_path_is_refused(forgery: Forgery, forge: Callable[[bytes], bytes]) -> None:
    """No path but the leaf's own leads to the root."""

    def batch(talk: Talk) -> None:
        leaf, claims = _batch(forgery, talk, talk.question())
        talk.answer(encode_json(dataclasses.replace(forgery.evidence_for(claims), path=forge(_path(leaf)))))

    refuse(forgery, batch, "CLAIMS_MISMATCH")


def test_leaf_in_the_place_of_a_node_is_refused(forgery: Forgery) -> None:
    """The root of somebody else's batch, offered as the sibling of nothing, is not this connection's."""

    def confuse(talk: Talk) -> None:
        nonce = talk.question()
        binder = framing.binder(
            spki_der=forgery.spki_der, exported=talk.tls.export_keying_material(b"Attestation", 32, nonce)
        )
        # A tree whose root would be the hash of nonce and binder as if they were two nodes.
        claims = _batch_claims(forgery, framing.batch_node(nonce, binder))
        talk.answer(encode_json(dataclasses.replace(forgery.evidence_for(claims), path=b"")))

    refuse(forgery, confuse, "CLAIMS_MISMATCH")


def test_path_beside_evidence_that_is_not_batched_is_refused(forgery: Forgery) -> None:
    """A path makes the evidence a batch's, and then its claims must be too."""

    def add_path(talk: Talk) -> None:
        evidence = forgery.channel_evidence(talk, talk.question())
        talk.answer(encode_json(dataclasses.replace(evidence, path=b"")))

    refuse(forgery, add_path, "CLAIMS_MISMATCH")


_BAD_ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "chunked": lambda body: (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/cmw+json\r\n"
        b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    ),
    "chunked beside a length": lambda body: framed(body, "Transfer-Encoding: chunked"),
    "identity encoding named": lambda body: framed(body, "Transfer-Encoding: identity"),
    "compressed": lambda body: framed(body, "Content-Encoding: gzip"),
    "two lengths": lambda body: framed(body, f"Content-Length: {len(body)}"),
    "two lengths that differ": lambda body: framed(body, "Content-Length: 1"),
    "list of lengths": lambda body: framed(body, length=f"{len(body)}, {len(body)}"),
    "signed length": lambda body: framed(body, length=f"+{len(body)}"),
    "negative length": lambda body: framed(body, length="-1"),
    "padded length": lambda body: framed(body, length=f"0{len(body)}"),
    "length in hex": lambda body: framed(body, length=hex(len(body))),
    "length in other digits": lambda body: framed(body, length="\u0661\u0662"),
    "no length": lambda body: b"HTTP/1.1 200 OK\r\ncontent-type: application/cmw+json\r\n\r\n" + body,
    "length beyond the limit": lambda body: framed(body, length=str(MAX_JSON_BYTES + 1)),
    "folded line": lambda body: framed(body, "X-Folded: a\r\n b"),
    "space before the colon": lambda body: framed(body, "X-Space : a"),
    "line without a colon": lambda body: framed(body, "nothing"),
    "line ended by LF alone": lambda body: framed(body).replace(b"\r\n", b"\n", 1),
    "control character": lambda body: framed(body, "X-Null: a\0b"),
    "HTTP/1.0": lambda body: framed(body).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "HTTP/2": lambda body: framed(body).replace(b"HTTP/1.1", b"HTTP/2", 1),
    "interim answer first": lambda body: b"HTTP/1.1 100 Continue\r\n\r\n" + framed(body),
    "early hints first": lambda body: b"HTTP/1.1 103 Early Hints\r\n\r\n" + framed(body),
    "switching protocols": lambda body: framed(body, status="101 Switching Protocols"),
    "redirection": lambda body: framed(body, "Location: https://127.0.0.1:1/", status="307 Temporary Redirect"),
    "status of four digits": lambda body: framed(body, status="2000 OK"),
    "head beyond the limit": lambda body: framed(body, "X-Long: " + "a" * 16384),
    "head without end": lambda body: b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 4000,
    "another media type": lambda body: framed(body).replace(b"application/cmw+json", b"application/json", 1),
    "two media types": lambda body: framed(body, "Content-Type: text/html"),
    "byte after the body": lambda body: framed(body) + b"\n",
    "another answer after the body": lambda body: framed(body) + framed(body),
    "not HTTP": lambda body: body + b"\r\n",
}


@pytest.mark.parametrize("name", sorted(_BAD_ANSWERS))
def test_answer_that_is_framed_otherwise_is_refused(forgery: Forgery, name: str) -> None:
    """Right evidence in an answer that two readers could read in two ways is not read at all; that is 30."""

    def answer(talk: Talk) -> None:
        talk.say(_BAD_ANSWERS[name](encode_json(forgery.channel_evidence(talk, talk.question()))))

    assert refuse(forgery, answer, "MALFORMED_HTTP").exit_status == 30


_BAD_BODIES: dict[str, Callable[[bytes], bytes]] = {
    "trailing newline": lambda body: body + b"\n",
    "leading space": lambda body: b" " + body,
    "duplicate member": lambda body: b'{"snp":["application/octet-stream","AA"],' + body[1:],
    "unknown member": lambda body: b'{"also":["application/cbor","AA"],' + body[1:],
    "padding": lambda body: body.replace(b'"]', b'="]', 1),
    "empty object": lambda body: b"{}",
    "empty": lambda body: b"",
    "array": lambda body: b"[" + body + b"]",
    "not UTF-8": lambda body: b"\xff" + body,
    "deep": lambda body: b"[" * 1000,
}


@pytest.mark.parametrize("name", sorted(_BAD_BODIES))
def test_evidence_in_another_spelling_is_refused(forgery: Forgery, name: str) -> None:
    """The JSON of evidence has one spelling; that is 30."""

    def answer(talk: Talk) -> None:
        talk.answer(_BAD_BODIES[name](encode_json(forgery.channel_evidence(talk, talk.question()))))

    assert refuse(forgery, answer, "MALFORMED_EVIDENCE").exit_status == 30


@pytest.mark.parametrize("status", ["404 Not Found", "429 Too Many Requests", "500 Internal Server Error", "204 None"])
def test_guest_that_answers_something_else_is_not_judged(forgery: Forgery, status: str) -> None:
    """Another status than 200 is no evidence, for or against; that is 40."""

    def answer(talk: Talk) -> None:
        talk.answer(encode_json(forgery.channel_evidence(talk, talk.question())), status=status)

    assert refuse(forgery, answer, "ATTESTATION_REFUSED").exit_status == 40


def test_answer_that_is_cut_off_is_lost(forgery: Forgery) -> None:
    """An end before the announced length is 40."""

    def cut(talk: Talk) -> None:
        talk.answer(encode_json(forgery.channel_evidence(talk, talk.question()))[:-1], length="32768")
        talk.tls.sock_shutdown(socket.SHUT_RDWR)

    assert refuse(forgery, cut, "CONNECTION_LOST").exit_status == 40


def test_answer_that_ends_in_order_too_early_is_lost(forgery: Forgery) -> None:
    """A close_notify does not make a short answer a whole one."""

    def end(talk: Talk) -> None:
        talk.answer(encode_json(forgery.channel_evidence(talk, talk.question()))[:-1], length="32768")
        talk.tls.shutdown()

    assert refuse(forgery, end, "CONNECTION_LOST").exit_status == 40


def test_silence_after_the_handshake_ends_in_time(forgery: Forgery) -> None:
    """Who never answers the nonce holds nobody up."""
    began = time.monotonic()
    assert refuse(forgery, lambda talk: None, "CONNECTION_TIMEOUT", timeouts=HASTY).exit_status == 40
    assert time.monotonic() - began < 3


def test_answer_in_drops_ends_in_time(forgery: Forgery) -> None:
    """The time is for the whole answer, not for the next byte."""

    def drip(talk: Talk) -> None:
        for byte in framed(encode_json(forgery.channel_evidence(talk, talk.question()))):
            talk.say(bytes([byte]))
            time.sleep(0.02)

    began = time.monotonic()
    refuse(forgery, drip, "CONNECTION_TIMEOUT", timeouts=HASTY)
    assert time.monotonic() - began < 3


def test_unlocked_guest_proves_its_channel_with_zeros() -> None:
    """Before the lock claims and REPORT_DATA name no manifest, in certificate and channel alike."""
    scene = Scene(locked=False)
    with scene.serve() as guest:
        connection = scene.connect(guest.url, expectation=scene.expectation(unlocked_ok=True))
        assert connection.proof.manifest_state == "unlocked"
        assert connection.proof.verified.report.report_data[32:] == bytes(32)
        connection.close()


def test_guest_born_locked_but_not_yet_locked_is_taken_by_lock_alone() -> None:
    """HOST_DATA may name the manifest before claims do, and only `lock` goes on then."""
    scene = Scene(locked=False, host_data=Scene().world.manifest.hash)
    with scene.serve() as guest:
        scene.connect(guest.url, expectation=scene.expectation(unlocked_ok=True)).close()
        with pytest.raises(HandshakeError) as refusal:
            scene.connect(guest.url)
    assert refusal.value.code == "NOT_LOCKED"


def test_connection_that_lived_through_the_lock_is_dead() -> None:
    """At the lock every older connection ends, and nothing asked on it is answered any more."""
    scene = Scene(locked=False)
    with scene.serve() as guest:
        before = scene.connect(guest.url, expectation=scene.expectation(unlocked_ok=True))
        guest.connections.swap(scene.server_identity(locked=True), keep=None)
        with pytest.raises(FetchError) as ending:
            before.http.get(before.base_url + "/whoami")
        assert ending.value.code == "CONNECTION_LOST"
        with pytest.raises(FetchError):
            before.reprove()
        scene.log = AFTER_LOCK
        with scene.connect(guest.url) as after:
            assert after.proof.manifest_state == "locked"
            assert after.proof.spki_sha256 != before.proof.spki_sha256
            assert after.proof.report_id == before.proof.report_id


def _batch(forgery: Forgery, talk: Talk, nonce: bytes) -> tuple[bytes, object]:
    exported = talk.tls.export_keying_material(b"Attestation", 32, nonce)
    leaf = framing.batch_leaf(nonce=nonce, binder=framing.binder(spki_der=forgery.spki_der, exported=exported))
    return leaf, _batch_claims(forgery, framing.batch_node(framing.batch_node(_SIBLING, leaf), _UNCLE))


_SIBLING = b"\x01" * 32
_UNCLE = b"\x02" * 32


def _path(leaf: bytes) -> bytes:
    del leaf
    return b"\x00" + _SIBLING + b"\x01" + _UNCLE


def _batch_claims(forgery: Forgery, root: bytes) -> object:
    return batch_claims(spki_sha256=forgery.spki_sha256, manifest=forgery.manifest, log=AFTER_LOCK, root=root)


def _upload(scene: Scene, url: str, data: bytes) -> None:
    with scene.connect(url) as connection:
        connection.http.put(connection.base_url + "/count", data=data)


def _whole_answer(upstream: SSL.Connection) -> bytes:
    answer: bytes = upstream.recv(1 << 16)
    length = int(re.search(rb"content-length: (\d+)", answer)[1])
    while len(answer.partition(b"\r\n\r\n")[2]) < length:
        answer += upstream.recv(1 << 16)
    return answer


def _client(address: tuple[str, int]) -> tuple[SSL.Connection, socket.socket]:
    """Return a TLS connection that verifies nothing, as an attacker's own to the genuine guest, and its socket."""
    raw = socket.create_connection(address)
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), raw)
    connection.set_connect_state()
    connection.do_handshake()
    return connection, raw
