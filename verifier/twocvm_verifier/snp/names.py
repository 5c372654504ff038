"""What AMD's certificates say about themselves, byte by byte: names, algorithms, extensions, and the simulated marks.

Names and algorithm identifiers are rebuilt and compared whole, never picked apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from .der import PRINTABLE_STRING, SEQUENCE, SET, UTF8_STRING, encode, encode_integer, encode_oid
from .product import Product


class VekKind(StrEnum):
    """Which of a chip's two keys signs: its own, or one that AMD gave its operator."""

    VCEK = "VCEK"
    VLEK = "VLEK"


# The arc of the extensions of a VEK: VCEK 57230 r0.51, 3.1, table 8.
AMD_ARC: Final = "1.3.6.1.4.1.3704.1"
OID_STRUCT_VERSION: Final = encode_oid(f"{AMD_ARC}.1")
OID_PRODUCT_NAME: Final = encode_oid(f"{AMD_ARC}.2")
OID_HWID: Final = encode_oid(f"{AMD_ARC}.4")
OID_CSP_ID: Final = encode_oid(f"{AMD_ARC}.5")


def _spl_offsets(arcs: Sequence[int]) -> Mapping[bytes, int]:
    return MappingProxyType({encode_oid(f"{AMD_ARC}.3.{arc}"): offset for offset, arc in enumerate(arcs)})


# The last arc of each security patch level's OID, in the order in which TCB_VERSION has their bytes.
_SPL_LEGACY: Final = _spl_offsets((1, 2, 4, 5, 6, 7, 3, 8))
_SPL_TURIN: Final = _spl_offsets((9, 1, 2, 3, 5, 6, 7, 8))

# docs/spec/simulated.md: what no certificate of AMD's has.
SIMULATED_MARK_OID: Final = "2.25.162484738496803347589541942800404766721"
SIMULATED_MARK_TEXT: Final = "INSECURE SIMULATED PLATFORM"
OID_SIMULATED_MARK: Final = encode_oid(SIMULATED_MARK_OID)
SIMULATED_MARK: Final = encode(UTF8_STRING, SIMULATED_MARK_TEXT.encode("ascii"))

_SHA384: Final = encode(SEQUENCE, encode_oid("2.16.840.1.101.3.4.2.2"), b"\x05\x00")
_MGF1_SHA384: Final = encode(SEQUENCE, encode_oid("1.2.840.113549.1.1.8"), _SHA384)
_SALT_48: Final = encode_integer(48)


def _pss(*trailer: bytes) -> bytes:
    parameters = (encode(0xA0, _SHA384), encode(0xA1, _MGF1_SHA384), encode(0xA2, _SALT_48), *trailer)
    return encode(SEQUENCE, encode_oid("1.2.840.113549.1.1.10"), encode(SEQUENCE, *parameters))


# RFC 4055, 3.1: RSASSA-PSS with SHA-384, MGF1 of SHA-384 and 48 bytes of salt. AMD writes the trailer field, whose
# value is the default, in some certificates and leaves it out in others; both are genuine, and nothing else is.
PSS_ALGORITHMS: Final = frozenset({_pss(), _pss(encode(0xA3, encode_integer(1)))})


def spl_offsets(product: Product) -> Mapping[bytes, int]:
    """Return the offset in TCB_VERSION of each security patch level that a VEK of `product` has, by its OID's DER."""
    return _SPL_TURIN if product is Product.TURIN else _SPL_LEGACY


def amd_name(common_name: str) -> bytes:
    """Return the DER Name that AMD gives to `common_name`; only that part differs between its certificates."""
    parts = (
        ("2.5.4.11", UTF8_STRING, "Engineering"),
        ("2.5.4.6", PRINTABLE_STRING, "US"),
        ("2.5.4.7", UTF8_STRING, "Santa Clara"),
        ("2.5.4.8", UTF8_STRING, "CA"),
        ("2.5.4.10", UTF8_STRING, "Advanced Micro Devices"),
        ("2.5.4.3", UTF8_STRING, common_name),
    )
    return encode(
        SEQUENCE,
        *(
            encode(SET, encode(SEQUENCE, encode_oid(oid), encode(tag, text.encode("ascii"))))
            for oid, tag, text in parts
        ),
    )


def ark_name(product: Product) -> bytes:
    """Return the Name of the product's root."""
    return amd_name("SIMULATED-ARK" if product is Product.SIMULATED else f"ARK-{product}")


def issuer_name(product: Product, kind: VekKind) -> bytes:
    """Return the Name of the intermediate that issues this kind of VEK for the product."""
    if product is Product.SIMULATED:
        return amd_name("SIMULATED-ASK")
    return amd_name(f"SEV-{product}" if kind is VekKind.VCEK else f"SEV-VLEK-{product}")


# Subject of a VEK: what kind it is, and whether it says that it is simulated.
VEK_SUBJECTS: Final = {
    amd_name("SEV-VCEK"): (VekKind.VCEK, False),
    amd_name("SEV-VLEK"): (VekKind.VLEK, False),
    amd_name("SIMULATED-VCEK"): (VekKind.VCEK, True),
}
