"""What all participants agreed on, asked of a report: their manifest's `platform`, and that it was in force."""

from __future__ import annotations

from typing import Final

from twocvm_verifier.manifest.platform import Platform
from twocvm_verifier.result import Check, Level
from twocvm_verifier.snp.report import Report
from twocvm_verifier.snp.verify import VerifiedReport
from twocvm_verifier.unchecked import Unchecked

from .build import judged, skipped
from .demands import MANIFEST, demands_of_platform
from .fields import check_demands

_ZERO_HOST_DATA: Final = bytes(32)
# docs/spec/claims.md, 3: the second half of REPORT_DATA is the hash of the manifest in force.
_MANIFEST_HALF: Final = slice(32, 64)


def check_agreement(platform: Platform, verified: VerifiedReport) -> tuple[Check, ...]:
    """Return the checks of the manifest's `platform`, a simulated one and its ledgers included."""
    return (
        *check_demands(demands_of_platform(platform), verified),
        _simulation(platform, verified),
        _ledgers(platform),
    )


def check_host_data(report: Report, manifest_hash: bytes, *, required: bool) -> Check:
    """Return whether the guest was launched for this manifest, or, unless that is required, for none."""
    accepted = (manifest_hash,) if required else (_ZERO_HOST_DATA, manifest_hash)
    return judged(
        "binding.host_data",
        "HOST_DATA_MISMATCH",
        Level.AL4,
        holds=report.host_data in accepted,
        expected=manifest_hash.hex() if required else f"zero, or {manifest_hash.hex()}",
        actual=report.host_data.hex(),
        detail="the guest was launched for another manifest" if any(report.host_data) else "it was launched for none",
    )


def check_manifest_hash(bound_data: bytes, manifest_hash: bytes) -> Check:
    """Return whether this manifest was in force; for who has no claims to rebuild the whole of REPORT_DATA from."""
    found = bound_data[_MANIFEST_HALF]
    return judged(
        "binding.manifest",
        "REPORT_DATA_MISMATCH",
        Level.AL4,
        holds=found == manifest_hash,
        expected=manifest_hash.hex(),
        actual=found.hex(),
        detail="another manifest was in force in the guest, or none",
    )


def _simulation(platform: Platform, verified: VerifiedReport) -> Check:
    return judged(
        f"{MANIFEST}.simulated",
        "SIMULATED_NOT_ACCEPTED",
        Level.AL1,
        holds=platform.simulated or not verified.roots_simulated,
        expected="simulated or real" if platform.simulated else "real",
        actual="simulated" if verified.roots_simulated else "real",
        detail="the manifest does not accept a simulated platform",
    )


def _ledgers(platform: Platform) -> Check:
    identifier, actual = f"{MANIFEST}.ledgers", "none consulted"
    if not platform.ledgers:
        reason = Unchecked("the manifest names no ledger")
        return skipped(identifier, "LEDGER_UNSUPPORTED", Level.AL4, unchecked=reason, actual=actual)
    return judged(
        identifier,
        "LEDGER_UNSUPPORTED",
        Level.AL4,
        holds=False,
        expected=", ".join(ledger.origin for ledger in platform.ledgers),
        actual=actual,
        detail="the manifest demands a ledger, and this version cannot look into one",
    )
