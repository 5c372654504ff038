"""Attacks with evidence alone: a host that forges, borrows, ages or relabels what its chip says.

Each attacker here has everything but AMD's private keys and another machine's chip.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.amd import AT, BEGIN, VEK_END, borrowed_names, extension, fake_amd, pem, sign_report

from twocvm_verifier import Policy, SnpVerifier, Unchecked, amd_roots, appraise, simulated_roots
from twocvm_verifier.errors import AppraisalError, MalformedError, TwoCvmError
from twocvm_verifier.policy import parse_policy
from twocvm_verifier.snp.der import encode_integer
from twocvm_verifier.snp.names import VekKind, amd_name
from twocvm_verifier.snp.product import Product

AMD = fake_amd(Product.MILAN)
FORGER = borrowed_names(Product.MILAN)
SIMULATED = fake_amd(Product.SIMULATED)
MEASUREMENT = bytes(range(48))
POLICY = replace(Policy.builtin(), measurements=(MEASUREMENT,), max_crl_age_seconds=Unchecked("a test"))


def refused(report: bytes, vek: bytes, *, chain: bytes | None = None, verifier: SnpVerifier | None = None) -> str:
    """Return the code with which evidence is refused; a test fails where it is accepted."""

    def accept() -> None:
        verified = (verifier or SnpVerifier(roots=AMD.roots())).verify(report, vek=vek, at=AT, chain=chain)
        appraise(verified, policy=POLICY, at=AT).require()

    with pytest.raises(TwoCvmError) as caught:
        accept()
    return caught.value.code


def test_the_honest_guest_is_accepted():
    """What the attacks below start from is accepted and secure."""
    verified = SnpVerifier(roots=AMD.roots()).verify(AMD.report(), vek=AMD.vcek(), at=AT)
    assert appraise(verified, policy=POLICY, at=AT).require().secure


def test_self_made_hierarchy_with_amds_names():
    """A whole AMD of the host's own, names and all, is not AMD."""
    assert refused(FORGER.report(), FORGER.vcek()) == "VEK_SIGNATURE"
    assert refused(AMD.report(), AMD.vcek(), verifier=SnpVerifier(roots=amd_roots())) == "VEK_SIGNATURE"


def test_root_that_comes_with_the_evidence():
    """A root that the host sends along is compared and refused, never trusted."""
    assert refused(FORGER.report(), FORGER.vcek(), chain=FORGER.chain()) == "CHAIN_ROOT_UNKNOWN"


def test_root_of_the_hosts_own_above_a_genuine_intermediate():
    """Mixing genuine and own certificates gains nothing."""
    assert refused(AMD.report(), AMD.vcek(), chain=pem(AMD.ask()) + pem(FORGER.ark())) == "CHAIN_ROOT_UNKNOWN"


def test_revoked_intermediate():
    """An intermediate that is known to be revoked is refused by name when evidence brings it."""
    old = AMD.ask_fields().der()
    verifier = SnpVerifier(roots=AMD.roots(revoked=frozenset({hashlib.sha256(old).digest()})))
    assert refused(AMD.report(), AMD.vcek(), chain=pem(old) + pem(AMD.ark()), verifier=verifier) == "CHAIN_REVOKED"


def test_key_of_leaked_old_firmware_signs_for_new_firmware():
    """Who has the key of an old TCB cannot claim a newer one with it: the certificate says what it is of."""
    old = AMD.vcek(changed={"3.3": extension("3.3", encode_integer(3))})
    assert refused(AMD.report(), old) == "VEK_TCB_MISMATCH"


def test_firmware_that_can_be_rolled_back():
    """A good TCB that is not committed is good for a moment only."""
    assert refused(AMD.report(committed_tcb=bytes(8)), AMD.vcek()) == "FIRMWARE_PROVISIONAL"


def test_report_of_another_machine():
    """A report of one chip with the certificate of another."""
    assert refused(AMD.report(chip_id=b"\x77" * 64), AMD.vcek()) == "CHIP_ID_MISMATCH"


def test_measurement_written_over():
    """Another guest's report with the expected MEASUREMENT written into it."""
    report = AMD.report(measurement=b"\x66" * 48)
    assert refused(report, AMD.vcek()) == "MEASUREMENT_MISMATCH"
    assert refused(report[:0x90] + MEASUREMENT + report[0xC0:], AMD.vcek()) == "REPORT_SIGNATURE"


def test_report_signed_by_the_host_itself():
    """A report with right fields and a signature of some key that is no chip's."""
    report = sign_report(AMD.report_fields().signed_part(), FORGER.keys.vek)
    assert refused(report, AMD.vcek()) == "REPORT_SIGNATURE"


def test_platform_that_signs_with_no_key():
    """A report that was not signed, its signature all zero, says so and is refused."""
    unsigned = AMD.report(flags=7 << 2)[:0x2A0] + bytes(0x200)
    assert refused(unsigned, AMD.vcek()) == "REPORT_UNSIGNED"


def test_report_that_the_host_asked_for():
    """The host can ask for a report too, with report data of its own; its mark is refused."""
    assert refused(AMD.report(vmpl=0xFFFFFFFF), AMD.vcek()) == "VMPL_REFUSED"


def test_operators_key_in_the_chips_place():
    """A VLEK under the ASK, a VCEK under the ASVK: keys of one kind never pass for the other."""
    vcek = AMD.vcek(issuer=amd_name("SEV-VLEK-Milan"), signer=AMD.keys.asvk)
    assert refused(AMD.report(), vcek) == "VEK_KIND_MISMATCH"
    assert refused(AMD.report(), AMD.vlek(), chain=AMD.chain(VekKind.VLEK)) == "SIGNING_KEY_MISMATCH"


def test_debug_and_migratable_guests():
    """Authentic, and open to the host: refused by every policy that did not say why not."""
    assert refused(AMD.report(policy=0xB0000), AMD.vcek()) == "DEBUG_ALLOWED"
    assert refused(AMD.report(policy=0x70000), AMD.vcek()) == "MIGRATION_ALLOWED"


def test_policy_that_forgets_debug_does_not_allow_it():
    """A policy file that speaks of other bits still refuses DEBUG."""
    policy = parse_policy('[guest_policy]\nforbidden = []\nminimum_abi = "0.0"\n')
    verified = SnpVerifier(roots=AMD.roots()).verify(AMD.report(policy=0xB0000), vek=AMD.vcek(), at=AT)
    with pytest.raises(AppraisalError) as caught:
        appraise(verified, policy=policy, at=AT).require()
    assert caught.value.code == "DEBUG_ALLOWED"


def test_simulated_platform_passed_off_as_hardware():
    """Simulated evidence is refused by hardware roots, and so are hardware names by the simulated door."""
    assert refused(SIMULATED.report(), SIMULATED.vcek()) == "CHAIN_ISSUER_UNKNOWN"
    with pytest.raises(TwoCvmError):
        simulated_roots(FORGER.chain())


def test_certificate_that_a_library_would_let_pass():
    """Unused bits and an outer algorithm of its own are nobody's signature, and refused before any is looked at."""
    for wrong in ({"unused_bits": 4}, {"trailing": b"\x00"}):
        with pytest.raises(MalformedError):
            SnpVerifier(roots=AMD.roots()).verify(AMD.report(), vek=AMD.vcek(**wrong), at=AT)


def test_certificate_that_was_good_once():
    """A verified VEK is kept, and its time is asked again at every use."""
    verifier, vek = SnpVerifier(roots=AMD.roots()), AMD.vcek()
    verifier.verify(AMD.report(), vek=vek, at=AT)
    for at in (BEGIN - timedelta(seconds=1), VEK_END + timedelta(seconds=1)):
        with pytest.raises(TwoCvmError):
            verifier.verify(AMD.report(), vek=vek, at=at)


def test_refusal_taken_for_a_yes():
    """A verdict in an `if` is an error, not an acceptance."""
    verified = SnpVerifier(roots=AMD.roots()).verify(AMD.report(policy=0xB0000), vek=AMD.vcek(), at=AT)
    with pytest.raises(TypeError):
        assert appraise(verified, policy=POLICY, at=AT)
