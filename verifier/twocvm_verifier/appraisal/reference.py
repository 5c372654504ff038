"""What only a policy can demand: reference values that no manifest names, and advisories that must be closed.

Listed once, under the policy's name, beside the demands that policy and manifest have in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twocvm_verifier.policy.model import Policy
from twocvm_verifier.result import AdvisoryResult, AdvisoryStatus, Check, Level
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.report import Report
from twocvm_verifier.snp.verify import VerifiedReport
from twocvm_verifier.unchecked import Unchecked

from .build import judged, listed, skipped
from .demands import POLICY
from .pcrs import check_pcrs


def check_reference_values(
    policy: Policy, verified: VerifiedReport, advisories: tuple[AdvisoryResult, ...]
) -> tuple[Check, ...]:
    """Return every check that only the policy can ask for, in the order in which people read them."""
    report = verified.report
    return (
        _provider(policy, verified),
        _firmware(policy, verified),
        *_advisories(policy, advisories),
        listed(POLICY, "host_data", "HOST_DATA_MISMATCH", policy.host_data, report.host_data),
        listed(POLICY, "family_id", "ID_BLOCK_MISMATCH", policy.family_ids, report.family_id),
        listed(POLICY, "image_id", "ID_BLOCK_MISMATCH", policy.image_ids, report.image_id),
        *_guest_svn(policy, report),
        *check_pcrs(policy, verified),
        listed(POLICY, "report_id", "REPORT_ID_MISMATCH", policy.report_ids, report.report_id),
    )


def _provider(policy: Policy, verified: VerifiedReport) -> Check:
    identifier, vek = f"{POLICY}.csp_id", verified.vek.vek
    actual = vek.csp_id or "none"
    if isinstance(policy.csp_ids, Unchecked):
        return skipped(identifier, "CSP_NOT_ACCEPTED", Level.AL1, unchecked=policy.csp_ids, actual=actual)
    # A VCEK names none, and anybody with a chip can start the firmware that a provider publishes.
    of_none = vek.kind is VekKind.VCEK
    return judged(
        identifier,
        "CSP_NOT_ACCEPTED",
        Level.AL1,
        holds=vek.csp_id in policy.csp_ids,
        expected=", ".join(policy.csp_ids),
        actual=actual,
        detail="the key is a VCEK, of no provider" if of_none else "the VLEK is of a provider that is not accepted",
    )


def _firmware(policy: Policy, verified: VerifiedReport) -> Check:
    report, identifier = verified.report, f"{POLICY}.firmware.version"
    current, committed = _current(report), _committed(report)
    actual = f"runs {_dotted(current)}, committed {_dotted(committed)}"
    if isinstance(policy.minimum_firmware, Unchecked):
        return skipped(identifier, "FIRMWARE_OUT_OF_DATE", Level.AL2, unchecked=policy.minimum_firmware, actual=actual)
    least = policy.minimum_firmware.get(str(verified.product))
    wanted = None if least is None else (least.major, least.minor, least.build)
    return judged(
        identifier,
        "FIRMWARE_OUT_OF_DATE",
        Level.AL2,
        holds=wanted is not None and min(current, committed) >= wanted,
        expected="no version for this product" if least is None else f"at least {least}",
        actual=actual,
        detail="the firmware is older than the least version" if least else "no least version is named",
    )


def _guest_svn(policy: Policy, report: Report) -> Iterator[Check]:
    least, actual = policy.minimum_guest_svn, str(report.guest_svn)
    if isinstance(least, Unchecked):
        # It came later than the format of bundles: where nobody demands it, results are what they were.
        return
    yield judged(
        f"{POLICY}.guest_svn",
        "GUEST_SVN_TOO_LOW",
        Level.AL4,
        holds=report.guest_svn >= least,
        expected=f"at least {least}",
        actual=actual,
        detail="the guest is an older version than the least that is accepted",
    )


def _advisories(policy: Policy, advisories: tuple[AdvisoryResult, ...]) -> Iterator[Check]:
    if isinstance(policy.closed_advisories, Unchecked):
        left = ", ".join(each.id for each in advisories if each.status is not AdvisoryStatus.CLOSED) or "none"
        identifier = f"{POLICY}.advisories"
        yield skipped(
            identifier,
            "ADVISORY_NOT_CLOSED",
            Level.AL2,
            unchecked=policy.closed_advisories,
            actual=f"not shown to be closed: {left}",
        )
        return
    known: Mapping[str, AdvisoryResult] = {each.id: each for each in advisories}
    for name in policy.closed_advisories:
        found = known.get(name)
        yield judged(
            f"{POLICY}.advisories.{name}",
            "ADVISORY_NOT_CLOSED",
            Level.AL2,
            holds=found is not None and found.status is AdvisoryStatus.CLOSED,
            expected=str(AdvisoryStatus.CLOSED),
            actual=str(found.status) if found else "not judged",
            detail=found.detail if found else "no such advisory is judged on this platform",
        )


def _current(report: Report) -> tuple[int, int, int]:
    return report.current_major, report.current_minor, report.current_build


def _committed(report: Report) -> tuple[int, int, int]:
    return report.committed_major, report.committed_minor, report.committed_build


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))
