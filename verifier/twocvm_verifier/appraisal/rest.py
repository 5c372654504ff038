"""Evidence at rest, judged by a policy, and by a manifest where one was kept with it.

Nobody is about to release anything on the strength of it, so a missing CRL is a warning, and levels are listed without
refusing, unless the policy says that they count at rest too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from twocvm_verifier.advisories import Advisory, shipped_advisories
from twocvm_verifier.clock import require_utc
from twocvm_verifier.manifest.model import Manifest
from twocvm_verifier.policy.model import Policy
from twocvm_verifier.result import Appraisal, Check, Level, LevelProof
from twocvm_verifier.snp.examination import Examination
from twocvm_verifier.snp.verify import VerifiedReport

from .agreement import check_agreement, check_host_data, check_manifest_hash
from .authenticity import checks_of_outcomes, facts_of, platform_of, proved_checks, simulation_checks
from .conclusion import conclude
from .demands import demands_of_policy
from .fields import check_demands
from .revocation import check_revocation


@dataclass(frozen=True, slots=True)
class Shipped:
    """Look for the attacks that this version knows of: the default."""


SHIPPED: Final = Shipped()


def appraise(verified: VerifiedReport, *, policy: Policy, at: datetime, manifest: Manifest | None = None) -> Appraisal:
    """Judge what an authentic report says by `policy`.

    Args:
        verified: From `SnpVerifier.verify`; nothing else is accepted.
        policy: What the caller accepts; `Policy.builtin()` names the default.
        at: The time of the judgement (aware, UTC); the chain must be valid then too.
        manifest: As `appraise_examination`.

    Returns:
        The appraisal; it has no truth value, so ask `.require()`.

    Raises:
        TypeError: `verified` is not a verified report.
    """
    return _appraise(verified, policy=policy, at=at, advisories=shipped_advisories(), manifest=manifest)


def appraise_examination(
    examination: Examination,
    *,
    policy: Policy,
    at: datetime,
    simulated: bool,
    advisories: tuple[Advisory, ...] | Shipped = SHIPPED,
    manifest: Manifest | None = None,
) -> Appraisal:
    """Judge evidence of which every rule of authenticity was asked, whether or not it is authentic.

    Args:
        examination: From `SnpVerifier.examine`.
        policy: As `appraise`.
        at: As `appraise`.
        simulated: Whether the trust anchors are a simulated platform's.
        advisories: The attacks that are looked for; those that ship with this version unless a record brings its own.
        manifest: The manifest that the guest should have been under, where one is known: its demands, HOST_DATA and
            its half of REPORT_DATA are then asked too. Without one none of that is in the result.

    Returns:
        As `appraise`; for evidence that is not authentic its rules alone, for then nothing in it can be judged.
    """
    if examination.verified is not None:
        table = shipped_advisories() if isinstance(advisories, Shipped) else advisories
        return _appraise(examination.verified, policy=policy, at=at, advisories=table, manifest=manifest)
    nothing = "the evidence is not authentic"
    judged_at = require_utc(at)
    return Appraisal(
        platform=platform_of(simulated=simulated, paravisor=examination.paravisor),
        checks=checks_of_outcomes(examination.outcomes),
        levels=tuple(LevelProof(level=level, proved_by="", detail=nothing) for level in Level),
        advisories=(),
        facts=facts_of(examination.report, examination.vek),
        collateral=(),
        policy_sha256=policy.sha256,
        valid_until=judged_at,
        judged_at=judged_at,
    )


def _appraise(
    verified: VerifiedReport,
    *,
    policy: Policy,
    at: datetime,
    advisories: tuple[Advisory, ...],
    manifest: Manifest | None,
) -> Appraisal:
    if not isinstance(verified, VerifiedReport):
        raise TypeError("only a verified report can be appraised")
    checks = (
        *proved_checks(verified, at=at),
        check_revocation(verified, policy.max_crl_age_seconds, at=at, for_release=False),
        *simulation_checks(verified),
        *check_demands(demands_of_policy(policy), verified),
        *_agreement(verified, policy, manifest),
    )
    return conclude(
        verified,
        checks,
        policy=policy,
        at=at,
        advisories=advisories,
        platform=None if manifest is None else manifest.platform,
        for_release=False,
    )


def _agreement(verified: VerifiedReport, policy: Policy, manifest: Manifest | None) -> tuple[Check, ...]:
    if manifest is None:
        return ()
    return (
        *check_agreement(manifest.platform, verified),
        check_manifest_hash(verified.bound_data, manifest.hash),
        check_host_data(verified.report, manifest.hash, required=policy.require_host_data),
    )
