"""What a verifier keeps for every chip that it has seen, and that it keeps no more than it says.

Memory is what the process holds, the library's keys included; Python's own share of it is shown beside it.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from tests.support.amd import AT, FakeAmd, fake_amd

from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.snp.product import Product
from twocvm_verifier.verifier import MAX_CACHED_VEKS, SnpVerifier

from .ratio import Ratio

REPORTS = 32
WARM_UP = 128
BEYOND = 512
MOST_KIB_EACH = 3.25
# Some pages move whatever one does.
MOST_KIB_BEYOND = 1024
KIB = 1024
PAGE_KIB = 4


def run() -> Iterator[Ratio]:
    amd = fake_amd(Product.GENOA)
    veks = [amd.vcek() for _ in range(MAX_CACHED_VEKS + BEYOND)]
    reports = [amd.report(report_data=number.to_bytes(64, "big")) for number in range(REPORTS)]
    verifier = SnpVerifier(roots=amd.roots())
    start = _see(verifier, reports, veks[:WARM_UP])
    full = _see(verifier, reports, veks[WARM_UP:MAX_CACHED_VEKS])
    beyond = _see(verifier, reports, veks[MAX_CACHED_VEKS:])
    yield Ratio(
        name="a cached VEK [KiB]",
        value=(full - start) / (MAX_CACHED_VEKS - WARM_UP),
        at_most=MOST_KIB_EACH,
        detail=f"of which Python {_traced_kib(amd, reports, veks[:BEYOND]):.2f}",
    )
    name = f"{BEYOND} VEKs more than the {MAX_CACHED_VEKS} that are kept [KiB]"
    yield Ratio(name=name, value=beyond - full, at_most=MOST_KIB_BEYOND)
    refused = sum(_refused(verifier, report, vek) for report, vek in zip(reports, veks, strict=False))
    yield Ratio(name="reports with a bit flipped that are refused", value=refused / REPORTS, at_least=1.0)


def _see(verifier: SnpVerifier, reports: list[bytes], veks: list[bytes]) -> int:
    for report, vek in zip(cycle(reports), veks, strict=False):
        verifier.verify(report, vek=vek, at=AT)
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KIB


def _traced_kib(amd: FakeAmd, reports: list[bytes], veks: list[bytes]) -> float:
    verifier = SnpVerifier(roots=amd.roots())
    tracemalloc.start()
    _see(verifier, reports, veks[:1])
    before = tracemalloc.get_traced_memory()[0]
    _see(verifier, reports, veks[1:])
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / (len(veks) - 1) / KIB


def _refused(verifier: SnpVerifier, report: bytes, vek: bytes) -> bool:
    changed = bytearray(report)
    changed[0x50] ^= 1
    try:
        verifier.verify(bytes(changed), vek=vek, at=AT)
    except TwoCvmError:
        return True
    return False
