"""Attacks on evidence of guests under a provider's paravisor, over the whole path of a connection."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.support import verifier_service as service
from tests.support.amd import AT
from tests.support.azure import PCRS, FakeAzure, runtime_data
from tests.support.manifests import MEASUREMENT

from twocvm_guest.attestation import Question as Asked
from twocvm_guest.attestation import connection_evidence, make_identity
from twocvm_guest.tls import ServerIdentity
from twocvm_sdk import receipts
from twocvm_verifier import SnpVerifier, framing
from twocvm_verifier.appraisal import Question
from twocvm_verifier.appraisal.delegated import Word, judge_by_word
from twocvm_verifier.azure.verify import quoted_of
from twocvm_verifier.binding import LogPosition, cert_claims
from twocvm_verifier.errors import AppraisalError, BindingError, MalformedError
from twocvm_verifier.evidence import Evidence, encode_json
from twocvm_verifier.policy import PcrValues
from twocvm_verifier.policy.model import RequiredLevels
from twocvm_verifier.ratls.certificate import parse_certificate
from twocvm_verifier.ratls.proof import CertificateProof, ChannelProof, Expectation, judge_certificate, judge_channel
from twocvm_verifier.result import Level, Verdict
from twocvm_verifier.snp.rules import Outcome
from twocvm_verifier.unchecked import Unchecked

AMD, AZURE = service.MILAN, FakeAzure()
LOG = LogPosition(head=bytes(32), events=2)
NONCE, EXPORTED = b"n" * 32, b"e" * 32
ENOUGH = RequiredLevels(levels=(Level.AL1, Level.AL2), at_rest=False, others=Unchecked("a test trusts the provider"))


@dataclass(kw_only=True)
class Guest:
    """A guest under a paravisor, which does what an attacker wants."""

    reset_count: int = 7
    paravisor: bool = True
    vmpl: int = 0
    azure: FakeAzure = AZURE
    pcrs: tuple[bytes, ...] = PCRS
    name: str = "azure"

    def report(self, report_data: bytes) -> bytes:
        """Return the paravisor's report, or, of a machine without one, the guest's own."""
        bound = self.azure.report_data() if self.paravisor else report_data
        return service.report(report_data=bound, vmpl=self.vmpl)

    def quote(self, report_data: bytes) -> bytes | None:
        """Return the vTPM's quote."""
        if not self.paravisor:
            return None
        digest = framing.sha256(b"".join(self.pcrs))
        return self.azure.bound_to(report_data, reset_count=self.reset_count, pcrs=self.pcrs, pcr_digest=digest)

    def vek(self) -> bytes:
        """Return the chip's certificate."""
        return AMD.vcek()

    def chain(self) -> bytes:
        """Return its issuers'."""
        return AMD.chain()

    def crl(self) -> bytes:
        """Return a revocation list."""
        return service.crl()

    def identity(self) -> ServerIdentity:
        """Return a TLS key with evidence."""
        return make_identity(self, manifest=service.world().manifest.hash, log=LOG)

    def evidence(self, identity: ServerIdentity, nonce: bytes = NONCE) -> Evidence:
        """Return evidence for a connection."""
        asked = [Asked(nonce=nonce, exported=EXPORTED)]
        return connection_evidence(self, identity=identity, log=LOG, questions=asked)[0]


def expectation(levels: RequiredLevels = ENOUGH) -> Expectation:
    """Return what whoever connects expects."""
    return Expectation(
        manifest=service.world().manifest,
        policy=service.naming_policy(require_levels=levels),
        verifier=SnpVerifier(roots=AMD.roots()),
        unlocked_ok=False,
    )


def first(identity: ServerIdentity, levels: RequiredLevels = ENOUGH) -> CertificateProof:
    """Judge a leaf."""
    return judge_certificate(identity.certificate_der, expectation=expectation(levels), at=AT)


def then(evidence: Evidence, previous: CertificateProof) -> ChannelProof:
    """Judge an answer."""
    return judge_channel(
        encode_json(evidence), previous=previous, nonce=NONCE, exported=EXPORTED, expectation=expectation(), at=AT
    )


def code_of(evidence: Evidence, previous: CertificateProof) -> str:
    """Return what an answer is refused with."""
    with pytest.raises(BindingError) as refusal:
        then(evidence, previous)
    return refusal.value.code


def test_honest_guest_is_proved_on_its_connection() -> None:
    """The path that the attacks below leave: accepted, and bound to this connection by a quote."""
    identity = Guest().identity()
    proof = then(Guest().evidence(identity), first(identity))
    assert proof.verified.report.report_data == AZURE.report_data()
    assert framing.quote_extra_data(proof.verified.bound_data) in AZURE.bound_to(proof.verified.bound_data)


def test_quote_of_another_connection() -> None:
    """A quote that was made for somebody else's nonce binds nothing here, with its own claims or with ours."""
    identity = Guest().identity()
    proof = first(identity)
    theirs, ours = Guest().evidence(identity, b"o" * 32), Guest().evidence(identity)
    assert code_of(theirs, proof) == "CLAIMS_MISMATCH"
    assert code_of(replace(ours, azure=theirs.azure), proof) == "AZURE_EXTRA_DATA"


def test_report_without_its_quote() -> None:
    """The paravisor's report alone is the same for everybody, and is accepted for nobody."""
    identity = Guest().identity()
    bare = replace(Guest().evidence(identity), azure=None)
    assert code_of(bare, first(identity)) == "REPORT_DATA_MISMATCH"


def test_guest_that_was_started_again_under_the_same_paravisor() -> None:
    """REPORT_ID is the paravisor's and stays; the vTPM's reset count does not, so no proof goes on over a new start."""
    identity = Guest().identity()
    again = Guest(reset_count=8).evidence(identity)
    assert code_of(again, first(identity)) == "INSTANCE_CHANGED"


def test_receipt_of_another_start() -> None:
    """A receipt over the same report, made after the guest was started again, is of another guest."""
    identity = Guest().identity()
    instance = SimpleNamespace(proof=then(Guest().evidence(identity), first(identity)))
    for reset_count, same in ((7, True), (8, False)):
        evidence = Guest(reset_count=reset_count).evidence(identity)
        file = SimpleNamespace(receipt=SimpleNamespace(evidence=evidence))
        if same:
            receipts._require_same_guest(file, instance)
            continue
        with pytest.raises(BindingError) as refusal:
            receipts._require_same_guest(file, instance)
        assert refusal.value.code == "RECEIPT_OF_ANOTHER"


def test_guest_that_plays_its_own_paravisor() -> None:
    """A report that a guest under a paravisor asked for itself may name any key, and is not at VMPL 0."""
    with pytest.raises(BindingError) as refusal:
        first(Guest(vmpl=2).identity())
    assert refusal.value.code == "AZURE_VMPL"


def test_native_report_with_a_quote_beside_it() -> None:
    """A guest's own report, over its own claims, is of no runtime data, whatever quote is put beside it."""
    native = Guest(paravisor=False)
    identity = native.identity()
    proof = first(identity)
    evidence = native.evidence(identity)
    quoted = replace(evidence, azure=Guest().evidence(identity).azure)
    assert code_of(quoted, proof) == "AZURE_RUNTIME_MISMATCH"


def test_native_guest_cannot_become_a_paravisors_between_two_proofs() -> None:
    """Proofs of one connection are of one kind."""
    identity = Guest(paravisor=False).identity()
    assert code_of(Guest().evidence(identity), first(identity)) == "INSTANCE_CHANGED"


def test_paravisors_measurement_listed_as_an_image() -> None:
    """Whoever calls it one, nothing under a paravisor reaches AL3, and the default policy releases nothing."""
    assert service.world().manifest.platform.measurements == (MEASUREMENT,)
    strict = RequiredLevels(levels=tuple(Level), at_rest=False, others=Unchecked("all are required"))
    with pytest.raises(AppraisalError) as refusal:
        first(Guest().identity(), strict)
    assert {check.code for check in refusal.value.findings} == {"LEVEL_NOT_PROVED"}
    native = first(Guest(paravisor=False).identity(), strict)
    assert all(proof.proved_by for proof in native.appraisal.levels)


def test_strangers_machine_under_the_same_paravisor() -> None:
    """Whoever rents one has quotes made of anything: refused by a policy of all levels, and never secure by another."""
    key = rsa.generate_private_key(65537, 2048)
    stranger = Guest(azure=FakeAzure(key=key, runtime=runtime_data(key.public_key())))
    strict = RequiredLevels(levels=tuple(Level), at_rest=False, others=Unchecked("all are required"))
    with pytest.raises(AppraisalError) as refusal:
        first(stranger.identity(), strict)
    assert {check.code for check in refusal.value.findings} == {"LEVEL_NOT_PROVED"}
    accepted = first(stranger.identity()).appraisal
    assert (accepted.verdict, accepted.secure) == (Verdict.WARNING, False)
    identity = Guest().identity()
    assert code_of(stranger.evidence(identity), first(identity)) == "INSTANCE_CHANGED"


def test_strangers_software_under_the_same_paravisor() -> None:
    """Who is content with AL2 and names PCRs of its image's start refuses another start, and a guest without any."""
    values = PcrValues(named={4: (PCRS[4],), 9: (PCRS[9],)}, others=Unchecked("the provider's firmware"))
    naming = replace(expectation(), policy=replace(expectation().policy, pcrs={"sha256": values}))
    others = (*PCRS[:4], b"k" * 32, *PCRS[5:])
    for guest, refused in (
        (Guest(), []),
        (Guest(pcrs=others), ["policy.pcrs.sha256.4"]),
        (Guest(paravisor=False), ["policy.pcrs.sha256.4", "policy.pcrs.sha256.9"]),
    ):
        leaf = guest.identity().certificate_der
        if not refused:
            assert not judge_certificate(leaf, expectation=naming, at=AT).appraisal.secure
            continue
        with pytest.raises(AppraisalError) as refusal:
            judge_certificate(leaf, expectation=naming, at=AT)
        assert {check.code for check in refusal.value.findings} == {"PCR_MISMATCH"}
        assert [check.id for check in refusal.value.findings] == refused


def test_word_of_a_verifier_elsewhere() -> None:
    """Taking somebody's word, one still sees that a paravisor is trusted, which start it is, and what was bound."""
    guest, proof = Guest(), first(Guest().identity())
    identity = guest.identity()
    certificate, other = parse_certificate(identity.certificate_der), guest.evidence(identity)
    claims = cert_claims(spki_sha256=identity.spki_sha256, manifest=identity.manifest, log=LOG)
    question = Question(
        evidence=certificate.evidence,
        report_data=claims.report_data(),
        manifest=service.world().manifest,
        policy=expectation().policy,
    )
    word = Word(verifier="v", verdict=Verdict.AFFIRMING, code="VERIFIER_REFUSED", token_sha256=bytes(32), until=AT)
    judged = judge_by_word(question, word, simulated_ok=False, at=AT)
    appraisal = judged.appraisal.require()
    assert (appraisal.platform, appraisal.verdict, appraisal.secure) == ("azure", Verdict.WARNING, False)
    assert [level.level for level in appraisal.levels if level.proved_by] == [Level.AL1, Level.AL2]
    assert "PARAVISOR_TRUSTED" in {check.code for check in appraisal.checks}
    assert judged.verified.boot == proof.verified.boot != b""
    swapped = replace(question, evidence=replace(certificate.evidence, azure=other.azure))
    with pytest.raises(BindingError) as refusal:
        judge_by_word(swapped, word, simulated_ok=False, at=AT).appraisal.require()
    assert refusal.value.code == "REPORT_DATA_MISMATCH"


def test_claims_left_out() -> None:
    """A quote without the claims that it binds is not evidence."""
    with pytest.raises(MalformedError):
        quoted_of(AZURE.bound_to(bytes(64)), claims=None)


def test_all_that_is_wrong_is_listed() -> None:
    """Where the report itself is not authentic no rule of the vTPM is asked, and each says why."""
    verifier = SnpVerifier(roots=AMD.roots())
    quoted = quoted_of(AZURE.bound_to(service.claims().report_data()), claims=service.claims().encode())
    forged = bytearray(service.report(report_data=AZURE.report_data()))
    forged[0x90] ^= 1

    def asked(report: bytes) -> list[Outcome]:
        found = verifier.examine(report, vek=AMD.vcek(), at=AT, quoted=quoted)
        assert found.paravisor
        return [outcome for outcome in found.outcomes if outcome.id.startswith("azure.")]

    assert all("vouch" in outcome.not_asked for outcome in asked(bytes(forged)))
    assert not any(
        outcome.not_asked or outcome.error for outcome in asked(service.report(report_data=AZURE.report_data()))
    )
