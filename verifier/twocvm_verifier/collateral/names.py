"""What a piece of collateral is called, in AMD's KDS and in a store.

A VCEK is fixed by product, chip and TCB, the first mutable code of Turin included, so it may be kept for ever under
that name. Bergamo and Siena are served as Genoa. A VLEK has no name: only its host can hand it over.

>>> CrlName(product=Product.GENOA, kind=VekKind.VCEK).kds_path
'/vcek/v1/Genoa/crl'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twocvm_verifier.errors import MalformedError, NotFoundError
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product, product_of_cpuid
from twocvm_verifier.snp.report import SIGNED_BY_VCEK, Report
from twocvm_verifier.snp.tcb import layout, parse_tcb, require_tcb_layout

# VCEK 57230 r0.51, 4.1: what KDS calls the components of TCB_VERSION.
KDS_COMPONENTS: Final = {
    "fmc": "fmcSPL",
    "bootloader": "blSPL",
    "tee": "teeSPL",
    "snp": "snpSPL",
    "microcode": "ucodeSPL",
}
_TURIN_HWID_BYTES: Final = 8
# Reports of version 2 do not name their product; it came with Milan and Genoa, before Turin.
_PRODUCTS_OF_VERSION_2: Final = (Product.MILAN, Product.GENOA)
HARDWARE: Final = (Product.MILAN, Product.GENOA, Product.TURIN)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class VcekName:
    """Which VCEK.

    Attributes:
        product: Whose chip.
        chip_id: CHIP_ID as a report has it (64 bytes).
        tcb: TCB_VERSION that the key was derived from (8 bytes, in the product's layout).
    """

    product: Product
    chip_id: bytes
    tcb: bytes

    @property
    def hwid(self) -> str:
        """The chip's id as KDS has it: 128 hex digits, or 16 on Turin."""
        size = _TURIN_HWID_BYTES if self.product is Product.TURIN else len(self.chip_id)
        return self.chip_id[:size].hex()

    @property
    def kds_path(self) -> str:
        """Path and query at a KDS or a mirror of it."""
        tcb = parse_tcb(self.tcb, product=self.product)
        query = "&".join(f"{KDS_COMPONENTS[part]}={getattr(tcb, part):02}" for part in layout(self.product))
        return f"/vcek/v1/{self.product}/{self.hwid}?{query}"

    @property
    def file_name(self) -> str:
        """Path inside a store."""
        return f"vcek/{self.product}/{self.hwid}/{self.tcb.hex()}.der"

    def __str__(self) -> str:
        return f"VCEK of {self.product} chip {self.hwid[:16]}..., TCB {self.tcb.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CrlName:
    """Which revocation list: AMD serves one for the issuers of VCEKs, and one for those of VLEKs.

    Attributes:
        product: Whose root signs it.
        kind: Whose issuers it is served for.
    """

    product: Product
    kind: VekKind

    @property
    def kds_path(self) -> str:
        """Path at a KDS or a mirror of it."""
        return f"/{self.kind.lower()}/v1/{self.product}/crl"

    @property
    def file_name(self) -> str:
        """Path inside a store."""
        return f"crl/{self.product}-{self.kind.lower()}.crl"

    def __str__(self) -> str:
        return f"CRL of {self.product} for {self.kind}s"


def vcek_names(report: Report) -> tuple[VcekName, ...]:
    """Return which VCEKs may have signed `report`: one, or two where it does not say its product.

    Raises:
        NotFoundError: None that can be fetched: a VLEK signed it, or nobody did, its chip is masked, or its product or
            TCB is none that this version knows.
    """
    if report.signing_key != SIGNED_BY_VCEK:
        raise _cannot("is not signed by a VCEK; the host hands over a VLEK, in its certificate table")
    if not any(report.chip_id):
        raise _cannot("has a masked CHIP_ID, so that its VCEK cannot be asked for; the host has to hand it over")
    known = product_of_cpuid(report.family, report.model)
    products = _PRODUCTS_OF_VERSION_2 if report.version == 2 else HARDWARE
    names = tuple(
        VcekName(product=product, chip_id=report.chip_id, tcb=report.reported_tcb)
        for product in products
        if (report.version == 2 or product is known) and _is_layout_of(product, report)
    )
    if not names:
        raise _cannot("is of no product and TCB that AMD serves")
    return names


def _is_layout_of(product: Product, report: Report) -> bool:
    try:
        require_tcb_layout(report.reported_tcb, product=product, field="reported_tcb")
    except MalformedError:
        return False
    return product is not Product.TURIN or not any(report.chip_id[_TURIN_HWID_BYTES:])


def _cannot(why: str) -> NotFoundError:
    return NotFoundError("VEK_MISSING", f"report: {why}")
