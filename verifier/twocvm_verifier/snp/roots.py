"""Trust anchors: which intermediates may issue a VEK, each proved to hang from a root that its caller chose.

Evidence never adds one. There are two doors: `amd_roots`, whose bytes are pinned by digest, and `simulated_roots`,
for whoever means to accept a simulated platform and says so. Rules for each certificate, in order:
1. Its Name, and its issuer's, are AMD's for its place (or the simulated ones), compared whole.
2. RSA of 4096 bits with exponent 65537; RSASSA-PSS with SHA-384, MGF1 of SHA-384, 48 bytes of salt.
3. A certificate authority that may sign certificates; the intermediate with a path length of 0, and the root one that
   may sign revocation lists too.
4. The root signs itself and the intermediate.
5. The simulated mark stands on all simulated certificates and on no other.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import twocvm_certs
from twocvm_verifier.errors import ChainError, MalformedError

from . import names
from .names import VekKind
from .product import Product

PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
SHA384: Final = hashes.SHA384()

# Genuine ones have some 1680 bytes; PEM adds a third.
MAX_CA_BYTES: Final = 4096
MAX_CHAIN_BYTES: Final = 16384
_RSA_BITS: Final = 4096
_RSA_EXPONENT: Final = 65537
# What the library raises on bytes that are no certificate of a kind it knows.
_UNREADABLE: Final = (ValueError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension)
_MARK_OID: Final = x509.ObjectIdentifier(names.SIMULATED_MARK_OID)
_CRITICAL_OIDS: Final = frozenset({x509.BasicConstraints.oid, x509.KeyUsage.oid, _MARK_OID})
_PEM: Final = re.compile(rb"\s*-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+?)\r?\n-----END CERTIFICATE-----\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """An intermediate that may issue VEKs, and the root above it; both verified.

    Attributes:
        product: Whose chips.
        kind: Which kind of VEK.
        name: DER of its Name, as a VEK's issuer has it.
        public_key: RSA-4096.
        serial_number: By which its root would revoke it.
        sha256: Of its DER (32 bytes).
        ark_public_key: Its root's key, RSA-4096, which also signs revocation lists.
        ark_sha256: Of its root's DER (32 bytes).
        not_before: When both have begun.
        not_after: Its own end of validity.
        ark_not_after: Its root's end of validity.
    """

    product: Product
    kind: VekKind
    name: bytes = field(repr=False)
    public_key: rsa.RSAPublicKey = field(repr=False)
    serial_number: int
    sha256: bytes
    ark_public_key: rsa.RSAPublicKey = field(repr=False)
    ark_sha256: bytes
    not_before: datetime
    not_after: datetime
    ark_not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """A set of trust anchors. Made only by this module's functions.

    Attributes:
        issuers: Every accepted intermediate, by the DER of its Name.
        simulated: Whether they are a simulated platform's; then nothing that hangs from them is secure.
        revoked: SHA-256 of intermediates that are known to be revoked.
    """

    issuers: Mapping[bytes, Issuer]
    simulated: bool
    revoked: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """One root and what hangs from it, as DER, not yet verified.

    Attributes:
        product: Whose.
        ark: The root.
        intermediates: ASK and ASVK, by the kind of VEK that they issue.
    """

    product: Product
    ark: bytes
    intermediates: Mapping[VekKind, bytes]


@cache
def amd_roots() -> Roots:
    """Return AMD's roots for Milan, Genoa (Bergamo and Siena too) and Turin.

    Raises:
        twocvm_certs.CorruptedError: This installation's certificates are not the pinned ones.
    """
    hierarchies = (
        Hierarchy(
            product=product,
            ark=twocvm_certs.load(f"ark-{product.lower()}"),
            intermediates={
                VekKind.VCEK: twocvm_certs.load(f"ask-{product.lower()}"),
                VekKind.VLEK: twocvm_certs.load(f"asvk-{product.lower()}"),
            },
        )
        for product in (Product.MILAN, Product.GENOA, Product.TURIN)
    )
    return verify_roots(hierarchies, revoked=frozenset(map(bytes.fromhex, twocvm_certs.REVOKED)))


def simulated_roots(pem: bytes) -> Roots:
    """Return the roots of one simulated platform, which promise nothing and are made new at every start.

    Args:
        pem: Two certificates: ASK, then ARK, as the platform writes them.

    Raises:
        MalformedError: Not two certificates in PEM.
        ChainError: They lack a simulated platform's names or mark, or do not verify.
    """
    ask, ark = parse_chain(pem)
    hierarchy = Hierarchy(product=Product.SIMULATED, ark=ark, intermediates={VekKind.VCEK: ask})
    return verify_roots((hierarchy,), revoked=frozenset())


def verify_roots(hierarchies: Iterable[Hierarchy], *, revoked: frozenset[bytes]) -> Roots:
    """Return the trust anchors that `hierarchies` make up.

    Args:
        hierarchies: Roots that the caller trusts, with their intermediates.
        revoked: SHA-256 of intermediates that are known to be revoked (32 bytes each).

    Raises:
        MalformedError: Something is not a certificate.
        ChainError: A certificate breaks a rule of the module.
        ValueError: None given, or simulated ones together with others.
    """
    found = [_verify_hierarchy(hierarchy) for hierarchy in hierarchies]
    issuers = {issuer.name: issuer for verified in found for issuer in verified}
    simulated = {issuer.product is Product.SIMULATED for issuer in issuers.values()}
    if len(simulated) != 1:
        raise ValueError("roots are AMD's or a simulated platform's, never none and never both")
    return Roots(issuers=MappingProxyType(issuers), simulated=simulated.pop(), revoked=revoked)


def parse_chain(pem: bytes) -> tuple[bytes, bytes]:
    """Return the DER of the two certificates in `pem`: ASK or ASVK, then ARK.

    Raises:
        MalformedError: Anything but two PEM certificates and white space, in at most 16384 bytes.
    """
    found = pem_certificates(pem)
    if len(found) != 2:
        raise MalformedError("chain", "pem", f"got {len(found)} certificates, want ASK or ASVK, and then ARK")
    return found[0], found[1]


def pem_certificates(pem: bytes) -> tuple[bytes, ...]:
    """Return the DER of every certificate in `pem`; what the DER is worth is not asked.

    Raises:
        MalformedError: Anything but PEM certificates and white space, in at most 16384 bytes.
    """
    if len(pem) > MAX_CHAIN_BYTES:
        raise MalformedError("chain", "length", f"got {len(pem)} bytes, want at most {MAX_CHAIN_BYTES}")
    found, at = [], 0
    while match := _PEM.match(pem, at):
        try:
            found.append(b64decode(re.sub(rb"[\r\n]", b"", match[1]), validate=True))
        except ValueError as error:
            raise MalformedError("chain", "pem", "not base64") from error
        at = match.end()
    if at != len(pem):
        raise MalformedError("chain", "pem", "want PEM certificates and nothing else")
    return tuple(found)


def _verify_hierarchy(hierarchy: Hierarchy) -> list[Issuer]:
    product = hierarchy.product
    root_name = names.ark_name(product)
    ark = _verify_authority(hierarchy.ark, name=root_name, issuer=root_name, path_length=None)
    _require_mark(ark, simulated=product is Product.SIMULATED)
    key = _rsa_key(ark)
    _verify_signature(ark, key)
    issuers = []
    for kind, der in hierarchy.intermediates.items():
        name = names.issuer_name(product, kind)
        certificate = _verify_authority(der, name=name, issuer=root_name, path_length=0)
        _require_mark(certificate, simulated=product is Product.SIMULATED)
        _verify_signature(certificate, key)
        issuers.append(
            Issuer(
                product=product,
                kind=kind,
                name=name,
                public_key=_rsa_key(certificate),
                serial_number=certificate.serial_number,
                sha256=hashlib.sha256(der).digest(),
                ark_public_key=key,
                ark_sha256=hashlib.sha256(hierarchy.ark).digest(),
                not_before=max(certificate.not_valid_before_utc, ark.not_valid_before_utc),
                not_after=certificate.not_valid_after_utc,
                ark_not_after=ark.not_valid_after_utc,
            )
        )
    return issuers


def _verify_authority(der: bytes, *, name: bytes, issuer: bytes, path_length: int | None) -> x509.Certificate:
    if len(der) > MAX_CA_BYTES:
        raise MalformedError("chain", "certificate", f"got {len(der)} bytes, want at most {MAX_CA_BYTES}")
    try:
        certificate = x509.load_der_x509_certificate(der)
        subject, found_issuer = certificate.subject.public_bytes(), certificate.issuer.public_bytes()
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    except _UNREADABLE as error:
        raise MalformedError("chain", "certificate", "not the certificate of an authority") from error
    if subject != name or found_issuer != issuer:
        raise ChainError("CHAIN_CERTIFICATE", "name: got another, want the one of an authority of AMD's")
    if not (constraints.critical and constraints.value.ca and constraints.value.path_length == path_length):
        raise ChainError("CHAIN_CERTIFICATE", f"basic constraints: want an authority of path length {path_length}")
    is_root = path_length is None
    if not (usage.critical and usage.value.key_cert_sign and usage.value.crl_sign >= is_root):
        raise ChainError("CHAIN_CERTIFICATE", "key usage: want one that signs certificates, and a root lists as well")
    if any(extension.critical and extension.oid not in _CRITICAL_OIDS for extension in certificate.extensions):
        raise ChainError("CHAIN_CERTIFICATE", "extensions: one is critical that this version does not know")
    return certificate


def _require_mark(certificate: x509.Certificate, *, simulated: bool) -> None:
    marks = [extension for extension in certificate.extensions if extension.oid == _MARK_OID]
    whole = [mark.critical and mark.value.public_bytes() == names.SIMULATED_MARK for mark in marks]
    if whole != ([True] if simulated else []):
        want = "the simulated mark" if simulated else "no simulated mark"
        raise ChainError("CHAIN_CERTIFICATE", f"extensions: want {want}")


def _rsa_key(certificate: x509.Certificate) -> rsa.RSAPublicKey:
    try:
        key = certificate.public_key()
    except _UNREADABLE as error:
        raise MalformedError("chain", "certificate", "not a key") from error
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != _RSA_BITS:
        raise ChainError("CHAIN_CERTIFICATE", f"key: want RSA of {_RSA_BITS} bits")
    if key.public_numbers().e != _RSA_EXPONENT:
        raise ChainError("CHAIN_CERTIFICATE", f"key: want the exponent {_RSA_EXPONENT}")
    return key


def _verify_signature(certificate: x509.Certificate, key: rsa.RSAPublicKey) -> None:
    try:
        parameters = certificate.signature_algorithm_parameters
        hash_algorithm = certificate.signature_hash_algorithm
    except _UNREADABLE as error:
        raise MalformedError("chain", "certificate", "not a signature algorithm") from error
    if not isinstance(parameters, padding.PSS) or not isinstance(hash_algorithm, hashes.SHA384):
        raise ChainError("CHAIN_CERTIFICATE", "signature: want RSASSA-PSS with SHA-384")
    # The verification fixes MGF1 and the salt by itself: a signature made with others does not verify under `PSS`.
    try:
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, PSS, SHA384)
    except InvalidSignature as error:
        raise ChainError("CHAIN_CERTIFICATE", "signature: does not verify under the root's key") from error
