"""TCB_VERSION: eight bytes whose layout depends on the product.

Components are compared one by one, never as one number and never by set membership.

>>> str(parse_tcb(bytes.fromhex("04000000000018db"), product=Product.MILAN))
'bootloader 4, tee 0, snp 24, microcode 219'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from twocvm_verifier.errors import MalformedError

from .product import Product

TCB_BYTES: Final = 8

# SNP ABI 56860 r1.58, 2.2: byte offset of each component.
_LEGACY: Final[Mapping[str, int]] = MappingProxyType({"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7})
_TURIN: Final[Mapping[str, int]] = MappingProxyType({"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7})
COMPONENTS: Final = frozenset(_TURIN)


def _reserved(offsets: Mapping[str, int]) -> int:
    return sum(0xFF << 8 * offset for offset in range(TCB_BYTES) if offset not in offsets.values())


# Mask over the little-endian number; a mask because every report is asked four times.
_RESERVED: Final = {product: _reserved(_TURIN if product is Product.TURIN else _LEGACY) for product in Product}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tcb:
    """Security versions of the firmware that a chip runs; each 0..255.

    Attributes:
        fmc: First mutable code; 0 on products that have none.
        bootloader: Bootloader of the secure processor.
        tee: Its operating system.
        snp: The SNP firmware.
        microcode: The cores' microcode.
    """

    fmc: int
    bootloader: int
    tee: int
    snp: int
    microcode: int

    def below(self, minimum: Mapping[str, int]) -> tuple[str, ...]:
        """Return the components that are below `minimum`; those that it does not name are not compared."""
        return tuple(sorted(name for name, least in minimum.items() if getattr(self, name) < least))

    def __str__(self) -> str:
        named = {"fmc": self.fmc} if self.fmc else {}
        named |= {name: getattr(self, name) for name in _LEGACY}
        return ", ".join(f"{name} {value}" for name, value in named.items())


def layout(product: Product) -> Mapping[str, int]:
    """Return the byte offset of each component in the product's TCB_VERSION."""
    return _TURIN if product is Product.TURIN else _LEGACY


def parse_tcb(raw: bytes, *, product: Product, field: str = "tcb") -> Tcb:
    """Return the components of `raw`.

    Args:
        raw: Eight bytes.
        product: Whose layout they have.
        field: The report's field, for the error.

    Raises:
        MalformedError: A byte that the product's layout reserves is not zero.
    """
    require_tcb_layout(raw, product=product, field=field)
    return _components(raw, product)


def require_tcb_layout(raw: bytes, *, product: Product, field: str) -> None:
    """Refuse a TCB_VERSION in which the product's layout reserves a byte that is set; else as `parse_tcb`."""
    if int.from_bytes(raw, "little") & _RESERVED[product]:
        raise MalformedError("report", field, f"reserved bytes are not zero for {product}: {raw.hex()}")


# A judgement asks for a report's four TCBs some forty times, and a fleet has few.
@lru_cache(maxsize=64)
def _components(raw: bytes, product: Product) -> Tcb:
    return Tcb(**{"fmc": 0, **{name: raw[offset] for name, offset in layout(product).items()}})
