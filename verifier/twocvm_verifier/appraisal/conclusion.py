"""From checks to an appraisal: the levels are proved, asked for, and the whole is put together in one place."""

from __future__ import annotations

from datetime import datetime

from twocvm_verifier.advisories import Advisory, judge_advisories
from twocvm_verifier.clock import require_utc
from twocvm_verifier.manifest.platform import Platform
from twocvm_verifier.policy.model import Policy
from twocvm_verifier.result import Appraisal, Check
from twocvm_verifier.snp.verify import VerifiedReport

from .authenticity import collateral_of, facts_of_verified, platform_of
from .demands import demands_of_platform, demands_of_policy
from .levels import check_levels, prove_levels
from .reference import check_reference_values


def conclude(
    verified: VerifiedReport,
    checks: tuple[Check, ...],
    *,
    policy: Policy,
    at: datetime,
    advisories: tuple[Advisory, ...],
    platform: Platform | None,
    for_release: bool,
) -> Appraisal:
    """Return the appraisal that `checks` come to.

    Args:
        verified: The report that was asked.
        checks: Every check but those of what only the policy demands and of the levels.
        policy: What the caller accepts; says which levels are required.
        at: The time of the judgement (aware, UTC).
        advisories: The attacks that are looked for.
        platform: What the manifest accepts, where one is known.
        for_release: Whether something may be released on the strength of it.
    """
    found = judge_advisories(verified, advisories)
    checks += check_reference_values(policy, verified, found)
    authors = (demands_of_policy(policy), *(() if platform is None else (demands_of_platform(platform),)))
    simulation_allowed = platform is not None and platform.simulated
    levels = prove_levels(verified, authors, simulation_allowed=simulation_allowed)
    return Appraisal(
        platform=platform_of(simulated=verified.roots_simulated, paravisor=verified.paravisor),
        checks=checks + check_levels(levels, policy.require_levels, for_release=for_release),
        levels=levels,
        advisories=found,
        facts=facts_of_verified(verified),
        collateral=collateral_of(verified),
        policy_sha256=policy.sha256,
        valid_until=verified.valid_until,
        judged_at=require_utc(at),
    )
