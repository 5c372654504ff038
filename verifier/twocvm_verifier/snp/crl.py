"""A revocation list of AMD's: read byte by byte, and verified under the root that signed it.

An ARK lists the intermediates that it revoked, by serial number; VEKs all have the serial number 0 and are in no list.
A `Crl` is what the bytes claim, a `VerifiedCrl` is made only here. Rules, in order:
1. At most 16384 bytes of DER, which are exactly SEQUENCE(tbs, algorithm, BIT STRING of 512 bytes without unused bits);
   the algorithm is one of AMD's two spellings of RSASSA-PSS with SHA-384, inside and outside alike.
2. Version 2, with a nextUpdate after its thisUpdate; no serial number stands twice.
3. Extensions each stand once, the CRL number among them. One that is critical and unknown is refused, and so is one
   that makes the list something else than the whole list of its issuer: a delta, or a part.
4. Its issuer is the root of an accepted intermediate, and that root signed it.

Whether a list is recent enough, and the newest, is asked in `revocation`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature

from twocvm_verifier.errors import ChainError, MalformedError, SignatureError

from . import der, names
from .product import Product
from .roots import PSS, SHA384, Issuer, Roots

# Genuine ones have some 900 bytes: AMD has revoked one intermediate so far.
MAX_CRL_BYTES: Final = 16_384
# RFC 5280, 5.2.3: a CRL number has at most 20 bytes.
_MAX_NUMBER: Final = (1 << 160) - 1
_SIGNATURE_BYTES: Final = 512
_DER_TRUE: Final = b"\xff"
_VERSION_2: Final = 1

_OID_AUTHORITY_KEY: Final = der.encode_oid("2.5.29.35")
_OID_NUMBER: Final = der.encode_oid("2.5.29.20")
# RFC 5280, 5.2.4 and 5.2.5: the delta CRL indicator and the issuing distribution point.
_OIDS_OF_A_PART: Final = frozenset({der.encode_oid("2.5.29.27"), der.encode_oid("2.5.29.28")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Crl:
    """A revocation list as it claims to be.

    Attributes:
        raw: The whole DER.
        tbs: What the issuer signs.
        signature: The issuer's signature (512 bytes).
        issuer: DER of the issuer's Name.
        number: The CRL number; a newer list of the same issuer has a greater one.
        this_update: When it was issued.
        next_update: Until when the issuer stands by it.
        revoked: Serial numbers of the certificates that it revokes.
    """

    raw: bytes = field(repr=False)
    tbs: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    issuer: bytes = field(repr=False)
    number: int
    this_update: datetime
    next_update: datetime
    revoked: frozenset[int]

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the whole DER (32 bytes)."""
        return hashlib.sha256(self.raw).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedCrl:
    """A revocation list that an accepted root signed. Made only by `verify_crl`.

    Attributes:
        crl: The list.
        product: Whose root signed it.
        ark_sha256: That root's digest (32 bytes).
    """

    crl: Crl
    product: Product
    ark_sha256: bytes


def parse_crl(raw: bytes) -> Crl:
    """Return what the list claims.

    Args:
        raw: DER, at most 16384 bytes.

    Raises:
        MalformedError: Anything that breaks one of the first three rules of the module.

    Spec: RFC 5280, 5.1 and 5.2.
    """
    if len(raw) > MAX_CRL_BYTES:
        raise _malformed("length", f"got {len(raw)} bytes, want at most {MAX_CRL_BYTES}")
    tbs, algorithm, signature = der.parse_signed(raw, document="crl", field="crl", signature_bytes=_SIGNATURE_BYTES)
    reader = der.DerReader(tbs, "crl").inside(der.SEQUENCE, "tbs")
    if reader.integer("version") != _VERSION_2:
        raise _malformed("version", "want version 2")
    inner = reader.whole(der.SEQUENCE, "signature_algorithm")
    if inner not in names.PSS_ALGORITHMS or inner != algorithm:
        raise _malformed("signature_algorithm", "want RSASSA-PSS with SHA-384, MGF1 of SHA-384, salt 48, twice")
    issuer = reader.whole(der.SEQUENCE, "issuer")
    this_update, next_update = reader.time("this_update"), reader.time("next_update")
    if next_update <= this_update:
        raise _malformed("next_update", "is not after this_update")
    revoked = _parse_revoked(reader)
    number = _parse_number(reader)
    return Crl(
        raw=raw,
        tbs=tbs,
        signature=signature,
        issuer=issuer,
        number=number,
        this_update=this_update,
        next_update=next_update,
        revoked=revoked,
    )


def verify_crl(crl: Crl, *, roots: Roots) -> VerifiedCrl:
    """Verify that an accepted root signed `crl`. Says nothing about whether it is recent, or the newest.

    Raises:
        ChainError: No accepted root has its issuer's Name.
        SignatureError: The root of that Name did not sign it.

    Spec: RFC 5280, 6.3.3; RFC 8017, 8.1.
    """
    issuer = _issuer_below(crl.issuer, roots)
    try:
        issuer.ark_public_key.verify(crl.signature, crl.tbs, PSS, SHA384)
    except InvalidSignature as error:
        raise SignatureError("CRL_SIGNATURE", f"crl: not signed by the root of {issuer.product}") from error
    return VerifiedCrl(crl=crl, product=issuer.product, ark_sha256=issuer.ark_sha256)


def _issuer_below(name: bytes, roots: Roots) -> Issuer:
    for issuer in roots.issuers.values():
        if names.ark_name(issuer.product) == name:
            return issuer
    raise ChainError("CRL_ISSUER_UNKNOWN", "crl.issuer: got a name that no accepted root has")


def _parse_revoked(reader: der.DerReader) -> frozenset[int]:
    if reader.peek() != der.SEQUENCE:
        return frozenset()
    entries = reader.inside(der.SEQUENCE, "revoked")
    found: set[int] = set()
    while not found or not entries.exhausted:
        # RFC 5280, 5.1.2.6: a list without entries has no such field, so there is at least one here.
        entry = entries.inside(der.SEQUENCE, "revoked")
        serial = entry.integer("revoked")
        if serial in found:
            raise _malformed("revoked", f"the serial number {serial:#x} stands twice")
        found.add(serial)
        entry.time("revoked")
        if not entry.exhausted:
            _parse_extensions(entry.inside(der.SEQUENCE, "revoked"), known=frozenset())
        entry.end("revoked")
    return frozenset(found)


def _parse_number(reader: der.DerReader) -> int:
    outer = reader.inside(der.CONTEXT_0, "extensions")
    reader.end("tbs")
    found = _parse_extensions(
        outer.inside(der.SEQUENCE, "extensions"), known=frozenset({_OID_AUTHORITY_KEY, _OID_NUMBER})
    )
    outer.end("extensions")
    if _OID_NUMBER not in found:
        raise _malformed("number", "missing")
    value = der.DerReader(found[_OID_NUMBER], "crl")
    number = value.integer("number")
    value.end("number")
    if number > _MAX_NUMBER:
        raise _malformed("number", "want at most 20 bytes")
    return number


def _parse_extensions(listed: der.DerReader, *, known: frozenset[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    while not found or not listed.exhausted:
        extension = listed.inside(der.SEQUENCE, "extensions")
        oid = extension.whole(der.OBJECT_IDENTIFIER, "extensions")
        critical = extension.peek() == der.BOOLEAN
        if critical and extension.value(der.BOOLEAN, "extensions") != _DER_TRUE:
            raise _malformed("extensions", "a criticality is not written as DER has it")
        if oid in _OIDS_OF_A_PART:
            raise _malformed("extensions", "the list is a delta or a part, want the whole of its issuer's")
        if critical and oid not in known:
            raise _malformed("extensions", f"{oid.hex()} is critical and unknown")
        if oid in found:
            raise _malformed("extensions", f"{oid.hex()} stands twice")
        found[oid] = extension.value(der.OCTET_STRING, "extensions")
        extension.end("extensions")
    return found


def _malformed(field_name: str, detail: str) -> MalformedError:
    return MalformedError("crl", field_name, detail)
