"""Parsing of VEK certificates: the exact DER, every field, every extension, and nothing else."""

from __future__ import annotations

import warnings
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.amd import (
    BEGIN,
    PSS_INNER,
    PSS_WITH_TRAILER,
    VEK_END,
    extension,
    fake_amd,
    mark_extension,
    raw_extension,
    spki,
    strange_keys,
    validity,
)
from tests.support.vek_agreement import assert_agreement

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.snp.der import (
    BIT_STRING,
    CONTEXT_0,
    GENERALIZED_TIME,
    IA5_STRING,
    OCTET_STRING,
    SEQUENCE,
    UTF8_STRING,
    encode,
    encode_integer,
    encode_oid,
)
from twocvm_verifier.snp.names import AMD_ARC, VekKind, amd_name
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.vek import MAX_VEK_BYTES, Vek, parse_vek

MILAN = fake_amd(Product.MILAN)
TURIN = fake_amd(Product.TURIN)
SIMULATED = fake_amd(Product.SIMULATED)


def read(raw: bytes) -> Vek:
    """Return what a certificate says, having seen that the library reads the same."""
    certificate = parse_vek(raw)
    assert_agreement(certificate, raw)
    return certificate.vek


def refusal(raw: bytes) -> str:
    """Return the field that `raw` is refused for."""
    with pytest.raises(MalformedError) as caught:
        parse_vek(raw)
    assert caught.value.code == "MALFORMED_VEK"
    return caught.value.field


@pytest.mark.parametrize("product", list(Product))
def test_vcek_is_read(product):
    """Every field of every product's VCEK is read, in its own TCB layout."""
    amd = fake_amd(product)
    vek = read(amd.vcek())
    assert (vek.kind, vek.product, vek.simulated) == (VekKind.VCEK, product, product is Product.SIMULATED)
    assert (vek.tcb, vek.hwid, vek.csp_id) == (amd.tcb, amd.chip_id, "")
    assert (vek.not_before, vek.not_after) == (BEGIN, VEK_END)
    assert spki(amd.keys.vek) == spki_of(vek.public_key)


def spki_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a public key's SPKI DER."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("product", [Product.MILAN, Product.GENOA, Product.TURIN])
def test_vlek_is_read(product):
    """A VLEK has an operator and no chip."""
    vek = read(fake_amd(product).vlek())
    assert (vek.kind, vek.hwid, vek.csp_id) == (VekKind.VLEK, b"", "CN=cc-example.test")


def test_both_of_amds_spellings_of_pss_are_read():
    """AMD writes the default trailer field in some certificates and leaves it out in others."""
    assert read(MILAN.vcek(algorithm=PSS_INNER)).tcb == read(MILAN.vcek(algorithm=PSS_WITH_TRAILER)).tcb


@pytest.mark.parametrize("first", [0x02, 0x04, 0x30, 0x00])
def test_hwid_is_raw_whatever_it_looks_like(first):
    """A HWID that begins like DER is still 64 raw bytes."""
    hwid = bytes([first, 62]) + bytes(range(62))
    assert read(MILAN.vcek(changed={"4": extension("4", hwid)})).hwid == hwid


@pytest.mark.parametrize("product", list(Product))
def test_own_reading_agrees_with_the_library_whatever_changes(product):
    """While the library still reads serial number 0: what we accept with any one byte changed, it reads the same."""
    raw = fake_amd(product).vcek()
    accepted = 0
    for offset in range(len(raw)):
        changed = raw[:offset] + bytes([raw[offset] ^ 1]) + raw[offset + 1 :]
        with suppress(MalformedError):
            read(changed)
            accepted += 1
    # At least the signature and the chip's id may hold anything.
    assert accepted > 512 + 8


def test_serial_number_zero_is_still_read_by_the_library():
    """The day the library refuses AMD's serial number, this says so; `vek` does not depend on it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert x509.load_der_x509_certificate(MILAN.vcek()).serial_number == 0
    assert any("serial number" in str(warning.message) for warning in said)


@pytest.mark.parametrize("unused", [1, 4, 7, 8, 255])
def test_unused_bits_in_the_signature_are_refused(unused):
    """The library lets some of these pass; the exact DER has none."""
    assert refusal(MILAN.vcek(unused_bits=unused)) == "signature"


def test_outer_algorithm_is_the_inner_one():
    """Nothing signs the outer algorithm, so it must equal the inner, even by another genuine spelling."""
    assert refusal(MILAN.vcek(outer_algorithm=PSS_WITH_TRAILER)) == "signature_algorithm"


@pytest.mark.parametrize(
    "algorithm",
    [
        encode(SEQUENCE, encode_oid("1.2.840.113549.1.1.12"), b"\x05\x00"),
        encode(SEQUENCE, encode_oid("1.2.840.113549.1.1.10"), encode(SEQUENCE)),
        PSS_INNER.replace(encode_integer(48), encode_integer(32)),
        PSS_INNER.replace(encode_oid("2.16.840.1.101.3.4.2.2"), encode_oid("2.16.840.1.101.3.4.2.1")),
    ],
    ids=["pkcs1", "default parameters", "other salt", "sha-256"],
)
def test_other_signature_algorithms_are_refused(algorithm):
    """RSASSA-PSS with SHA-384, MGF1 of SHA-384 and 48 bytes of salt, and nothing else."""
    assert refusal(MILAN.vcek(algorithm=algorithm)) == "signature_algorithm"


@pytest.mark.parametrize("trailing", [b"\x00", b"\x30\x00", bytes(100)])
def test_trailing_bytes_are_refused(trailing):
    """A certificate ends where it ends."""
    assert refusal(MILAN.vcek(trailing=trailing)) == "certificate"


def test_value_after_the_signature_is_refused():
    """Three parts make a certificate, not four."""
    raw = MILAN.vcek()
    assert refusal(encode(SEQUENCE, raw[4:], encode(OCTET_STRING))) == "certificate"


def test_short_signature_is_refused():
    """RSA-4096 signatures have 512 bytes."""
    raw = MILAN.vcek()
    body = raw[4 : -(4 + 513)]
    assert refusal(encode(SEQUENCE, body, encode(BIT_STRING, b"\x00", bytes(511)))) == "signature"


def test_oversize_certificates_are_refused_unread():
    """Nobody parses a megabyte for a kilobyte's worth."""
    assert refusal(bytes(MAX_VEK_BYTES + 1)) == "length"


@pytest.mark.parametrize("raw", [b"", b"0", b"not a certificate", b"-----BEGIN CERTIFICATE-----\n"])
def test_other_bytes_are_refused(raw):
    """Anything that is no DER is malformed, and nothing else."""
    assert refusal(raw) == "certificate"


def test_other_versions_are_refused():
    """Only X.509 version 3 has extensions."""
    assert refusal(MILAN.vcek(version=encode(CONTEXT_0, encode_integer(1)))) == "version"
    assert refusal(MILAN.vcek(version=encode(CONTEXT_0, encode_integer(2), encode_integer(2)))) == "version"


@pytest.mark.parametrize("serial", [1, 0x10000])
def test_other_serial_numbers_are_refused(serial):
    """Every VEK has serial number 0."""
    assert refusal(MILAN.vcek(serial=encode_integer(serial))) == "serial_number"


@pytest.mark.parametrize("name", ["VCEK", "SEV-VCEK ", "SEV-Milan", "SIMULATED-ASK"])
def test_other_subjects_are_refused(name):
    """The subject is compared whole."""
    assert refusal(MILAN.vcek(subject=amd_name(name))) == "subject"


def test_subject_of_another_organisation_is_refused():
    """The common name alone is no name."""
    subject = amd_name("SEV-VCEK").replace(b"Advanced Micro Devices", b"Advanced Macro Deviced")
    assert refusal(MILAN.vcek(subject=subject)) == "subject"


@pytest.mark.parametrize(
    "curve", [ec.SECP256R1(), ec.SECP521R1(), ec.BrainpoolP384R1()], ids=["P-256", "P-521", "brainpool"]
)
def test_other_curves_are_refused(curve):
    """A VEK's key is on P-384."""
    assert refusal(MILAN.vcek(spki=spki(ec.generate_private_key(curve)))) == "public_key"


def test_rsa_keys_are_refused():
    """A VEK's key is no RSA key."""
    assert refusal(MILAN.vcek(spki=spki(strange_keys().ark))) == "public_key"


def test_points_off_the_curve_are_refused():
    """A point that is on no curve is no key."""
    key = spki(MILAN.keys.vek)
    assert refusal(MILAN.vcek(spki=key[:-1] + bytes([key[-1] ^ 1]))) == "public_key"


def test_validity_holds_two_times():
    """A third value in the validity is refused, and so is a time that is none."""
    three = encode(SEQUENCE, validity(BEGIN, VEK_END)[2:], encode(OCTET_STRING))
    assert refusal(MILAN.vcek(validity=three)) == "validity"
    assert refusal(MILAN.vcek(validity=encode(SEQUENCE, encode(OCTET_STRING)))) == "not_before"


def test_late_times_are_generalized():
    """A certificate may end after 2049."""
    late = encode(SEQUENCE, validity(BEGIN, VEK_END)[2:17], encode(GENERALIZED_TIME, b"20600101000000Z"))
    assert read(MILAN.vcek(validity=late)).not_after == datetime(2060, 1, 1, tzinfo=UTC)


LEVELS = ["3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "3.8"]
TURIN_LEVELS = ["3.9", "3.1", "3.2", "3.3", "3.5", "3.6", "3.7", "3.8"]
ALL_LEVELS = [(MILAN, arc) for arc in LEVELS] + [(TURIN, arc) for arc in TURIN_LEVELS]


@pytest.mark.parametrize(("amd", "arc"), ALL_LEVELS, ids=[f"{amd.product}-{arc}" for amd, arc in ALL_LEVELS])
def test_every_security_patch_level_is_there_once_and_a_byte(amd, arc):
    """Missing, doubled, negative, padded, above 255, of another type: refused, for each level of each product."""
    right = amd.extensions()[arc]
    assert refusal(amd.vcek(changed={arc: None})) == "spl"
    assert refusal(amd.vcek(changed={"again": right})) == "extensions"
    for wrong in ("0201ff", "020200ff00", "02020100", "0202007f", "0200", "0401ff", "ff", ""):
        assert refusal(amd.vcek(changed={arc: extension(arc, bytes.fromhex(wrong))})) == "spl"


@pytest.mark.parametrize("value", [0, 1, 0x7F, 0x80, 0xDB, 0xFF])
def test_security_patch_levels_are_whole_integers(value):
    """A level is its INTEGER, never its last byte."""
    vek = read(MILAN.vcek(changed={"3.8": extension("3.8", encode_integer(value))}))
    assert vek.tcb[7] == value


def test_levels_of_another_product_are_refused():
    """Turin has no SPL 4, and the others have no FMC."""
    assert refusal(TURIN.vcek(changed={"3.4": extension("3.4", encode_integer(0))})) == "extensions"
    assert refusal(MILAN.vcek(changed={"3.9": extension("3.9", encode_integer(0))})) == "extensions"


@pytest.mark.parametrize(
    "unknown",
    [extension("3.10", encode_integer(0)), extension("6", b""), raw_extension("2.5.29.14", b"\x04\x00")],
    ids=["level", "arc", "subject key identifier"],
)
def test_unknown_extensions_are_refused(unknown):
    """A level that this version does not know would be one that it does not compare."""
    assert refusal(MILAN.vcek(changed={"unknown": unknown})) == "extensions"


def test_critical_extensions_are_refused():
    """None of AMD's is critical, whether known or not."""
    assert refusal(MILAN.vcek(changed={"3.1": extension("3.1", encode_integer(4), critical=True)})) == "extensions"
    assert refusal(MILAN.vcek(changed={"x": raw_extension("2.5.29.99", b"", critical=True)})) == "extensions"


@pytest.mark.parametrize("boolean", [b"\x01\x01\x00", b"\x01\x01\x01", b"\x01\x00", b"\x01\x02\xff\xff"])
def test_criticality_has_one_spelling(boolean):
    """DER leaves FALSE out, and TRUE is one byte of ones."""
    odd = encode(SEQUENCE, encode_oid(f"{AMD_ARC}.3.1"), boolean, encode(OCTET_STRING, encode_integer(4)))
    assert refusal(MILAN.vcek(changed={"3.1": odd})) == "extensions"


def test_extension_ends_where_its_value_ends():
    """Nothing follows an extension's value."""
    odd = encode(SEQUENCE, encode_oid(f"{AMD_ARC}.3.1"), encode(OCTET_STRING, encode_integer(4)), encode(OCTET_STRING))
    assert refusal(MILAN.vcek(changed={"3.1": odd})) == "extensions"


@pytest.mark.parametrize("value", [b"", bytes(63), bytes(65), bytes(8), encode(OCTET_STRING, bytes(64))])
def test_hwid_of_another_size_is_refused(value):
    """64 raw bytes, with no DER around them."""
    assert refusal(MILAN.vcek(changed={"4": extension("4", value)})) == "hwid"


@pytest.mark.parametrize("value", [bytes(64), bytes(7), bytes(9)])
def test_hwid_of_turin_has_8_bytes(value):
    """Turin's HWID is 8 bytes, and stands for the first 8 of CHIP_ID."""
    assert refusal(TURIN.vcek(changed={"4": extension("4", value)})) == "hwid"


def test_hwid_stands_once():
    """Missing or doubled, it names no chip."""
    assert refusal(MILAN.vcek(changed={"4": None})) == "hwid"
    assert refusal(MILAN.vcek(changed={"again": extension("4", bytes(64))})) == "extensions"


def test_chip_and_operator_exclude_each_other():
    """A VCEK has a HWID and no CSP_ID; a VLEK the reverse."""
    assert refusal(MILAN.vcek(changed={"5": extension("5", encode(IA5_STRING, b"x"))})) == "csp_id"
    assert refusal(MILAN.vlek(changed={"4": extension("4", bytes(64))})) == "hwid"
    assert refusal(MILAN.vlek(changed={"5": None})) == "csp_id"


@pytest.mark.parametrize(
    "value",
    [
        encode(IA5_STRING),
        encode(IA5_STRING, b"x" * 129),
        encode(IA5_STRING, b"\x1b[2J"),
        encode(IA5_STRING, b"\xff"),
        encode(UTF8_STRING, b"x"),
        encode(IA5_STRING, b"x") + b"\x00",
    ],
)
def test_operator_is_short_printable_text(value):
    """What people will read holds no control characters."""
    assert refusal(MILAN.vlek(changed={"5": extension("5", value)})) == "csp_id"


@pytest.mark.parametrize("name", [b"Rome", b"milan", b"", b"Milan-B0 ", b"\xff"])
def test_unknown_products_are_refused(name):
    """A product that is not known has no layout."""
    assert refusal(MILAN.vcek(changed={"2": extension("2", encode(IA5_STRING, name))})) == "product_name"


def test_product_is_named():
    """Missing, of another type or followed by more, it is refused."""
    assert refusal(MILAN.vcek(changed={"2": None})) == "product_name"
    assert refusal(MILAN.vcek(changed={"2": extension("2", encode(UTF8_STRING, b"Milan"))})) == "product_name"
    assert refusal(MILAN.vcek(changed={"2": extension("2", encode(IA5_STRING, b"Milan") + b"0")})) == "product_name"


@pytest.mark.parametrize(("amd", "wrong"), [(MILAN, 1), (TURIN, 0), (TURIN, 2)])
def test_structure_version_fits_the_product(amd, wrong):
    """0, but 1 on Turin."""
    assert refusal(amd.vcek(changed={"1": extension("1", encode_integer(wrong))})) == "struct_version"


def test_simulated_marks_agree():
    """Name, product and mark say together that it is simulated, or none of them does."""
    assert refusal(SIMULATED.vcek(changed={"mark": None})) == "extensions"
    assert refusal(SIMULATED.vcek(changed={"mark": mark_extension(critical=False)})) == "extensions"
    assert refusal(SIMULATED.vcek(changed={"mark": mark_extension(value=b"\x0c\x00")})) == "extensions"
    assert refusal(SIMULATED.vcek(subject=amd_name("SEV-VCEK"))) == "extensions"
    assert refusal(SIMULATED.vcek(changed={"2": extension("2", encode(IA5_STRING, b"Genoa"))})) == "extensions"
    assert refusal(MILAN.vcek(changed={"mark": mark_extension()})) == "extensions"
