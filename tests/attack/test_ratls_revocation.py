"""Revocation on an attested connection: a host that leaves the list out, ages it, or brings another's, gains nothing.

The guest's evidence is genuine in everything else. A release needs a list that is recent enough, so each of these ends
before anything is released, in the handshake itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from tests.support.attested_guest import AFTER_LOCK, Scene, policy
from tests.support.manifests import NOT_BEFORE
from tests.support.simulated import chip as other_chip

from twocvm_guest.attestation import Question, connection_evidence, make_identity
from twocvm_guest.platforms.simulated import SimulatedPlatform
from twocvm_verifier import SnpVerifier, Unchecked, simulated_roots
from twocvm_verifier.errors import BindingError, NotFoundError, SignatureError, StaleError, TwoCvmError
from twocvm_verifier.evidence import encode_json
from twocvm_verifier.policy.model import DEFAULT_MAX_CRL_AGE_SECONDS
from twocvm_verifier.ratls.proof import CertificateProof, Expectation, judge_certificate, judge_channel
from twocvm_verifier.snp.revocation import PREFER, REQUIRE, CrlUse

# The chip, and so its list, are of a day before this.
AT = NOT_BEFORE + timedelta(days=1)
STRICT = policy(max_crl_age_seconds=DEFAULT_MAX_CRL_AGE_SECONDS)
NONCE, EXPORTED = b"\x07" * 32, b"\x08" * 32


@dataclass(frozen=True)
class Host:
    """A host between the guest and its platform, which replaces the list, or drops it."""

    platform: SimulatedPlatform
    list_of_revoked: bytes | None

    @property
    def name(self) -> str:
        """As the platform."""
        return self.platform.name

    def report(self, report_data: bytes) -> bytes:
        """As the platform."""
        return self.platform.report(report_data)

    def quote(self, report_data: bytes) -> bytes | None:
        """As the platform."""
        return self.platform.quote(report_data)

    def vek(self) -> bytes:
        """As the platform."""
        return self.platform.vek()

    def chain(self) -> bytes:
        """As the platform."""
        return self.platform.chain()

    def crl(self) -> bytes | None:
        """Return what the host says."""
        return self.list_of_revoked


@pytest.fixture
def scene() -> Scene:
    """A guest that is locked, and a manifest that allows it."""
    return Scene()


def expectation(scene: Scene, crls: CrlUse, **changes: object) -> Expectation:
    """Return what a participant expects that releases under the built-in rule."""
    verifier = SnpVerifier(roots=simulated_roots(scene.platform.root_pem), crls=crls)
    return scene.expectation(policy=STRICT, verifier=verifier, **changes)


def first_contact(scene: Scene, crl: bytes | None, crls: CrlUse, *, at: datetime = AT) -> CertificateProof:
    """Judge the certificate of a guest whose host brings this list."""
    identity = make_identity(Host(scene.platform, crl), manifest=scene.world.manifest.hash, log=AFTER_LOCK)
    return judge_certificate(identity.certificate_der, expectation=expectation(scene, crls), at=at)


def test_the_guests_own_list_is_enough(scene):
    """What the platform sends along satisfies the strict rule, required or preferred."""
    for crls in (PREFER, REQUIRE):
        proof = first_contact(scene, scene.platform.crl(), crls)
        assert "crl" in {piece.kind for piece in proof.appraisal.collateral}


HOSTS = {
    "left out": (None, NotFoundError, "CRL_MISSING"),
    "of another root": (other_chip(1).certificates.crl_der, SignatureError, "CRL_SIGNATURE"),
    "junk": (b"junk", TwoCvmError, "MALFORMED_CRL"),
}


@pytest.mark.parametrize("case", HOSTS)
@pytest.mark.parametrize("crls", [PREFER, REQUIRE], ids=["prefer", "require"])
def test_a_host_that_brings_no_list_of_use(scene, case, crls):
    """No release, and the same code, whether the verifier or the policy refuses."""
    crl, error, code = HOSTS[case]
    wanted = BindingError if crls is PREFER and error is SignatureError else error
    with pytest.raises(wanted) as caught:
        first_contact(scene, crl, crls)
    assert caught.value.code == code


@pytest.mark.parametrize("days", [31, 400])
def test_a_list_that_has_aged(scene, days):
    """After 30 days the policy refuses it, and after its year the verifier; both are 40, judged at another time."""
    with pytest.raises(StaleError) as caught:
        first_contact(scene, scene.platform.crl(), PREFER, at=AT + timedelta(days=days))
    assert (caught.value.code, caught.value.exit_status) == ("CRL_STALE", 40)


def test_a_list_that_is_left_out_of_the_channel(scene):
    """What the first contact brought is remembered: leaving it out afterwards changes nothing, a stranger's neither."""
    expected = expectation(scene, PREFER)
    identity = make_identity(scene.platform, manifest=scene.world.manifest.hash, log=AFTER_LOCK)
    previous = judge_certificate(identity.certificate_der, expectation=expected, at=AT)
    for crl in (None, other_chip(1).certificates.crl_der):
        questions = [Question(nonce=NONCE, exported=EXPORTED)]
        (evidence,) = connection_evidence(
            Host(scene.platform, crl), identity=identity, log=AFTER_LOCK, questions=questions
        )
        proof = judge_channel(
            encode_json(evidence), previous=previous, nonce=NONCE, exported=EXPORTED, expectation=expected, at=AT
        )
        assert "crl" in {piece.kind for piece in proof.appraisal.collateral}


def test_who_asks_nothing_must_say_so_twice(scene):
    """A verifier that was told to ask nothing does not release under a policy that demands a list."""
    with pytest.raises(NotFoundError) as caught:
        first_contact(scene, scene.platform.crl(), Unchecked("a verifier that asks nothing"))
    assert caught.value.code == "CRL_MISSING"
