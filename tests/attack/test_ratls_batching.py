"""One report for many: real connections that share one, and those who would share what is not theirs."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tests.support.attested_guest import AFTER_LOCK, Scene
from tests.support.guest import Client, LiveGuest
from tests.support.manifests import AT, World
from tests.support.raw_client import RawClient, request
from tests.support.slow_platform import SlowPlatform

from twocvm_guest.attestation import Question, connection_evidence
from twocvm_sdk.channel import ATTEST_PATH
from twocvm_verifier import framing, strictjson
from twocvm_verifier.binding import batch_claims
from twocvm_verifier.errors import BindingError, FetchError
from twocvm_verifier.evidence import Evidence, encode_json
from twocvm_verifier.ratls.proof import ChannelProof, judge_certificate, judge_channel

NAMES = World().names
MANY = 24


class Guest(LiveGuest):
    """A guest in force whose device a test holds."""

    slow: SlowPlatform

    def _device(self, platform: object) -> SlowPlatform:
        self.slow = SlowPlatform(platform)
        return self.slow

    def __init__(self) -> None:
        super().__init__(World(), device=self._device)


@pytest.fixture
def guest() -> Iterator[Guest]:
    """Return a guest that is locked."""
    with Guest() as running:
        running.lock()
        yield running


@contextmanager
def waiting(guest: Guest, count: int) -> Iterator[list[Future[Client]]]:
    """Have participants connect, all of whom wait for the device when the `with` begins; it ends their wait."""
    with ThreadPoolExecutor(count) as threads, guest.slow.held():
        first = [threads.submit(guest.connect, NAMES[0])]
        guest.slow.wait_until_called()
        others = [threads.submit(guest.connect, NAMES[number % len(NAMES)]) for number in range(1, count)]
        _until_asked(guest, count - 1)
        yield first + others


def _until_asked(guest: Guest, count: int) -> None:
    broker = guest.guest.agent._broker
    for _ in range(1000):
        if len(broker._callers) >= count:
            return
        guest.stopping.wait(0.01)
    raise TimeoutError(f"{len(broker._callers)} wait, want {count}")


def test_real_connections_that_come_at_once_share_a_report(guest: Guest) -> None:
    """Participants who connect while the device works are proven by its next call, each on its own connection."""
    before = len(guest.slow.reports)
    with waiting(guest, MANY) as connecting:
        pass
    clients = [each.result(10) for each in connecting]
    proofs = [client.connection.proof for client in clients]
    assert [proof.batched for proof in proofs] == [False] + [True] * (MANY - 1)
    assert len({proof.nonce for proof in proofs}) == MANY
    assert len(guest.slow.reports) == before + 2
    for client in clients:
        with client:
            assert client.get("/v1/manifest").status_code == 200


def test_client_that_goes_away_in_a_batch_hurts_nobody(guest: Guest) -> None:
    """Who asks for evidence and does not wait for it costs the others a leaf."""
    with waiting(guest, 4) as connecting:
        for _ in range(3):
            with RawClient(("127.0.0.1", int(guest.url.rpartition(":")[2]))) as rude:
                rude.handshake().send(request("POST", ATTEST_PATH, body=_question(), length=len(_question())))
                rude.raw.close()
        _until_asked(guest, 6)
    for each in connecting:
        with each.result(10) as client:
            assert client.get("/v1/manifest").status_code == 200


def _question() -> bytes:
    return strictjson.canonical({"nonce": strictjson.base64url(secrets.token_bytes(32))})


def test_device_that_fails_under_a_batch_is_said_to_each(guest: Guest) -> None:
    """Everybody in the batch learns that there is no evidence, nobody is taken in, and the next are served."""
    with waiting(guest, 5) as connecting:
        guest.slow.failing = OSError(5, "input/output error")
    for each in connecting:
        with pytest.raises(FetchError) as refusal:
            each.result(10)
        assert (refusal.value.code, refusal.value.exit_status) == ("ATTESTATION_REFUSED", 40)
    with RawClient(("127.0.0.1", int(guest.url.rpartition(":")[2]))) as client:
        client.handshake().send(request("POST", ATTEST_PATH, body=_question(), length=len(_question())))
        answer = client.response()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "PLATFORM_FAILED"
    assert b"input/output" not in answer
    guest.slow.failing = None
    with guest.connect(NAMES[0]) as client:
        assert client.get("/v1/manifest").status_code == 200


def test_lock_that_gets_no_report_leaves_the_guest_as_it_was() -> None:
    """A device that fails while a lock is prepared makes it fail, and the next attempt finds the guest unlocked."""
    with Guest() as guest, guest.connect(unlocked_ok=True) as client:
        guest.slow.failing = OSError(16, "busy")
        assert client.put_manifest().json()["code"] == "PLATFORM_FAILED"
        assert guest.state == "unlocked"
        guest.slow.failing = None
        client.accepted(client.put_manifest())


# What the relying party is offered by who is in the same batch, or in none.


class Batch:
    """A batch of five, of which the first is the relying party's own."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.identity = self.scene.server_identity()
        self.expectation = self.scene.expectation()
        self.certificate = judge_certificate(self.identity.certificate_der, expectation=self.expectation, at=AT)
        self.questions = [Question(nonce=bytes([n]) * 32, exported=bytes([n + 100]) * 32) for n in range(5)]
        self.evidence = connection_evidence(
            self.scene.platform, identity=self.identity, log=AFTER_LOCK, questions=self.questions
        )

    def judge(self, evidence: Evidence) -> ChannelProof:
        """Judge evidence as the relying party, on its own connection."""
        return judge_channel(
            encode_json(evidence),
            previous=self.certificate,
            nonce=self.questions[0].nonce,
            exported=self.questions[0].exported,
            expectation=self.expectation,
            at=AT,
        )

    def leaf(self, number: int) -> bytes:
        """Return the leaf of one of the five."""
        asked = self.questions[number]
        binder = framing.binder(spki_der=self.certificate.spki_der, exported=asked.exported)
        return framing.batch_leaf(nonce=asked.nonce, binder=binder)


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Return a batch of five."""
    return Batch()


def test_evidence_of_ones_own_leaf_holds(batch: Batch) -> None:
    """The relying party's own path leads to the root that the report binds."""
    assert batch.judge(batch.evidence[0]).batched


def test_evidence_of_another_in_the_same_batch_is_refused(batch: Batch) -> None:
    """A relay that sits in the same batch cannot pass on what it got for itself."""
    for other in batch.evidence[1:]:
        with pytest.raises(BindingError) as refusal:
            batch.judge(other)
        assert refusal.value.code == "CLAIMS_MISMATCH"


def test_every_change_of_a_path_is_refused(batch: Batch) -> None:
    """Not one bit of a path can be another, and no step can be left out, doubled or exchanged."""
    path = batch.evidence[0].path or b""
    bits = [bytes(b ^ (1 << bit % 8 if at == bit // 8 else 0) for at, b in enumerate(path)) for bit in range(0, 792, 7)]
    steps = [path[start : start + 33] for start in range(0, len(path), 33)]
    shorter = [b"".join(steps[:count]) for count in range(len(steps))]
    others = [b"".join([*steps, steps[0]]), b"".join([steps[1], steps[0], *steps[2:]])]
    for forged in [*(b for b in bits if all(side < 2 for side in b[::33])), *shorter, *others]:
        with pytest.raises(BindingError):
            batch.judge(replace(batch.evidence[0], path=forged))


def test_node_in_the_place_of_a_leaf_is_refused(batch: Batch) -> None:
    """A report over a tree whose node is the relying party's leaf, read as two hashes, is no report over its leaf."""
    # An attacker in the batch puts the two halves of somebody's leaf preimage where two leaves would be: as a node
    # they hash to something else than the leaf, for the first byte differs.
    asked = batch.questions[0]
    binder = framing.binder(spki_der=batch.certificate.spki_der, exported=asked.exported)
    root = framing.batch_node(asked.nonce, binder)
    assert root != batch.leaf(0)
    claims = batch_claims(
        spki_sha256=batch.identity.spki_sha256, manifest=batch.identity.manifest, log=AFTER_LOCK, root=root
    )
    report = batch.scene.platform.report(claims.report_data())
    for path in (b"", b"\x01" + binder, b"\x00" + asked.nonce):
        forged = replace(batch.evidence[0], report=report, claims=claims.encode(), path=path)
        with pytest.raises(BindingError) as refusal:
            batch.judge(forged)
        assert refusal.value.code == "CLAIMS_MISMATCH"
