"""Collateral on this machine, for commands on guests: revocation lists, and VCEKs that a guest's host has not got.

A command uses the newest list it ever saw, whatever the guest's host hands over: the store's lists go into every
judgement beside the one that a guest brings, and the newest counts; one that a guest brings and that is newer stays in
the store, for the next command. No list is fetched here (`twocvm collateral fetch`). A VCEK is, once, where evidence
comes without one: from a mirror or from AMD, as for evidence at rest.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from twocvm_verifier.appraisal import JudgedReport, VekSource
    from twocvm_verifier.collateral import Store
    from twocvm_verifier.snp.report import Report
    from twocvm_verifier.snp.revocation import Crls
    from twocvm_verifier.snp.roots import Roots

# A handshake waits for it; what comes later is in the store for the next try.
_PATIENCE_SECONDS: Final = 8.0


def open_store(folder: Path | None, *, roots: Roots | None) -> Store:
    """Return the store of collateral in a folder, or the usual one of this user.

    Args:
        folder: Where it is; None for the usual one.
        roots: What its pieces are verified under; AMD's where None.
    """
    from twocvm_verifier.gathering import KDS_URL, Places, open_collateral
    from twocvm_verifier.snp.roots import amd_roots

    places = Places(store=folder, mirrors=(), kds=KDS_URL, offline=True)
    return open_collateral(places, roots=roots or amd_roots(), fetching=False).store


def held_crls(store: Store) -> Crls:
    """Return how a command asks about revocation: with every list of the store."""
    from twocvm_verifier.snp.revocation import CrlMode, Crls

    return Crls(mode=CrlMode.PREFER, held=store.crls())


def found_veks(folder: Path | None, *, roots: Roots | None, fetching: bool) -> VekSource:
    """Return how a command finds a VCEK that a guest's host has not got: in the store, at mirrors, at AMD.

    Args:
        folder: As `open_store`.
        roots: As `open_store`.
        fetching: Whether mirrors and AMD are asked at all.
    """

    def find(report: Report, at: datetime) -> bytes:
        from twocvm_verifier.gathering import KDS_URL, Places, open_collateral
        from twocvm_verifier.snp.roots import amd_roots

        mirrors, kds = os.environ.get("TWOCVM_MIRROR", "").split(), os.environ.get("TWOCVM_KDS", KDS_URL)
        places = Places(store=folder, mirrors=mirrors, kds=kds, offline=not fetching)
        collateral = open_collateral(
            places, roots=roots or amd_roots(), fetching=fetching, patience_seconds=_PATIENCE_SECONDS
        )
        return collateral.vek_of(report, at=at).der

    return find


def remember_crl(verified: JudgedReport, *, store: Store) -> None:
    """Keep the list that counted, where evidence brought it; a simulated platform's is kept nowhere.

    A verifier elsewhere looks after its own lists.

    Raises:
        FetchError: STORE_UNWRITABLE.
    """
    from twocvm_verifier.collateral.names import HARDWARE, CrlName
    from twocvm_verifier.snp.revocation import FoundCrl
    from twocvm_verifier.snp.verify import VerifiedReport

    if not isinstance(verified, VerifiedReport):
        return
    found, vek = verified.revocation, verified.vek.vek
    if isinstance(found, FoundCrl) and found.source == "evidence" and vek.product in HARDWARE:
        store.put_crl(CrlName(product=vek.product, kind=vek.kind), found.verified.crl.raw)
