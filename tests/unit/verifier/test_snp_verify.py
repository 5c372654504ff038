"""Verification of VEKs and reports: each rule, kept and broken, with the code of the refusal."""

from __future__ import annotations

import inspect
from datetime import timedelta

import pytest
from tests.support.amd import (
    AT,
    BEGIN,
    P384_ORDER,
    VEK_END,
    borrowed_names,
    extension,
    fake_amd,
    pem,
    sign_report,
    signature_of,
    with_signature,
)

from twocvm_verifier import SnpVerifier, Unchecked, amd_roots, simulated_roots
from twocvm_verifier.errors import (
    BindingError,
    ChainError,
    MalformedError,
    RevokedError,
    SignatureError,
    VerificationError,
)
from twocvm_verifier.snp.der import IA5_STRING, encode, encode_integer
from twocvm_verifier.snp.names import VekKind, amd_name
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.revocation import NoCrl
from twocvm_verifier.verifier import MAX_CACHED_VEKS

HARDWARE = [Product.MILAN, Product.GENOA, Product.TURIN]
MILAN, GENOA, TURIN = (fake_amd(product) for product in HARDWARE)
SIMULATED = fake_amd(Product.SIMULATED)


def refusal(report, *, vek, amd=MILAN, at=AT, chain=None, error=VerificationError, roots=None) -> str:
    """Return the code of a refusal, having seen that both ways of asking refuse alike."""
    verifier = SnpVerifier(roots=roots or amd.roots())
    with pytest.raises(error) as caught:
        verifier.verify(report, vek=vek, at=at, chain=chain)
    examination = verifier.examine(report, vek=vek, at=at, chain=chain)
    assert examination.verified is None
    assert examination.refusal is not None
    assert examination.refusal.code == caught.value.code
    return caught.value.code


@pytest.mark.parametrize("product", list(Product))
@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_reports_signed_by_a_vcek_verify(product, version):
    """Every version of every product, and the product comes from the certificate."""
    amd = fake_amd(product)
    verified = SnpVerifier(roots=amd.roots()).verify(amd.report(version=version), vek=amd.vcek(), at=AT)
    assert verified.product is product
    assert verified.valid_until == VEK_END
    assert verified.roots_simulated == (product is Product.SIMULATED)
    assert verified.tcb("reported_tcb").microcode == 0xDB
    assert isinstance(verified.revocation, NoCrl)
    assert (verified.revocation.code, verified.revocation.required) == ("CRL_MISSING", False)


@pytest.mark.parametrize("product", HARDWARE)
def test_reports_signed_by_a_vlek_verify(product):
    """A VLEK is of no single chip, so CHIP_ID may be anything, zero included."""
    amd = fake_amd(product)
    report = amd.report(flags=1 << 2, chip_id=bytes(64))
    verified = SnpVerifier(roots=amd.roots()).verify(report, vek=amd.vlek(), at=AT, chain=amd.chain(VekKind.VLEK))
    assert verified.vek.vek.kind is VekKind.VLEK


def test_nothing_that_decides_has_a_default():
    """Roots, VEK and time are always said; only `crls`, and what evidence may bring or leave out, may be."""
    defaults = {
        name
        for function in (SnpVerifier.__init__, SnpVerifier.verify, SnpVerifier.examine)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    assert defaults == {"crls", "veks", "chain", "crl", "quoted"}


def test_unchecked_revocation_is_carried_along():
    """What the caller said about CRLs is in the verified report."""
    why = Unchecked("no CRL in this test")
    verified = SnpVerifier(roots=MILAN.roots(), crls=why).verify(MILAN.report(), vek=MILAN.vcek(), at=AT)
    assert verified.revocation == why


def test_own_roots_are_never_amds():
    """A whole hierarchy with AMD's names, self-made, is refused by AMD's roots."""
    assert refusal(MILAN.report(), vek=MILAN.vcek(), roots=amd_roots(), error=SignatureError) == "VEK_SIGNATURE"


def test_simulated_evidence_is_refused_by_hardware_roots():
    """No simulated platform is ever taken for a chip."""
    for roots in (amd_roots(), MILAN.roots()):
        code = refusal(SIMULATED.report(), vek=SIMULATED.vcek(), roots=roots, error=ChainError)
        assert code == "CHAIN_ISSUER_UNKNOWN"


def test_hardware_evidence_is_refused_by_simulated_roots():
    """Who accepts a simulated platform accepts that one, and nothing else."""
    roots = simulated_roots(SIMULATED.chain())
    assert refusal(MILAN.report(), vek=MILAN.vcek(), roots=roots) == "CHAIN_ISSUER_UNKNOWN"


def test_another_simulated_platform_is_refused():
    """Roots of one simulated guest are not another's."""
    other = borrowed_names(Product.SIMULATED)
    roots = simulated_roots(SIMULATED.chain())
    assert refusal(other.report(), vek=other.vcek(), roots=roots) == "VEK_SIGNATURE"


def test_roots_in_the_evidence_are_never_trusted():
    """A forger's whole chain that comes along with its VEK changes nothing."""
    forger = borrowed_names()
    assert refusal(forger.report(), vek=forger.vcek(), chain=forger.chain()) == "CHAIN_ROOT_UNKNOWN"
    assert refusal(MILAN.report(), vek=MILAN.vcek(), chain=forger.chain()) == "CHAIN_ROOT_UNKNOWN"


def test_intermediates_in_the_evidence_are_the_accepted_ones():
    """An intermediate that is not the accepted one of this VEK's issuer is refused, whoever signed it."""
    again = pem(MILAN.ask_fields().der()) + pem(MILAN.ark())
    assert refusal(MILAN.report(), vek=MILAN.vcek(), chain=again) == "CHAIN_INTERMEDIATE_UNKNOWN"
    assert refusal(MILAN.report(), vek=MILAN.vcek(), chain=MILAN.chain(VekKind.VLEK)) == "CHAIN_INTERMEDIATE_UNKNOWN"


def test_revoked_intermediates_are_named():
    """An intermediate that is known to be revoked is refused as such."""
    import hashlib

    old = MILAN.ask_fields().der()
    roots = MILAN.roots(revoked=frozenset({hashlib.sha256(old).digest()}))
    chain = pem(old) + pem(MILAN.ark())
    assert refusal(MILAN.report(), vek=MILAN.vcek(), chain=chain, roots=roots, error=RevokedError) == "CHAIN_REVOKED"


def test_bad_chain_is_refused_each_time():
    """A VEK that is known to be good does not make a bad chain pass."""
    verifier, vek = SnpVerifier(roots=MILAN.roots()), MILAN.vcek()
    verifier.verify(MILAN.report(), vek=vek, at=AT)
    for _ in range(2):
        with pytest.raises(ChainError):
            verifier.verify(MILAN.report(), vek=vek, at=AT, chain=borrowed_names().chain())
    with pytest.raises(MalformedError):
        verifier.verify(MILAN.report(), vek=vek, at=AT, chain=b"")


def test_issuers_of_another_product_are_refused():
    """A VEK of one product under another product's issuer is bound to nothing."""
    product = extension("2", encode(IA5_STRING, b"Genoa"))
    assert refusal(MILAN.report(), vek=MILAN.vcek(changed={"2": product}), error=BindingError) == "PRODUCT_MISMATCH"


def test_kinds_of_key_have_their_own_issuers():
    """A VCEK under the ASVK and a VLEK under the ASK are refused, in both directions."""
    vcek = MILAN.vcek(issuer=amd_name("SEV-VLEK-Milan"), signer=MILAN.keys.asvk)
    vlek = MILAN.vlek(issuer=amd_name("SEV-Milan"), signer=MILAN.keys.ask)
    assert refusal(MILAN.report(), vek=vcek, error=BindingError) == "VEK_KIND_MISMATCH"
    assert refusal(MILAN.report(flags=1 << 2), vek=vlek, error=BindingError) == "VEK_KIND_MISMATCH"


@pytest.mark.parametrize("wrong", [{"salt_bytes": 32}, {"salt_bytes": 0}, {"signer": MILAN.keys.ark}])
def test_vek_signatures_of_another_kind_are_refused(wrong):
    """Another salt, or the root in the intermediate's place."""
    assert refusal(MILAN.report(), vek=MILAN.vcek(**wrong), error=SignatureError) == "VEK_SIGNATURE"


def test_any_flipped_bit_of_a_veks_body_is_refused():
    """A bit in each part of the signed certificate, one at a time."""
    vek = MILAN.vcek()
    verifier = SnpVerifier(roots=MILAN.roots())
    for offset in range(4, len(vek), 7):
        changed = vek[:offset] + bytes([vek[offset] ^ 0x10]) + vek[offset + 1 :]
        with pytest.raises((VerificationError, MalformedError)):
            verifier.verify(MILAN.report(), vek=changed, at=AT)


def test_unsigned_reports_prove_nothing():
    """A platform that was told not to sign says so, and that is a refusal."""
    assert refusal(MILAN.report(flags=7 << 2), vek=MILAN.vcek(), error=SignatureError) == "REPORT_UNSIGNED"


def test_signing_key_and_certificate_are_of_one_kind():
    """A report signed by a VLEK is not judged by a VCEK, nor the reverse."""
    assert refusal(MILAN.report(flags=1 << 2), vek=MILAN.vcek(), error=BindingError) == "SIGNING_KEY_MISMATCH"
    assert refusal(MILAN.report(), vek=MILAN.vlek(), error=BindingError) == "SIGNING_KEY_MISMATCH"


@pytest.mark.parametrize("cpuid", [b"\x19\x11\x01", b"\x1a\x02\x01", b"\x19\x55\x00", b"\x00\x00\x00"])
@pytest.mark.parametrize("version", [3, 4, 5])
def test_cpuid_is_of_the_veks_product(version, cpuid):
    """Another product's CPUID, one that is not known, and the simulated one."""
    report = MILAN.report(version=version, cpuid=cpuid)
    assert refusal(report, vek=MILAN.vcek(), error=BindingError) == "PRODUCT_MISMATCH"


def test_bergamo_and_siena_are_genoas():
    """Models A0 to AF hang from Genoa's root."""
    report = GENOA.report(cpuid=b"\x19\xa0\x02")
    assert SnpVerifier(roots=GENOA.roots()).verify(report, vek=GENOA.vcek(), at=AT).product is Product.GENOA


@pytest.mark.parametrize("offset", [0, 7, 8, 63])
def test_another_chips_certificate_is_refused(offset):
    """CHIP_ID equals HWID to its last byte."""
    chip_id = bytearray(MILAN.chip_id)
    chip_id[offset] ^= 1
    assert refusal(MILAN.report(chip_id=bytes(chip_id)), vek=MILAN.vcek(), error=BindingError) == "CHIP_ID_MISMATCH"


def test_masked_chip_id_is_no_chips():
    """A zero CHIP_ID under a VCEK is refused, not skipped."""
    assert refusal(MILAN.report(chip_id=bytes(64)), vek=MILAN.vcek(), error=BindingError) == "CHIP_ID_MISMATCH"


@pytest.mark.parametrize("offset", [0, 7, 8, 63])
def test_turins_chip_id_is_eight_bytes_and_zeros(offset):
    """All 64 bytes are compared, the zeros too."""
    chip_id = bytearray(TURIN.chip_id)
    chip_id[offset] ^= 1
    code = refusal(TURIN.report(chip_id=bytes(chip_id)), vek=TURIN.vcek(), amd=TURIN, error=BindingError)
    assert code == "CHIP_ID_MISMATCH"


LEVELS = [(MILAN, arc) for arc in ("3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "3.8")]
LEVELS += [(TURIN, arc) for arc in ("3.9", "3.1", "3.2", "3.3", "3.5", "3.6", "3.7", "3.8")]


@pytest.mark.parametrize(("amd", "arc"), LEVELS, ids=[f"{amd.product}-{arc}" for amd, arc in LEVELS])
@pytest.mark.parametrize("step", [1, -1])
def test_every_level_of_the_vek_is_the_reports(amd, arc, step):
    """A VEK of another TCB, off by one in any component, is another key's certificate."""
    right = amd.extensions()[arc]
    value = right[-1] + step
    if value < 0:
        value = 255
    vek = amd.vcek(changed={arc: extension(arc, encode_integer(value))})
    assert refusal(amd.report(), vek=vek, amd=amd, error=BindingError) == "VEK_TCB_MISMATCH"


def test_a_level_above_127_is_not_its_last_byte():
    """0xDB is written as 00 DB; a level of 0x1DB is refused before any comparison."""
    vek = MILAN.vcek(changed={"3.8": extension("3.8", encode_integer(0x1DB))})
    with pytest.raises(MalformedError):
        SnpVerifier(roots=MILAN.roots()).verify(MILAN.report(), vek=vek, at=AT)


@pytest.mark.parametrize("field", ["current_tcb", "committed_tcb", "launch_tcb"])
@pytest.mark.parametrize(("amd", "offset"), [(MILAN, 3), (TURIN, 5)])
def test_reserved_bytes_of_other_tcbs_are_zero(amd, field, offset):
    """A TCB with a byte that the product reserves is of another product or a newer firmware."""
    tcb = bytearray(amd.tcb)
    tcb[offset] = 1
    code = refusal(amd.report(**{field: bytes(tcb)}), vek=amd.vcek(), amd=amd, error=BindingError)
    assert code == "TCB_LAYOUT"


SIGNED_FIELDS = {
    "guest_svn": 0x04,
    "policy": 0x08,
    "family_id": 0x10,
    "image_id": 0x2F,
    "vmpl": 0x30,
    "current_tcb": 0x38,
    "platform_info": 0x40,
    "author_key_en": 0x48,
    "report_data": 0x50,
    "report_data_end": 0x8F,
    "measurement": 0x90,
    "host_data": 0xDF,
    "id_key_digest": 0xE0,
    "author_key_digest": 0x110,
    "report_id": 0x140,
    "report_id_ma": 0x160,
    "stepping": 0x18A,
    "committed_tcb": 0x1E0,
    "current_build": 0x1E8,
    "committed_major": 0x1EE,
    "launch_tcb": 0x1F7,
    "launch_mit_vector": 0x1F8,
    "current_mit_vector": 0x207,
}


@pytest.mark.parametrize("offset", SIGNED_FIELDS.values(), ids=list(SIGNED_FIELDS))
def test_a_flipped_bit_in_any_signed_field_is_refused(offset):
    """The signature covers every field."""
    raw = MILAN.report(version=5)
    changed = raw[:offset] + bytes([raw[offset] ^ 1]) + raw[offset + 1 :]
    assert refusal(changed, vek=MILAN.vcek(), error=SignatureError) == "REPORT_SIGNATURE"


R, S = signature_of(MILAN.report())
SIGNED_PART = MILAN.report_fields().signed_part()


@pytest.mark.parametrize(
    ("r", "s"),
    [
        (S, R),
        (0, S),
        (R, 0),
        (0, 0),
        (P384_ORDER, S),
        (R, P384_ORDER),
        (R, S + 1),
        (int.from_bytes(R.to_bytes(48, "little"), "big"), int.from_bytes(S.to_bytes(48, "little"), "big")),
        (2**384 - 1, 2**384 - 1),
    ],
    ids=["swapped", "r=0", "s=0", "both 0", "r=n", "s=n", "s+1", "big endian", "all ones"],
)
def test_other_signatures_are_refused(r, s):
    """Swapped, zero, at the order, above it, in the other byte order."""
    code = refusal(with_signature(SIGNED_PART, r, s), vek=MILAN.vcek(), error=SignatureError)
    assert code == "REPORT_SIGNATURE"


def test_signature_of_another_key_is_refused():
    """A report signed by any other key of the right kind."""
    report = sign_report(SIGNED_PART, borrowed_names().keys.vek)
    assert refusal(report, vek=MILAN.vcek(), error=SignatureError) == "REPORT_SIGNATURE"


def test_chain_is_valid_at_the_given_time():
    """To the second, at both ends; the time is an argument of each call, so a kept VEK does not outlive its end."""
    verifier, vek, report = SnpVerifier(roots=MILAN.roots()), MILAN.vcek(), MILAN.report()
    second = timedelta(seconds=1)
    for at in (BEGIN, VEK_END):
        assert verifier.verify(report, vek=vek, at=at)
    with pytest.raises(ChainError) as early:
        verifier.verify(report, vek=vek, at=BEGIN - second)
    with pytest.raises(ChainError) as late:
        verifier.verify(report, vek=vek, at=VEK_END + second)
    assert (early.value.code, late.value.code) == ("CHAIN_NOT_YET_VALID", "CHAIN_EXPIRED")


@pytest.mark.parametrize("which", ["ark_fields", "ask_fields"])
def test_authorities_of_the_chain_are_valid_too(which):
    """A VEK does not outlive its issuer, nor the issuer's root."""
    from dataclasses import replace

    from twocvm_verifier.snp.roots import Hierarchy, verify_roots

    end = AT - timedelta(days=1)
    certificates = {"ark_fields": MILAN.ark(), "ask_fields": MILAN.ask()}
    certificates[which] = replace(getattr(MILAN, which)(), end=end).der()
    hierarchy = Hierarchy(
        product=Product.MILAN,
        ark=certificates["ark_fields"],
        intermediates={VekKind.VCEK: certificates["ask_fields"]},
    )
    roots = verify_roots((hierarchy,), revoked=frozenset())
    assert refusal(MILAN.report(), vek=MILAN.vcek(), roots=roots, error=ChainError) == "CHAIN_EXPIRED"
    assert SnpVerifier(roots=roots).verify(MILAN.report(), vek=MILAN.vcek(), at=end).valid_until == end


def test_a_time_without_a_zone_decides_nothing():
    """A naive time is the caller's mistake, not a verdict."""
    with pytest.raises(ValueError, match="zone"):
        SnpVerifier(roots=MILAN.roots()).verify(MILAN.report(), vek=MILAN.vcek(), at=AT.replace(tzinfo=None))


def test_examination_finds_everything_that_is_wrong():
    """All broken rules are listed, and those that could not be asked say what they build on."""
    verifier = SnpVerifier(roots=MILAN.roots())
    report = MILAN.report(chip_id=bytes(64), cpuid=b"\x19\x11\x01", flags=7 << 2)
    found = verifier.examine(report, vek=MILAN.vcek(), at=BEGIN - timedelta(days=1))
    broken = {outcome.code for outcome in found.outcomes if outcome.error}
    assert broken == {"REPORT_UNSIGNED", "PRODUCT_MISMATCH", "CHIP_ID_MISMATCH", "CHAIN_NOT_YET_VALID"}
    unasked = {outcome.id: outcome.not_asked for outcome in found.outcomes if outcome.not_asked}
    assert unasked == {
        "snp.report.signing_key": "builds on snp.report.signed",
        "snp.report.signature": "builds on snp.report.signed",
    }


def test_examination_asks_nothing_of_a_report_whose_key_is_unknown():
    """Where the VEK is not AMD's, nothing that rests on it is said to hold."""
    found = SnpVerifier(roots=GENOA.roots()).examine(MILAN.report(), vek=MILAN.vcek(), at=AT)
    assert [outcome.code for outcome in found.outcomes if outcome.error] == ["CHAIN_ISSUER_UNKNOWN"]
    assert all(outcome.not_asked for outcome in found.outcomes if outcome.id.startswith("snp.report"))


def test_examination_of_good_evidence_verifies_it():
    """Where no rule is broken, the examination holds the verified report."""
    found = SnpVerifier(roots=MILAN.roots()).examine(MILAN.report(), vek=MILAN.vcek(), at=AT)
    assert found.verified is not None
    assert found.refusal is None


def test_known_veks_are_kept_and_bounded():
    """A VEK is verified once, and the cache never grows beyond its bound."""
    verifier, vek = SnpVerifier(roots=MILAN.roots()), MILAN.vcek()
    first = verifier.verify(MILAN.report(), vek=vek, at=AT)
    assert verifier.verify(MILAN.report(), vek=vek, at=AT).vek is first.vek
    assert verifier._veks.maxsize == MAX_CACHED_VEKS
    assert len(verifier._veks) == 1


def test_verifier_may_be_shared_between_threads():
    """Many threads with many VEKs get the right answer each."""
    from concurrent.futures import ThreadPoolExecutor

    verifier = SnpVerifier(roots=MILAN.roots())
    veks = [MILAN.vcek() for _ in range(4)]
    good, bad = MILAN.report(), MILAN.report(chip_id=bytes(64))

    def judge(number: int) -> bool:
        try:
            verifier.verify(good if number % 2 else bad, vek=veks[number % 4], at=AT)
        except BindingError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(judge, range(64))) == [bool(number % 2) for number in range(64)]
