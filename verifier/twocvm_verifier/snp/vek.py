"""A VEK certificate (VCEK or VLEK), read byte by byte.

A `VekCertificate` is what the bytes claim; `chain` says whether AMD signed them. Rules, in order:
1. At most 4096 bytes of DER, which are exactly SEQUENCE(tbs, algorithm, BIT STRING of 512 bytes without unused bits):
   nothing signs these three's wrapping, and libraries let unused bits and an outer algorithm of its own pass.
2. The inner algorithm is one of AMD's two spellings of RSASSA-PSS with SHA-384, and the outer one equals it.
3. Version 3, serial number 0, AMD's subject for a VCEK or VLEK, a P-384 key.
4. Exactly the extensions of its product, each once, none critical; HWID is raw bytes, whatever they look like.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from twocvm_verifier.errors import MalformedError

from . import der, names
from .names import VekKind
from .product import Product, product_of_name

# Genuine ones have some 1350 bytes.
MAX_VEK_BYTES: Final = 4096
_SIGNATURE_BYTES: Final = 512
_HWID_BYTES: Final = 64
_TURIN_HWID_BYTES: Final = 8
_MAX_CSP_ID_BYTES: Final = 128
_DER_TRUE: Final = b"\xff"
# What a byte is as an INTEGER; each has one spelling, so a patch level is compared whole and never read.
_BYTE_OF_INTEGER: Final = MappingProxyType({der.encode_integer(value): value for value in range(0x100)})
# VCEK 57230 r0.51, 3.1, table 8: structVersion.
_STRUCT_VERSION: Final = {Product.TURIN: 1}

# RFC 5480: id-ecPublicKey, secp384r1, and the uncompressed point that follows.
_P384_SPKI_PREFIX: Final = bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200" + "04")
_P384_POINT_BYTES: Final = 97
_P384_SPKI_BYTES: Final = len(_P384_SPKI_PREFIX) - 1 + _P384_POINT_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Vek:
    """What a VEK certificate says of its key; small, because verified ones are kept.

    Attributes:
        sha256: Of the whole DER (32 bytes).
        issuer: DER of the issuer's Name.
        kind: VCEK or VLEK, from the subject.
        simulated: Whether it says that it is simulated, by name, product and mark alike.
        product: From productName.
        not_before: Start of validity.
        not_after: End of validity.
        tcb: TCB_VERSION that the key was derived from (8 bytes, in the product's layout).
        hwid: The chip's id as CHIP_ID has it (64 bytes); empty on a VLEK.
        csp_id: The operator that a VLEK was given to; empty on a VCEK.
        public_key: The P-384 key.
    """

    sha256: bytes
    issuer: bytes = field(repr=False)
    kind: VekKind
    simulated: bool
    product: Product
    not_before: datetime
    not_after: datetime
    tcb: bytes
    hwid: bytes
    csp_id: str
    public_key: ec.EllipticCurvePublicKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VekCertificate:
    """A VEK certificate as it claims to be.

    Attributes:
        vek: What it says.
        tbs: The bytes that its issuer signs.
        signature: What is said to be the issuer's signature of them (512 bytes).
    """

    vek: Vek
    tbs: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse_vek(raw: bytes) -> VekCertificate:
    """Return what the certificate claims.

    Args:
        raw: DER, at most 4096 bytes.

    Raises:
        MalformedError: Anything that breaks a rule of the module.

    Spec: VCEK 57230 r0.51, 3.1; RFC 5280, 4.1.
    """
    raw = bytes(raw)
    if len(raw) > MAX_VEK_BYTES:
        raise MalformedError("vek", "length", f"got {len(raw)} bytes, want at most {MAX_VEK_BYTES}")
    tbs, algorithm, signature = der.parse_signed(
        raw, document="vek", field="certificate", signature_bytes=_SIGNATURE_BYTES
    )
    reader = der.DerReader(tbs, "vek").inside(der.SEQUENCE, "tbs")
    _parse_head(reader, algorithm)
    issuer = reader.whole(der.SEQUENCE, "issuer")
    validity = reader.inside(der.SEQUENCE, "validity")
    not_before, not_after = validity.time("not_before"), validity.time("not_after")
    validity.end("validity")
    kind, named_simulated = _parse_subject(reader)
    public_key = _parse_key(reader.whole(der.SEQUENCE, "public_key"))
    outer = reader.inside(der.CONTEXT_3, "extensions")
    reader.end("tbs")
    extensions = _parse_extensions(outer)
    product = _parse_product(extensions)
    _require_marks_agree(extensions, product, named_simulated=named_simulated)
    vek = Vek(
        sha256=hashlib.sha256(raw).digest(),
        issuer=issuer,
        kind=kind,
        simulated=named_simulated,
        product=product,
        not_before=not_before,
        not_after=not_after,
        tcb=_parse_tcb(extensions, product),
        hwid=_parse_hwid(extensions, product, kind),
        csp_id=_parse_csp_id(extensions, kind),
        public_key=public_key,
    )
    return VekCertificate(vek=vek, tbs=tbs, signature=signature)


def _parse_head(reader: der.DerReader, algorithm: bytes) -> None:
    version = reader.inside(der.CONTEXT_0, "version")
    if version.integer("version") != 2:
        raise MalformedError("vek", "version", "want X.509 version 3")
    version.end("version")
    if reader.integer("serial_number") != 0:
        raise MalformedError("vek", "serial_number", "want 0, as on every VEK")
    inner = reader.whole(der.SEQUENCE, "signature_algorithm")
    if inner not in names.PSS_ALGORITHMS:
        raise MalformedError("vek", "signature_algorithm", "want RSASSA-PSS with SHA-384, MGF1 of SHA-384, salt 48")
    if inner != algorithm:
        raise MalformedError("vek", "signature_algorithm", "the outer algorithm is not the inner one")


def _parse_subject(reader: der.DerReader) -> tuple[VekKind, bool]:
    found = names.VEK_SUBJECTS.get(reader.whole(der.SEQUENCE, "subject"))
    if found is None:
        raise MalformedError("vek", "subject", "want AMD's name of a VCEK or a VLEK")
    return found


def _parse_key(spki: bytes) -> ec.EllipticCurvePublicKey:
    if len(spki) != _P384_SPKI_BYTES or not spki.startswith(_P384_SPKI_PREFIX):
        raise MalformedError("vek", "public_key", "want an uncompressed point of P-384")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), spki[-_P384_POINT_BYTES:])
    except ValueError as error:
        raise MalformedError("vek", "public_key", "the point is not on P-384") from error


def _parse_extensions(outer: der.DerReader) -> Mapping[bytes, bytes]:
    listed = outer.inside(der.SEQUENCE, "extensions")
    outer.end("extensions")
    found: dict[bytes, bytes] = {}
    while not listed.exhausted:
        extension = listed.inside(der.SEQUENCE, "extensions")
        oid = extension.whole(der.OBJECT_IDENTIFIER, "extensions")
        critical = extension.peek() == der.BOOLEAN
        if critical and extension.value(der.BOOLEAN, "extensions") != _DER_TRUE:
            raise MalformedError("vek", "extensions", "a criticality is not written as DER has it")
        if critical != (oid == names.OID_SIMULATED_MARK):
            raise MalformedError("vek", "extensions", f"wrong criticality of {oid.hex()}")
        if oid in found:
            raise MalformedError("vek", "extensions", f"{oid.hex()} stands twice")
        found[oid] = extension.value(der.OCTET_STRING, "extensions")
        extension.end("extensions")
    return found


def _parse_product(extensions: Mapping[bytes, bytes]) -> Product:
    reader = _extension(extensions, names.OID_PRODUCT_NAME, "product_name")
    text = reader.value(der.IA5_STRING, "product_name")
    reader.end("product_name")
    product = product_of_name(text.decode("latin-1"))
    if product is None:
        raise MalformedError("vek", "product_name", f"unknown product {text!r}")
    version = _byte(extensions, names.OID_STRUCT_VERSION, "struct_version")
    if version != _STRUCT_VERSION.get(product, 0):
        raise MalformedError("vek", "struct_version", f"got {version} for {product}")
    return product


def _require_marks_agree(extensions: Mapping[bytes, bytes], product: Product, *, named_simulated: bool) -> None:
    marked = extensions.get(names.OID_SIMULATED_MARK) == names.SIMULATED_MARK
    if not marked == named_simulated == (product is Product.SIMULATED):
        raise MalformedError("vek", "extensions", "name, product and mark disagree on whether it is simulated")


def _parse_tcb(extensions: Mapping[bytes, bytes], product: Product) -> bytes:
    offsets = names.spl_offsets(product)
    known = {names.OID_STRUCT_VERSION, names.OID_PRODUCT_NAME, names.OID_HWID, names.OID_CSP_ID, *offsets}
    unknown = set(extensions) - known - {names.OID_SIMULATED_MARK}
    if unknown:
        # A security patch level that this version does not know would be one that it does not compare.
        raise MalformedError("vek", "extensions", f"unknown extension {min(unknown).hex()}")
    levels = bytearray(len(offsets))
    for oid, offset in offsets.items():
        levels[offset] = _byte(extensions, oid, "spl")
    return bytes(levels)


def _parse_hwid(extensions: Mapping[bytes, bytes], product: Product, kind: VekKind) -> bytes:
    hwid = extensions.get(names.OID_HWID)
    if kind is VekKind.VLEK:
        if hwid is not None:
            raise MalformedError("vek", "hwid", "a VLEK is of no single chip")
        return b""
    size = _TURIN_HWID_BYTES if product is Product.TURIN else _HWID_BYTES
    if hwid is None or len(hwid) != size:
        raise MalformedError("vek", "hwid", f"got {'none' if hwid is None else len(hwid)}, want {size} raw bytes")
    return hwid.ljust(_HWID_BYTES, b"\x00")


def _parse_csp_id(extensions: Mapping[bytes, bytes], kind: VekKind) -> str:
    if kind is VekKind.VCEK:
        if names.OID_CSP_ID in extensions:
            raise MalformedError("vek", "csp_id", "a VCEK is of no operator")
        return ""
    reader = _extension(extensions, names.OID_CSP_ID, "csp_id")
    text = reader.value(der.IA5_STRING, "csp_id")
    reader.end("csp_id")
    if not 1 <= len(text) <= _MAX_CSP_ID_BYTES or any(not 0x20 <= byte < 0x7F for byte in text):
        raise MalformedError("vek", "csp_id", f"want 1 to {_MAX_CSP_ID_BYTES} printable characters")
    return text.decode("ascii")


def _extension(extensions: Mapping[bytes, bytes], oid: bytes, field_name: str) -> der.DerReader:
    if oid not in extensions:
        raise MalformedError("vek", field_name, "missing")
    return der.DerReader(extensions[oid], "vek")


def _byte(extensions: Mapping[bytes, bytes], oid: bytes, field_name: str) -> int:
    value = _BYTE_OF_INTEGER.get(extensions.get(oid, b""))
    if value is None:
        raise MalformedError("vek", field_name, "missing, or not an INTEGER of 0 to 255")
    return value
