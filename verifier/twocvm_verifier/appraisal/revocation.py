"""Whether the list that says nothing was revoked is recent enough for what is about to happen.

`snp.revocation` has found the list, and has refused what any list revokes. Here the policy has its word: for a release
a list of at most `max_crl_age_seconds` is demanded, unless the policy says why none is. Evidence at rest is only warned
of.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from twocvm_verifier.clock import format_time, require_utc
from twocvm_verifier.result import Check, Level
from twocvm_verifier.snp.revocation import FoundCrl
from twocvm_verifier.snp.verify import REVOCATION, VerifiedReport
from twocvm_verifier.unchecked import Unchecked

from .build import judged, skipped, warned


def check_revocation(
    verified: VerifiedReport, max_crl_age_seconds: int | Unchecked, *, at: datetime, for_release: bool
) -> Check:
    """Return how revocation stands.

    Args:
        verified: The report.
        max_crl_age_seconds: The policy's word.
        at: The time of the judgement (aware, UTC).
        for_release: Whether something may be released on the strength of it.
    """
    found = verified.revocation
    if isinstance(found, FoundCrl):
        return _recent(found, max_crl_age_seconds, at=require_utc(at), for_release=for_release)
    if isinstance(found, Unchecked) and not for_release:
        return skipped(REVOCATION, "CRL_MISSING", Level.AL1, unchecked=found, actual="none")
    if isinstance(max_crl_age_seconds, Unchecked):
        return skipped(REVOCATION, "CRL_MISSING", Level.AL1, unchecked=max_crl_age_seconds, actual="none")
    if isinstance(found, Unchecked):
        asked = f"no CRL was asked for: {found.reason}"
        return _lacking(verified, "CRL_MISSING", asked, max_crl_age_seconds, for_release=True)
    return _lacking(verified, found.code, found.detail, max_crl_age_seconds, for_release=for_release)


def _recent(found: FoundCrl, limit: int | Unchecked, *, at: datetime, for_release: bool) -> Check:
    crl = found.verified.crl
    oldest = crl.this_update if isinstance(limit, Unchecked) else at - timedelta(seconds=limit)
    holds = max(oldest, crl.this_update) == crl.this_update <= at <= crl.next_update
    actual = f"number {crl.number}, of {format_time(crl.this_update)} until {format_time(crl.next_update)}"
    detail = "the newest CRL at hand is too old, or not yet valid"
    if not holds and not for_release:
        return warned(REVOCATION, "CRL_STALE", Level.AL1, detail=f"{detail}: {actual}")
    return judged(
        REVOCATION,
        "CRL_STALE",
        Level.AL1,
        holds=holds,
        expected="a CRL in force" if isinstance(limit, Unchecked) else _demanded(limit),
        actual=actual,
        detail=detail,
    )


def _lacking(verified: VerifiedReport, code: str, detail: str, limit: int, *, for_release: bool) -> Check:
    if not for_release:
        until = format_time(verified.valid_until)
        return warned(REVOCATION, code, Level.AL1, detail=f"{detail}, so a revoked certificate passes until {until}")
    return judged(
        REVOCATION,
        code,
        Level.AL1,
        holds=False,
        expected=_demanded(limit),
        actual="none",
        detail=detail,
    )


def _demanded(limit: int) -> str:
    return f"a CRL of at most {limit} seconds"
