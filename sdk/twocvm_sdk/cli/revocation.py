"""Revocation lists on this machine: a command uses the newest one it ever saw, whatever the guest's host hands over.

The store's lists go into every judgement beside the one that a guest brings, and the newest counts; one that a guest
brings and that is newer stays in the store, for the next command. Nothing is fetched here (`twocvm collateral fetch`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twocvm_verifier.appraisal import JudgedReport
    from twocvm_verifier.collateral import Store
    from twocvm_verifier.snp.revocation import Crls
    from twocvm_verifier.snp.roots import Roots


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
