"""What a leaf certificate is read as; hostile ones are in `tests/attack/test_ratls_certificate.py`."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.attested_guest import Scene
from tests.support.hostile_guest import Forgery
from tests.support.manifests import AT

from twocvm_guest.tls import build_certificate
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.evidence import Evidence
from twocvm_verifier.ratls.certificate import (
    EVIDENCE_OID,
    MAX_CERTIFICATE_BYTES,
    evidence_extension,
    parse_certificate,
)
from twocvm_verifier.ratls.proof import judge_certificate, judge_channel


def test_what_the_guest_builds_is_read_back() -> None:
    """Key and evidence come out of a certificate as they went in."""
    forgery = Forgery(scene=Scene())
    evidence = forgery.certificate_evidence()
    leaf = parse_certificate(build_certificate(forgery.key, evidence))
    assert leaf.evidence == evidence
    assert (leaf.spki_der, leaf.spki_sha256) == (forgery.spki_der, forgery.spki_sha256)


def test_guest_certificate_has_one_extension_and_no_dates_to_judge() -> None:
    """The leaf carries the evidence and nothing else, and is valid from 1970 to 9999."""
    forgery = Forgery(scene=Scene())
    certificate = x509.load_der_x509_certificate(build_certificate(forgery.key, forgery.certificate_evidence()))
    assert [(extension.oid, extension.critical) for extension in certificate.extensions] == [(EVIDENCE_OID, False)]
    assert (certificate.not_valid_before_utc.year, certificate.not_valid_after_utc.year) == (1970, 9999)


def test_extensions_that_ask_nothing_may_stand_before_the_evidence() -> None:
    """An extension that is not critical is nothing to us, wherever it stands."""
    forgery = Forgery(scene=Scene())
    evidence = forgery.certificate_evidence()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "guest")])
    builder = (
        x509.CertificateBuilder(name, name, forgery.key.public_key(), 1, AT, AT)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("guest.test")]), critical=False)
        .add_extension(evidence_extension(evidence), critical=False)
    )
    assert parse_certificate(builder.sign(forgery.key, SHA256()).public_bytes(Encoding.DER)).evidence == evidence


@pytest.mark.parametrize("size", [1, 60, 61, 62, 63, 64, 100, 186, 187, 188, 189, 190, 5000, 16000])
def test_octet_string_of_any_length_has_its_one_header(size: int) -> None:
    """The DER header is right in the short form and in both long ones that fit."""
    evidence = Evidence(report=b"r" * size, claims=b"c", vek=b"v")
    value = evidence_extension(evidence).value
    length = value[1] if value[1] < 0x80 else int.from_bytes(value[2 : 2 + value[1] - 0x80], "big")
    assert value[0] == 0x04
    assert value.endswith(b"c")
    assert length == len(value) - (2 if value[1] < 0x80 else 2 + value[1] - 0x80)
    key = Forgery(scene=Scene()).key
    assert parse_certificate(build_certificate(key, evidence)).evidence == evidence


def test_evidence_too_large_for_a_certificate_is_not_put_in_one() -> None:
    """The guest finds out, not its peer."""
    with pytest.raises(ValueError, match="evidence"):
        evidence_extension(Evidence(report=b"r" * 16384, claims=b"c", vek=b"v"))


@pytest.mark.parametrize("raw", [b"", b"\x30\x00", b"not a certificate", bytes(MAX_CERTIFICATE_BYTES + 1)])
def test_what_is_no_certificate_is_malformed(raw: bytes) -> None:
    """Bytes that are no certificate are said to be malformed, whatever they are."""
    with pytest.raises(MalformedError) as refusal:
        parse_certificate(raw)
    assert refusal.value.code == "MALFORMED_RATLS_CERTIFICATE"


def test_nonce_of_another_length_is_wrong_use() -> None:
    """Who judges a channel has drawn 32 bytes; anything else is a mistake of this side."""
    scene = Scene()
    forgery = Forgery(scene=scene)
    expectation = scene.expectation()
    der = build_certificate(forgery.key, forgery.certificate_evidence())
    proof = judge_certificate(der, expectation=expectation, at=AT)
    with pytest.raises(ValueError, match="nonce"):
        judge_channel(b"{}", previous=proof, nonce=b"", exported=bytes(32), expectation=expectation, at=AT)
