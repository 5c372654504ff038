"""An advisory as a value: which platforms it concerns, and what shows that one has closed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from twocvm_verifier.manifest.platform import BitDemand
from twocvm_verifier.snp.product import Product

# CPUID family, model and stepping. Microcode is numbered for each apart: a Milan-X has fewer than a Milan, and is not
# older for it.
Chip: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """One way in which a platform can show that it has closed an attack; every condition must hold.

    Attributes:
        product: Whose chips.
        chips: Which of them; empty where all.
        tcb: The least of each TCB component that is named.
        mitigations: Bits that both mitigation vectors must have.
        platform_info: Bits of PLATFORM_INFO.
        guest_policy: Bits of POLICY.
        unrecorded: Why meeting the conditions does not decide; empty where it does.
    """

    product: Product
    chips: tuple[Chip, ...]
    tcb: Mapping[str, int]
    mitigations: int
    platform_info: BitDemand
    guest_policy: BitDemand
    unrecorded: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "tcb", MappingProxyType(dict(self.tcb)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """One named attack. Each product stands in at most one of `fixes`, `unaffected` and `unattested`.

    Attributes:
        id: Stable name, such as `badram`.
        title: One line for people.
        bulletin: AMD's number, such as `AMD-SB-3015`; empty where AMD wrote none.
        cves: Its CVE numbers.
        source: Where it is described: an address or a publication.
        published: When that was (YYYY-MM-DD), or the month or year where no more is known.
        recorded: When its numbers were last compared here (YYYY-MM-DD).
        basis: Where the numbers are from, and what is known of their quality.
        fixes: What closes it; alternatives, of which one is enough.
        unaffected: Products that it does not concern, with the reason.
        unattested: Products for which no report can show that it is closed, with the reason.
    """

    id: str
    title: str
    bulletin: str
    cves: tuple[str, ...]
    source: str
    published: str
    recorded: str
    basis: str
    fixes: tuple[Fix, ...]
    unaffected: Mapping[str, str]
    unattested: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in ("unaffected", "unattested"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
