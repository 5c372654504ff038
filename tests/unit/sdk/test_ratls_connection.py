"""What an attested connection gives when all is well."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.attested_guest import AFTER_LOCK, RunningGuest, Scene, certificate_of, tls_identity

from twocvm_sdk.connection import AttestedConnection, TlsIdentity
from twocvm_verifier.result import Verdict


@pytest.fixture(scope="module")
def guest() -> Iterator[RunningGuest]:
    """An honest guest that runs."""
    with Scene().serve() as running:
        yield running


@pytest.fixture
def connection(guest: RunningGuest) -> Iterator[AttestedConnection]:
    """A verified connection to it."""
    with guest.scene.connect(guest.url) as attested:
        yield attested


def test_proofs_say_which_guest_this_is(guest: RunningGuest, connection: AttestedConnection) -> None:
    """Certificate and channel name the same launch and key, the log, the manifest's state and the appraisal."""
    for proof in (connection.certificate, connection.proof):
        assert proof.report_id == guest.scene.platform._report_id
        assert proof.spki_sha256 == guest.connections.identity.spki_sha256
        assert (proof.manifest_state, proof.log) == ("locked", AFTER_LOCK)
        assert (proof.appraisal.verdict, proof.appraisal.secure) == (Verdict.WARNING, False)
    assert not connection.proof.batched


def test_every_new_proof_has_a_report_of_its_own(connection: AttestedConnection) -> None:
    """A new proof is over a new nonce and replaces the one before."""
    first = connection.proof
    second = connection.reprove()
    assert second is connection.proof
    assert second.nonce != first.nonce
    assert second.verified.report.report_data != first.verified.report.report_data


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 262144, 1_000_003])
def test_uploads_of_any_size_arrive(connection: AttestedConnection, size: int) -> None:
    """Bytes, files and iterables of a known length are sent as they are."""
    url = connection.base_url + "/count"
    assert connection.http.put(url, data=bytes(size)).json() == size
    if size:
        assert connection.http.put(url, data=io.BytesIO(bytes(size))).json() == size


@pytest.mark.parametrize("size", [0, 1, 16384, 262145, 3_000_003])
def test_answers_of_any_size_arrive(connection: AttestedConnection, size: int) -> None:
    """An answer is read whole, in pieces, or into a buffer."""
    url = connection.base_url + f"/bytes/{size}"
    assert connection.http.get(url).content == bytes(size)
    with connection.http.get(url, stream=True) as answer:
        assert b"".join(answer.iter_content(100_000)) == bytes(size)
    with connection.http.get(url, stream=True) as answer:
        buffer, read = bytearray(size + 1), 0
        while count := answer.raw.readinto(memoryview(buffer)[read:]):
            read += count
        assert read == size
    with connection.http.get(url, stream=True) as answer:
        assert b"".join(iter(answer.raw.read1, b"")) == bytes(size)
        assert answer.raw.readable()


def test_texts_and_json_are_sent_as_such(connection: AttestedConnection) -> None:
    """What `requests` makes of texts and JSON arrives."""
    url = connection.base_url + "/count"
    assert connection.http.put(url, data="\u00e9").json() == 2
    assert connection.http.post(url, json={"a": 1}).json() == len('{"a": 1}')


def test_timeout_of_a_request_is_its_waiting_time(connection: AttestedConnection) -> None:
    """A number, or the second of a pair, as `requests` has it."""
    url = connection.base_url + "/whoami"
    assert connection.http.get(url, timeout=2).status_code == 200
    assert connection.http.get(url, timeout=(1, 2.5)).status_code == 200


def test_closing_twice_is_closing_once(connection: AttestedConnection) -> None:
    """The session and the connection are one thing to close."""
    connection.http.close()
    connection.close()
    assert connection.closed


def test_identity_of_two_parts_is_wrong_use(guest: RunningGuest) -> None:
    """A certificate of another key is found before anything is sent."""
    other = certificate_of(ec.generate_private_key(ec.SECP256R1()), ca=False)
    with pytest.raises(ValueError, match="identity"):
        guest.scene.connect(guest.url, identity=TlsIdentity(key=tls_identity().key, certificate=other))


def test_guest_is_found_by_its_name(guest: RunningGuest) -> None:
    """A name is resolved and told to TLS; the certificate's names mean nothing."""
    url = guest.url.replace("127.0.0.1", "localhost")
    with guest.scene.connect(url) as connection:
        assert connection.http.get(connection.base_url + "/whoami").status_code == 200
