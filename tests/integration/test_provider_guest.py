"""A guest on a machine of a provider that signs with a VLEK, such as EC2's: from its host's table to both proofs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from tests.support import verifier_service as service
from tests.support.amd import AT
from tests.support.certtables import GUIDS, table
from tests.support.manifests import MEASUREMENT

from twocvm_guest.attestation import Question, make_identity
from twocvm_guest.broker import AttestationBroker
from twocvm_guest.platforms.device import Answer
from twocvm_guest.platforms.snp import SnpPlatform
from twocvm_verifier import SnpVerifier
from twocvm_verifier.binding import LogPosition
from twocvm_verifier.errors import AppraisalError
from twocvm_verifier.evidence import encode_json
from twocvm_verifier.policy.model import RequiredLevels
from twocvm_verifier.ratls.proof import CertificateProof, ChannelProof, Expectation, judge_certificate, judge_channel
from twocvm_verifier.result import Level, Verdict
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.unchecked import Unchecked

AMD = service.MILAN
LOG = LogPosition(head=bytes(32), events=2)
NONCE, EXPORTED = b"n" * 32, b"e" * 32
OF_FIRMWARE = replace(
    service.naming_policy(max_crl_age_seconds=Unchecked("a test")),
    measurements=Unchecked("a provider starts no image of ours"),
    firmware_measurements=(MEASUREMENT,),
    csp_ids=("CN=cc-example.test",),
)
ENOUGH = RequiredLevels(levels=(Level.AL1, Level.AL2), at_rest=False, others=Unchecked("a test keeps strangers away"))


class ProvidersDevice:
    """A device whose firmware signs with the provider's key, and whose host has that key's certificate."""

    name, vmpl = "a provider's device", 0

    def ask(self, report_data: bytes, *, certificates: bool) -> Answer:
        """Answer."""
        blobs = {"vlek": AMD.vlek(), "intermediate": AMD.ask(VekKind.VLEK), "ark": AMD.ark()}
        found = table({GUIDS[name]: blob for name, blob in blobs.items()}) if certificates else b""
        return Answer(report=service.report(report_data=report_data, flags=1 << 2, chip_id=bytes(64)), table=found)

    def close(self) -> None:
        """Nothing is open."""


def proofs(levels: RequiredLevels) -> tuple[CertificateProof, ChannelProof]:
    """Return what a participant concludes from the certificate, and from the answer on its connection."""
    expectation = Expectation(
        manifest=service.world().manifest,
        policy=replace(OF_FIRMWARE, require_levels=levels),
        verifier=SnpVerifier(roots=AMD.roots()),
        unlocked_ok=False,
    )
    broker = AttestationBroker(SnpPlatform(ProvidersDevice()), log_of=lambda _: LOG)
    try:
        identity = broker.turn(partial(make_identity, manifest=service.world().manifest.hash, log=LOG))
        evidence = broker.evidence(identity=identity, question=Question(nonce=NONCE, exported=EXPORTED)).result(10)
    finally:
        broker.stop()
    first = judge_certificate(identity.certificate_der, expectation=expectation, at=AT)
    answer = encode_json(evidence)
    return first, judge_channel(answer, previous=first, nonce=NONCE, exported=EXPORTED, expectation=expectation, at=AT)


def test_guest_is_proved_to_its_firmware_by_the_hosts_certificates() -> None:
    """The VLEK comes from the host's table alone; both proofs hold, reach AL2, and are not secure."""
    for proof in proofs(ENOUGH):
        assert [level.level for level in proof.appraisal.levels if level.proved_by] == [Level.AL1, Level.AL2]
        assert (proof.appraisal.verdict, proof.appraisal.secure) == (Verdict.WARNING, False)
        assert proof.appraisal.facts["csp_id"] == "CN=cc-example.test"


def test_nothing_is_released_to_it_by_a_policy_of_all_levels() -> None:
    """Who asks for kernel and software is told that they are not proved."""
    with pytest.raises(AppraisalError) as refusal:
        proofs(RequiredLevels(levels=tuple(Level), at_rest=False, others=Unchecked("all are required")))
    assert {check.code for check in refusal.value.findings} == {"LEVEL_NOT_PROVED"}
