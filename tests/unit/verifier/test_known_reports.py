"""A report that was verified before: its signature alone is not asked again, and only for the very same bytes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.amd import AT, CHIP_ID, VEK_END, extension, fake_amd
from tests.support.crls import ISSUER_SERIAL, crl_of

from twocvm_verifier import SnpVerifier, Unchecked
from twocvm_verifier.errors import BindingError, ChainError, MalformedError, RevokedError, SignatureError, TwoCvmError
from twocvm_verifier.snp.chain import vek_case, verify_vek
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import REPORT_BYTES, SIGNED_BYTES, parse_report
from twocvm_verifier.snp.vek import parse_vek
from twocvm_verifier.snp.verify import VerifiedReport, verify_report
from twocvm_verifier.verifier import MAX_KNOWN_REPORTS

AMD = fake_amd(Product.GENOA)
VCEK = AMD.vcek()
REPORT = AMD.report()


@pytest.fixture
def verifier() -> SnpVerifier:
    """Return a verifier that knows the report."""
    made = SnpVerifier(roots=AMD.roots())
    made.verify(REPORT, vek=VCEK, at=AT)
    return made


def test_known_report_is_the_same_again(verifier: SnpVerifier) -> None:
    """What comes out for a known report is what comes out for a new one."""
    fresh = SnpVerifier(roots=AMD.roots()).verify(REPORT, vek=VCEK, at=AT)
    assert verifier.verify(REPORT, vek=VCEK, at=AT) == fresh
    assert verifier.verify(bytearray(REPORT), vek=VCEK, at=AT) == fresh  # type: ignore[arg-type]


@pytest.mark.parametrize("byte", range(0, REPORT_BYTES, 37))
def test_no_bit_of_a_known_report_can_be_another(verifier: SnpVerifier, byte: int) -> None:
    """One bit beside what is known is not known: it is refused, and what was known stays so."""
    forged = bytearray(REPORT)
    forged[byte] ^= 1
    with pytest.raises(TwoCvmError):
        verifier.verify(bytes(forged), vek=VCEK, at=AT)
    verifier.verify(REPORT, vek=VCEK, at=AT)


def test_signature_of_a_known_report_is_part_of_it(verifier: SnpVerifier) -> None:
    """The signed part alone is not what is known."""
    other = AMD.report(report_data=b"other" * 12 + b"data")
    with pytest.raises(SignatureError) as refusal:
        verifier.verify(REPORT[:SIGNED_BYTES] + other[SIGNED_BYTES:], vek=VCEK, at=AT)
    assert refusal.value.code == "REPORT_SIGNATURE"


def test_known_report_under_another_key_is_not_known(verifier: SnpVerifier) -> None:
    """A second certificate for the same chip, whose key never signed the report, is refused as ever."""
    impostor = replace(AMD, keys=replace(AMD.keys, vek=ec.generate_private_key(ec.SECP384R1()))).vcek()
    for _ in range(2):
        with pytest.raises(SignatureError) as refusal:
            verifier.verify(REPORT, vek=impostor, at=AT)
        assert refusal.value.code == "REPORT_SIGNATURE"


def test_known_report_is_held_to_the_time_of_each_question(verifier: SnpVerifier) -> None:
    """The chain's validity is asked every time."""
    with pytest.raises(ChainError) as refusal:
        verifier.verify(REPORT, vek=VCEK, at=VEK_END + timedelta(seconds=1))
    assert refusal.value.code == "CHAIN_EXPIRED"


def test_known_report_is_held_to_its_certificate(verifier: SnpVerifier) -> None:
    """Another chip's certificate, and one that is none, are refused as ever."""
    other = AMD.vcek(changed={"4": extension("4", CHIP_ID[::-1])})
    with pytest.raises(BindingError) as refusal:
        verifier.verify(REPORT, vek=other, at=AT)
    assert refusal.value.code == "CHIP_ID_MISMATCH"
    with pytest.raises(MalformedError):
        verifier.verify(REPORT, vek=b"no certificate", at=AT)


def test_known_report_is_revoked_by_a_list_that_comes_later(verifier: SnpVerifier) -> None:
    """Revocation is asked every time: what was authentic yesterday is refused once its issuer is revoked."""
    revoking = crl_of(AMD, revoked=(ISSUER_SERIAL,))
    with pytest.raises(RevokedError):
        verifier.verify(REPORT, vek=VCEK, at=AT, crl=revoking)
    with pytest.raises(RevokedError):
        verifier.verify(REPORT, vek=VCEK, at=AT)


def test_few_reports_are_known(verifier: SnpVerifier) -> None:
    """However many reports come, a verifier keeps only the last few."""
    for number in range(2 * MAX_KNOWN_REPORTS):
        verifier.verify(AMD.report(report_data=number.to_bytes(64, "big")), vek=VCEK, at=AT)
    assert len(verifier._reports) == MAX_KNOWN_REPORTS
    assert REPORT not in verifier._reports
    verifier.verify(REPORT, vek=VCEK, at=AT)


def test_report_that_is_handed_over_as_known_is_compared() -> None:
    """Whatever is said to be known, a signature is passed over only for equal bytes and the very key."""
    vek = verify_vek(vek_case(parse_vek(VCEK), roots=AMD.roots(), chain=None))
    again = verify_vek(vek_case(parse_vek(VCEK), roots=AMD.roots(), chain=None))
    broken = parse_report(REPORT[:SIGNED_BYTES] + AMD.report(report_data=b"other" * 12 + b"data")[SIGNED_BYTES:])

    def verify(report, key, known: VerifiedReport | None) -> VerifiedReport:
        return verify_report(report, vek=key, at=AT, revocation=Unchecked("none here"), known=known)

    genuine = verify(parse_report(REPORT), vek, None)
    assert verify(parse_report(REPORT), vek, genuine) == verify(parse_report(REPORT), again, genuine) == genuine
    for key in (vek, again):
        with pytest.raises(SignatureError):
            verify(broken, key, genuine)
    # Made by no verification, which only a test can do: another key is not the one that signed.
    false = VerifiedReport(report=broken, vek=again, revocation=genuine.revocation)
    with pytest.raises(SignatureError):
        verify(broken, vek, false)
