"""The leaf certificate of a guest: where its evidence lies, and how strictly it is read.

A leaf is a self-signed X.509 v3 certificate of a P-256 key with one non-critical extension, id-pe-cmw, whose value is
a DER OCTET STRING with the CBOR collection of `evidence`. Names, serial number and validity mean nothing: freshness
comes from the nonce of the channel's evidence, and who the guest is from its report.

Spec: docs/spec/ratls.md, 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import SignatureAlgorithmOID

from twocvm_verifier import evidence as container
from twocvm_verifier.errors import BindingError, MalformedError, SignatureError
from twocvm_verifier.evidence import MAX_EXTENSION_BYTES, Evidence
from twocvm_verifier.framing import sha256

EVIDENCE_OID: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.35")
"""id-pe-cmw."""

MAX_CERTIFICATE_BYTES: Final = 32768
"""The extension, and ample room for a key, names and a signature."""

_DOCUMENT: Final = "ratls certificate"
_OCTET_STRING: Final = 0x04
# X.690, 8.1.3: lengths below this are one byte; above, this bit and the number of length bytes come first.
_LONG_FORM: Final = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class RatlsCertificate:
    """A leaf as parsed. Says nothing about whether its evidence holds.

    Attributes:
        spki_der: SubjectPublicKeyInfo, DER (91 bytes, P-256).
        spki_sha256: Its SHA-256 (32 bytes).
        evidence: The evidence as parsed.
    """

    spki_der: bytes
    spki_sha256: bytes
    evidence: Evidence


def evidence_extension(evidence: Evidence) -> x509.UnrecognizedExtension:
    """Return the extension that carries `evidence`; it goes into a certificate as not critical.

    Raises:
        ValueError: It is larger than `MAX_EXTENSION_BYTES`, or is evidence for a batch.
    """
    return x509.UnrecognizedExtension(EVIDENCE_OID, _octet_string(container.encode_cbor(evidence)))


def spki_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the SubjectPublicKeyInfo of `key` as DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def parse_certificate(der: bytes) -> RatlsCertificate:
    """Return what a guest's leaf certificate holds.

    Args:
        der: The certificate as it came in the handshake (at most `MAX_CERTIFICATE_BYTES`).

    Raises:
        BindingError: It has no evidence at all.
        SignatureError: It is not signed by its own key.
        MalformedError: Any other departure from `docs/spec/ratls.md`, 2.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise MalformedError(_DOCUMENT, "", f"got {len(der)} bytes, want at most {MAX_CERTIFICATE_BYTES}")
    try:
        certificate = x509.load_der_x509_certificate(der)
        value = _evidence_value(certificate.extensions)
        key = certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension) as error:
        raise MalformedError(_DOCUMENT, "", f"not a certificate: {type(error).__name__}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise MalformedError(_DOCUMENT, "key", "not a P-256 key")
    _require_self_signed(certificate, key)
    spki_der = spki_of(key)
    evidence = container.parse_cbor(_undo_octet_string(value))
    return RatlsCertificate(spki_der=spki_der, spki_sha256=sha256(spki_der), evidence=evidence)


def _evidence_value(extensions: x509.Extensions) -> bytes:
    # The library has refused a second copy of any extension by now.
    for extension in extensions:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise MalformedError(_DOCUMENT, "extensions", f"{extension.oid.dotted_string} is critical")
    for extension in extensions:
        if extension.oid == EVIDENCE_OID and isinstance(extension.value, x509.UnrecognizedExtension):
            return extension.value.value
    raise BindingError("NO_EVIDENCE", "certificate: it carries no evidence")


def _require_self_signed(certificate: x509.Certificate, key: ec.EllipticCurvePublicKey) -> None:
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise MalformedError(_DOCUMENT, "signature", "not ECDSA with SHA-256")
    try:
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise SignatureError("CERTIFICATE_SIGNATURE", "certificate: not signed by its own key") from error
    if certificate.issuer != certificate.subject:
        raise SignatureError("CERTIFICATE_SIGNATURE", "certificate: the issuer is not the subject")


def _octet_string(content: bytes) -> bytes:
    size = len(content)
    if size < _LONG_FORM:
        return bytes((_OCTET_STRING, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((_OCTET_STRING, _LONG_FORM | len(length))) + length + content


def _undo_octet_string(value: bytes) -> bytes:
    if len(value) > MAX_EXTENSION_BYTES:
        raise MalformedError(_DOCUMENT, "evidence", f"got {len(value)} bytes, want at most {MAX_EXTENSION_BYTES}")
    # There is one DER encoding of a content: whatever begins as another's header does not equal what we would write.
    for header_bytes in (2, 3, 4):
        if value == _octet_string(value[header_bytes:]):
            return value[header_bytes:]
    raise MalformedError(_DOCUMENT, "evidence", "not one DER OCTET STRING")
