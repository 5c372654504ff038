"""A guest that something may be released to, judged by policy, manifest and binding together.

Rules, in order; all are asked and all are listed:
1. Everything that evidence at rest is asked, by the policy.
2. The manifest's `platform`, which all participants signed, asked the same way.
3. A simulated platform needs the manifest's word beside the verifier's simulated roots.
4. A manifest that names ledgers is refused: this version cannot look into one.
5. All 64 bytes of REPORT_DATA are those that the caller rebuilt; HOST_DATA is zero or the manifest's hash.
6. A CRL is at hand that is recent enough, or the policy says why none is asked for.
7. The levels that the policy requires are proved.
"""

from __future__ import annotations

from datetime import datetime

from twocvm_verifier.advisories import shipped_advisories
from twocvm_verifier.manifest.platform import Platform
from twocvm_verifier.policy.model import Policy
from twocvm_verifier.result import Appraisal, Check, Level
from twocvm_verifier.snp.verify import VerifiedReport

from .agreement import check_agreement, check_host_data
from .authenticity import proved_checks
from .build import judged
from .conclusion import conclude
from .demands import demands_of_policy
from .fields import check_demands
from .revocation import check_revocation


def appraise_guest(
    verified: VerifiedReport,
    *,
    policy: Policy,
    platform: Platform,
    manifest_hash: bytes,
    report_data: bytes,
    at: datetime,
) -> Appraisal:
    """Judge an authentic report of a guest by policy, manifest and binding.

    Args:
        verified: From `SnpVerifier.verify`; nothing else is accepted.
        policy: What the caller accepts.
        platform: What the manifest accepts; both must be met.
        manifest_hash: Of the caller's own manifest (32 bytes).
        report_data: The 64 bytes that the caller rebuilt from what it knows itself.
        at: The time of the judgement (aware, UTC); the chain must be valid then too.

    Returns:
        The appraisal; it has no truth value, so ask `.require()`.

    Raises:
        TypeError: `verified` is not a verified report.
        ValueError: An expected value has the wrong length; none is optional.
    """
    if not isinstance(verified, VerifiedReport):
        raise TypeError("only a verified report can be appraised")
    if len(report_data) != 64 or len(manifest_hash) != 32 or not any(manifest_hash):
        raise ValueError("want 64 bytes of report data and a manifest's hash of 32 bytes")
    checks = (
        *proved_checks(verified, at=at),
        check_revocation(verified, policy.max_crl_age_seconds, at=at, for_release=True),
        *check_demands(demands_of_policy(policy), verified),
        *check_agreement(platform, verified),
        check_report_data(verified.bound_data, report_data),
        check_host_data(verified.report, manifest_hash, required=policy.require_host_data),
    )
    return conclude(
        verified,
        checks,
        policy=policy,
        at=at,
        advisories=shipped_advisories(),
        platform=platform,
        for_release=True,
    )


def check_report_data(found: bytes, expected: bytes) -> Check:
    """Return whether what the guest had signed for it (64 bytes) is what the caller rebuilt."""
    return judged(
        "binding.report_data",
        "REPORT_DATA_MISMATCH",
        Level.AL4,
        holds=found == expected,
        expected=expected.hex(),
        actual=found.hex(),
        detail="the report is bound to another key, connection, manifest or log than this one",
    )
