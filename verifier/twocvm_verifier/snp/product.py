"""Which AMD product a report or a certificate speaks of.

Bergamo and Siena are Genoa here, as they are in AMD's certificates. A report of version 2 does not name its product,
so it is taken from the authenticated certificate, never from a default.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

# VCEK 57230 r0.51, 3.1: productName may carry a stepping, as in `Milan-B0`.
_PRODUCT_NAME: Final = re.compile(r"(Milan|Genoa|Turin)(?:-[A-Z][0-9])?|(Simulated)", re.ASCII)

_ZEN_3_AND_4: Final = 0x19
_ZEN_5: Final = 0x1A


class Product(StrEnum):
    """A family of chips that share an ARK and a TCB layout."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"
    SIMULATED = "Simulated"


def product_of_cpuid(family: int, model: int) -> Product | None:
    """Return the product with this CPUID family and model, or None where this version knows none.

    Args:
        family: The whole family, extended part included (0..255).
        model: The whole model, extended part included (0..255).
    """
    if family == _ZEN_3_AND_4 and model <= 0x0F:
        return Product.MILAN
    if family == _ZEN_3_AND_4 and (0x10 <= model <= 0x1F or 0xA0 <= model <= 0xAF):
        return Product.GENOA
    if family == _ZEN_5 and model <= 0x1F:
        return Product.TURIN
    # No chip has family 0; the simulated platform says so in every report.
    return Product.SIMULATED if family == 0 and model == 0 else None


def product_of_name(text: str) -> Product | None:
    """Return the product that a certificate's productName means, or None where it means none."""
    match = _PRODUCT_NAME.fullmatch(text)
    return Product(match[1] or match[2]) if match else None
