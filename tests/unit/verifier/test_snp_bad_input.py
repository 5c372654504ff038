"""Bad evidence, field by field: every byte that a chip signs or a format reserves, with the code that names it."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from tests.support.amd import (
    AT,
    P384_ORDER,
    PSS_INNER,
    PSS_WITH_TRAILER,
    extension,
    fake_amd,
    pem,
    signature_of,
    with_signature,
)

from twocvm_verifier import SnpVerifier, simulated_roots
from twocvm_verifier.errors import MalformedError, TwoCvmError
from twocvm_verifier.snp.der import IA5_STRING, encode, encode_integer, encode_oid
from twocvm_verifier.snp.names import VekKind, issuer_name
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import REPORT_BYTES, SIGNED_BYTES, Report, parse_report
from twocvm_verifier.snp.roots import Hierarchy, verify_roots
from twocvm_verifier.snp.vek import parse_vek

MILAN, GENOA = fake_amd(Product.MILAN), fake_amd(Product.GENOA)
SIMULATED = fake_amd(Product.SIMULATED)
VEK = MILAN.vcek()
VERIFIER = SnpVerifier(roots=MILAN.roots())


def refusal(report: bytes, *, vek: bytes = VEK, chain: bytes | None = None, verifier: SnpVerifier = VERIFIER) -> str:
    """Return the code with which evidence is refused."""
    with pytest.raises(TwoCvmError) as caught:
        verifier.verify(report, vek=vek, at=AT, chain=chain)
    return caught.value.code


def flipped(raw: bytes, offset: int) -> bytes:
    """Return `raw` with the lowest bit of one byte changed."""
    return raw[:offset] + bytes([raw[offset] ^ 1]) + raw[offset + 1 :]


# SNP ABI 56860 r1.58, 7.3, table 23, written down a second time: where each field begins and ends, and what refuses a
# report in which one bit of it is another.
SIGNED_FIELDS = {
    "guest_svn": (0x004, 0x008, "REPORT_SIGNATURE"),
    "policy": (0x008, 0x00A, "REPORT_SIGNATURE"),
    "family_id": (0x010, 0x020, "REPORT_SIGNATURE"),
    "image_id": (0x020, 0x030, "REPORT_SIGNATURE"),
    "vmpl": (0x030, 0x031, "REPORT_SIGNATURE"),
    "signature_algo": (0x034, 0x038, "MALFORMED_REPORT"),
    "current_tcb": (0x038, 0x03A, "REPORT_SIGNATURE"),
    "platform_info": (0x040, 0x041, "REPORT_SIGNATURE"),
    "author_key_en": (0x048, 0x049, "REPORT_SIGNATURE"),
    "report_data": (0x050, 0x090, "REPORT_SIGNATURE"),
    "measurement": (0x090, 0x0C0, "REPORT_SIGNATURE"),
    "host_data": (0x0C0, 0x0E0, "REPORT_SIGNATURE"),
    "id_key_digest": (0x0E0, 0x110, "REPORT_SIGNATURE"),
    "author_key_digest": (0x110, 0x140, "REPORT_SIGNATURE"),
    "report_id": (0x140, 0x160, "REPORT_SIGNATURE"),
    "report_id_ma": (0x160, 0x180, "REPORT_SIGNATURE"),
    "reported_tcb": (0x180, 0x188, "VEK_TCB_MISMATCH"),
    "family": (0x188, 0x189, "PRODUCT_MISMATCH"),
    "model": (0x189, 0x18A, "REPORT_SIGNATURE"),
    "stepping": (0x18A, 0x18B, "REPORT_SIGNATURE"),
    "chip_id": (0x1A0, 0x1E0, "CHIP_ID_MISMATCH"),
    "committed_tcb": (0x1E0, 0x1E2, "REPORT_SIGNATURE"),
    "current_build": (0x1E8, 0x1E9, "REPORT_SIGNATURE"),
    "current_minor": (0x1E9, 0x1EA, "REPORT_SIGNATURE"),
    "current_major": (0x1EA, 0x1EB, "REPORT_SIGNATURE"),
    "committed_build": (0x1EC, 0x1ED, "REPORT_SIGNATURE"),
    "committed_minor": (0x1ED, 0x1EE, "REPORT_SIGNATURE"),
    "committed_major": (0x1EE, 0x1EF, "REPORT_SIGNATURE"),
    "launch_tcb": (0x1F0, 0x1F2, "REPORT_SIGNATURE"),
    "launch_mit_vector": (0x1F8, 0x200, "REPORT_SIGNATURE"),
    "current_mit_vector": (0x200, 0x208, "REPORT_SIGNATURE"),
    "signature_r": (0x2A0, 0x2D0, "REPORT_SIGNATURE"),
    "signature_s": (0x2E8, 0x318, "REPORT_SIGNATURE"),
}
# Two flags share the byte of `author_key_en`; the version is relabelled below.
BESIDE = {"raw", "version", "mask_chip_key", "signing_key"}


def test_the_table_has_every_field():
    """No field of a report is forgotten below."""
    assert set(SIGNED_FIELDS) | BESIDE == {field.name for field in fields(Report)}


@pytest.mark.parametrize("name", SIGNED_FIELDS)
def test_every_byte_of_every_field(name):
    """One bit of any byte of any field changed: refused, and with the code of what it breaks first."""
    begin, end, code = SIGNED_FIELDS[name]
    raw = MILAN.report(version=5)
    assert {refusal(flipped(raw, offset)) for offset in range(begin, end)} == {code}


@pytest.mark.parametrize(
    ("mask", "code"), [(0x02, "REPORT_SIGNATURE"), (0x04, "SIGNING_KEY_MISMATCH"), (0x1C, "REPORT_UNSIGNED")]
)
def test_flags_of_a_signed_report(mask, code):
    """A masked chip key, another signing key, none: each flag is signed too."""
    raw = MILAN.report()
    assert refusal(raw[:0x48] + bytes([raw[0x48] ^ mask]) + raw[0x49:]) == code


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("label", range(8))
def test_relabelled_versions(version, label):
    """A report that says another version is malformed where the layout differs, and badly signed where it does not."""
    raw = MILAN.report(version=version, launch_mit_vector=int(version == 5), current_mit_vector=int(version == 5))
    relabelled = label.to_bytes(4, "little") + raw[4:]
    if label == version:
        assert VERIFIER.verify(relabelled, vek=VEK, at=AT).report.version == version
    elif label not in (2, 3, 4, 5) or label == 2 or (version == 5 and label < 5):
        assert refusal(relabelled) == "MALFORMED_REPORT"
    else:
        assert refusal(relabelled) == ("PRODUCT_MISMATCH" if version == 2 else "REPORT_SIGNATURE")


RESERVED = {
    2: (range(0x4C, 0x50), range(0x188, 0x1A0), (0x1EB, 0x1EF), range(0x1F8, SIGNED_BYTES)),
    3: (range(0x4C, 0x50), range(0x18B, 0x1A0), (0x1EB, 0x1EF), range(0x1F8, SIGNED_BYTES)),
    4: (range(0x4C, 0x50), range(0x18B, 0x1A0), (0x1EB, 0x1EF), range(0x1F8, SIGNED_BYTES)),
    5: (range(0x4C, 0x50), range(0x18B, 0x1A0), (0x1EB, 0x1EF), range(0x208, SIGNED_BYTES)),
}
SIGNATURE_PADDING = (range(0x2D0, 0x2E8), range(0x318, REPORT_BYTES))


@pytest.mark.parametrize("version", RESERVED)
def test_every_reserved_byte(version):
    """Each byte that a version reserves, and each that the signature does not need, is zero or refused."""
    raw = MILAN.report(version=version)
    for offset in (offset for run in (*RESERVED[version], *SIGNATURE_PADDING) for offset in run):
        for bit in (0x01, 0x80):
            changed = raw[:offset] + bytes([raw[offset] ^ bit]) + raw[offset + 1 :]
            with pytest.raises(MalformedError):
                parse_report(changed)


def test_scalars_above_the_order_in_the_wider_field():
    """R and S have 72 bytes in a report; a value of more than 48 is refused unread, congruent or not."""
    r, s = signature_of(MILAN.report())
    signed_part = MILAN.report_fields().signed_part()
    for wide in ((r + P384_ORDER * 2, s), (r, s + P384_ORDER * 2), (r + (P384_ORDER << 190), s)):
        assert refusal(with_signature(signed_part, *wide)) == "MALFORMED_REPORT"


def test_the_mirrored_signature_is_the_same_statement():
    """ECDSA takes n - s for s. AMD's format does not forbid it, and nothing here rests on a report's unsigned bytes."""
    r, s = signature_of(MILAN.report())
    mirrored = with_signature(MILAN.report_fields().signed_part(), r, P384_ORDER - s)
    verified = VERIFIER.verify(mirrored, vek=VEK, at=AT)
    assert verified.report.raw[:SIGNED_BYTES] == MILAN.report()[:SIGNED_BYTES]


def all_products() -> SnpVerifier:
    """Return a verifier that accepts two products, as AMD's own roots are three."""
    return SnpVerifier(roots=verify_roots((MILAN.hierarchy(), GENOA.hierarchy()), revoked=frozenset()))


def test_another_products_intermediate():
    """Where several products are accepted, a VEK stays with its own: in its name, under its key, and in the chain."""
    verifier, milan_name = all_products(), extension("2", encode(IA5_STRING, b"Milan-B0"))
    under_genoa = GENOA.vcek(changed={"2": milan_name})
    assert refusal(MILAN.report(), vek=under_genoa, verifier=verifier) == "PRODUCT_MISMATCH"
    assert refusal(GENOA.report(), vek=under_genoa, verifier=verifier) == "PRODUCT_MISMATCH"
    assert refusal(MILAN.report(), chain=GENOA.chain(), verifier=verifier) == "CHAIN_INTERMEDIATE_UNKNOWN"
    renamed = GENOA.vcek(issuer=issuer_name(Product.GENOA, VekKind.VLEK), signer=GENOA.keys.asvk)
    assert refusal(GENOA.report(), vek=renamed, verifier=verifier) == "VEK_KIND_MISMATCH"
    assert refusal(GENOA.report(), vek=GENOA.vcek(), verifier=VERIFIER) == "CHAIN_ISSUER_UNKNOWN"


@pytest.mark.parametrize("which", ["ark_fields", "ask_fields"])
def test_authorities_that_are_not_valid_yet(which):
    """No VEK is older than its issuer, nor than the issuer's root."""
    begin = AT + timedelta(days=1)
    certificates = {"ark_fields": MILAN.ark(), "ask_fields": MILAN.ask()}
    certificates[which] = replace(getattr(MILAN, which)(), begin=begin).der()
    intermediates = {VekKind.VCEK: certificates["ask_fields"]}
    hierarchy = Hierarchy(product=Product.MILAN, ark=certificates["ark_fields"], intermediates=intermediates)
    verifier = SnpVerifier(roots=verify_roots((hierarchy,), revoked=frozenset()))
    assert refusal(MILAN.report(), verifier=verifier) == "CHAIN_NOT_YET_VALID"
    assert verifier.verify(MILAN.report(), vek=VEK, at=begin)


SHA_384, SHA_256 = (encode_oid(f"2.16.840.1.101.3.4.2.{arc}") for arc in (2, 1))
OTHER_PSS = {
    "MGF1 of another hash": PSS_INNER[: PSS_INNER.rindex(SHA_384)]
    + SHA_256
    + PSS_INNER[PSS_INNER.rindex(SHA_384) + len(SHA_384) :],
    "another hash": PSS_INNER.replace(SHA_384, SHA_256, 1),
    "salt of 47": PSS_INNER.replace(encode_integer(48), encode_integer(47)),
    "trailer field 2": PSS_WITH_TRAILER.replace(b"\xa3\x03\x02\x01\x01", b"\xa3\x03\x02\x01\x02"),
}


@pytest.mark.parametrize("algorithm", OTHER_PSS.values(), ids=OTHER_PSS)
def test_other_parameters_of_pss_in_a_vek(algorithm):
    """Each parameter of RSASSA-PSS is AMD's, whatever the signature was made with."""
    assert algorithm not in (PSS_INNER, PSS_WITH_TRAILER)
    assert refusal(MILAN.report(), vek=MILAN.vcek(algorithm=algorithm)) == "MALFORMED_VEK"


def test_the_library_lets_unused_bits_pass():
    """Why a VEK is read byte by byte: with 4 unused bits said of its signature, the library sees a certificate.

    The day it does not, this says so, and nothing else changes.
    """
    raw = next(raw for raw in iter(lambda: MILAN.vcek(unused_bits=4), None) if not raw[-1] & 0x0F)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert x509.load_der_x509_certificate(raw).serial_number == 0
    with pytest.raises(MalformedError):
        parse_vek(raw)


def refused_root(ask: bytes, ark: bytes) -> str:
    """Return the code with which a simulated platform's certificates are refused."""
    with pytest.raises(TwoCvmError) as caught:
        simulated_roots(pem(ask) + pem(ark))
    return caught.value.code


KEY_USAGE, CONSTRAINTS = encode_oid("2.5.29.15"), encode_oid("2.5.29.19")


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw + b"\x00",
        lambda raw: raw[:-1],
        lambda raw: raw.replace(KEY_USAGE, CONSTRAINTS),
        lambda raw: raw.ljust(4097, b"\x00"),
        lambda raw: raw.replace(b"\x03\x82\x02\x01\x00", b"\x03\x82\x02\x01\x09"),
    ],
    ids=["trailing byte", "cut", "duplicate extension", "oversize", "9 unused bits"],
)
def test_authorities_that_are_no_der(change):
    """Trailing bytes, duplicates and sizes are refused in roots and intermediates too."""
    assert refused_root(change(SIMULATED.ask()), SIMULATED.ark()) == "MALFORMED_CHAIN"
    assert refused_root(SIMULATED.ask(), change(SIMULATED.ark())) == "MALFORMED_CHAIN"


@pytest.mark.parametrize(("mask", "salt_bytes"), [(hashes.SHA256(), 48), (hashes.SHA384(), 47)], ids=["MGF1", "salt"])
def test_authorities_signed_with_other_parameters(mask, salt_bytes):
    """A signature made with another mask or salt than its certificate says does not verify."""
    pss = padding.PSS(padding.MGF1(mask), salt_bytes)
    for which in ("ask", "ark"):
        pair = {"ask": SIMULATED.ask(), "ark": SIMULATED.ark()}
        tbs = x509.load_der_x509_certificate(pair[which]).tbs_certificate_bytes
        pair[which] = pair[which][:-512] + SIMULATED.keys.ark.sign(tbs, pss, hashes.SHA384())
        assert refused_root(**pair) == "CHAIN_CERTIFICATE"
