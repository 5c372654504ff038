"""From checks to an appraisal: the levels are proved, asked for, and the whole is put together in one place."""

from __future__ import annotations

from datetime import datetime

from twocvm_verifier.advisories import Advisory, judge_advisories
from twocvm_verifier.clock import require_utc
from twocvm_verifier.policy.model import Policy
from twocvm_verifier.result import Appraisal, Check
from twocvm_verifier.snp.verify import VerifiedReport

from .authenticity import collateral_of, facts_of, platform_of
from .levels import check_levels, prove_levels
from .reference import check_reference_values


def conclude(
    verified: VerifiedReport,
    checks: tuple[Check, ...],
    *,
    policy: Policy,
    at: datetime,
    advisories: tuple[Advisory, ...],
    simulation_allowed: bool,
    for_release: bool,
) -> Appraisal:
    """Return the appraisal that `checks` come to.

    Args:
        verified: The report that was asked.
        checks: Every check but those of what only the policy demands and of the levels.
        policy: What the caller accepts; says which levels are required.
        at: The time of the judgement (aware, UTC).
        advisories: The attacks that are looked for.
        simulation_allowed: Whether a manifest accepts a simulated platform.
        for_release: Whether something may be released on the strength of it.
    """
    found = judge_advisories(verified, advisories)
    checks += check_reference_values(policy, verified, found)
    levels = prove_levels(checks, simulated=verified.roots_simulated, simulation_allowed=simulation_allowed)
    return Appraisal(
        platform=platform_of(simulated=verified.roots_simulated),
        checks=checks + check_levels(levels, policy.require_levels, for_release=for_release),
        levels=levels,
        advisories=found,
        facts=facts_of(verified.report, verified.vek.vek),
        collateral=collateral_of(verified),
        policy_sha256=policy.sha256,
        valid_until=verified.valid_until,
        judged_at=require_utc(at),
    )
