"""Collateral: what evidence is judged with beside the roots, found near by or fetched once.

Everything here is re-verified under the caller's roots when it is used, so no store, mirror or wire is trusted. Sources
in order: the evidence itself (its caller passes that on), the local store, mirrors, AMD's KDS.

    store = Store(folder, roots=amd_roots())
    kds = Source(name="kds", base_url=KDS_URL, fetcher=HttpFetcher(clock=clock), pace=Pace(...))
    collateral = Collateral(store=store, sources=(kds,), clock=clock, patience_seconds=60)
    vek = collateral.vcek_of(report, at=clock.now()).der

Verification itself never fetches; only `http` imports a network library, and needs the extra `sdk`.
"""

from __future__ import annotations

from .client import Collateral, Fetched
from .fetcher import Fetcher
from .names import CrlName, VcekName, vcek_names
from .pace import Pace
from .sources import KDS_URL, Source
from .store import Store

__all__ = [
    "KDS_URL",
    "Collateral",
    "CrlName",
    "Fetched",
    "Fetcher",
    "Pace",
    "Source",
    "Store",
    "VcekName",
    "vcek_names",
]
