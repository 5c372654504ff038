"""What was proved before anything was appraised, as checks, facts and levels."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from twocvm_verifier.clock import format_time, require_utc
from twocvm_verifier.result import Check, CollateralUse, Level, Status
from twocvm_verifier.snp.chain import VEK_RULES
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.report import HOST_VMPL, Report
from twocvm_verifier.snp.revocation import FoundCrl
from twocvm_verifier.snp.rules import Outcome
from twocvm_verifier.snp.tcb import layout
from twocvm_verifier.snp.vek import Vek
from twocvm_verifier.snp.verify import REPORT_RULES, REVOCATION, TCB_FIELDS, VerifiedReport
from twocvm_verifier.strictjson import Json

from .build import judged, kept_check, warned
from .paravisor import PARAVISOR_PLATFORM, facts_of_paravisor, paravisor_checks

SIMULATED: Final = "snp.chain.simulated"

_HEX_FIELDS: Final = (
    "measurement",
    "report_data",
    "host_data",
    "chip_id",
    "report_id",
    "report_id_ma",
    "id_key_digest",
    "author_key_digest",
    "family_id",
    "image_id",
)
_BIT_FIELDS: Final = ("policy", "platform_info", "launch_mit_vector", "current_mit_vector")

_NOT_BEFORE: Final = "snp.chain.not_before"
_NOT_AFTER: Final = "snp.chain.not_after"
# What every verified report has passed, whenever it is appraised.
_PROVED: Final = tuple(
    kept_check(rule.id, rule.code)
    for rule in (*VEK_RULES, *REPORT_RULES)
    if rule.id not in (_NOT_BEFORE, _NOT_AFTER, REVOCATION)
)


def checks_of_outcomes(outcomes: tuple[Outcome, ...]) -> tuple[Check, ...]:
    """Return how each rule of authenticity ended, as checks."""
    return tuple(_check(outcome) for outcome in outcomes)


def proved_checks(verified: VerifiedReport, *, at: datetime) -> tuple[Check, ...]:
    """Return what a verified report has passed. The validity of its chain is asked again, at the time of judgement."""
    not_before, not_after = verified.vek.not_before, verified.vek.not_after
    judged_at, asked = require_utc(at), format_time(at)
    return (
        *_PROVED,
        *paravisor_checks(verified),
        judged(
            _NOT_BEFORE,
            "CHAIN_NOT_YET_VALID",
            Level.AL1,
            holds=judged_at >= not_before,
            expected=f"from {format_time(not_before)} on",
            actual=asked,
            detail="a certificate of the chain has not begun",
        ),
        judged(
            _NOT_AFTER,
            "CHAIN_EXPIRED",
            Level.AL1,
            holds=judged_at <= not_after,
            expected=f"until {format_time(not_after)}",
            actual=asked,
            detail="a certificate of the chain has ended",
        ),
    )


def simulation_checks(verified: VerifiedReport) -> tuple[Check, ...]:
    """Return the warning that evidence at rest gets where its platform is simulated."""
    if not verified.roots_simulated:
        return ()
    detail = "a simulated platform: nothing protects this guest"
    return (warned(SIMULATED, "SIMULATED_NOT_ACCEPTED", Level.AL1, detail=detail),)


def platform_of(*, simulated: bool, paravisor: bool) -> str:
    """Return the result's name of the platform."""
    if simulated:
        return "simulated"
    return PARAVISOR_PLATFORM if paravisor else "snp"


def facts_of_verified(verified: VerifiedReport) -> Mapping[str, Json]:
    """Return what a verified report says, and what a paravisor's vTPM says beside it."""
    return MappingProxyType({**facts_of(verified.report, verified.vek.vek), **facts_of_paravisor(verified)})


def facts_of(report: Report, vek: Vek) -> Mapping[str, Json]:
    """Return what the report says, for people and records; only a verified report's are true."""
    facts: dict[str, Json] = {
        "version": report.version,
        "product": str(vek.product),
        "signed_by": str(vek.kind),
        "csp_id": vek.csp_id,
        **{name: getattr(report, name).hex() for name in _HEX_FIELDS},
        **{name: f"{getattr(report, name):#x}" for name in _BIT_FIELDS},
        "guest_svn": report.guest_svn,
        "vmpl": "host" if report.vmpl == HOST_VMPL else report.vmpl,
        "current_version": f"{report.current_major}.{report.current_minor}.{report.current_build}",
        "committed_version": f"{report.committed_major}.{report.committed_minor}.{report.committed_build}",
    }
    for name in TCB_FIELDS:
        raw: bytes = getattr(report, name)
        components = {part: raw[offset] for part, offset in layout(vek.product).items()}
        facts[name] = {"raw": raw.hex(), **components}
    return MappingProxyType(facts)


def collateral_of(verified: VerifiedReport) -> tuple[CollateralUse, ...]:
    """Return the certificates that the verification rests on, and the revocation list."""
    vek, issuer = verified.vek.vek, verified.vek.issuer
    source = "simulated root" if verified.roots_simulated else "shipped"
    intermediate = "ask" if vek.kind is VekKind.VCEK else "asvk"
    return (
        CollateralUse(kind=vek.kind.lower(), sha256=vek.sha256, source="evidence", not_after=vek.not_after),
        CollateralUse(kind=intermediate, sha256=issuer.sha256, source=source, not_after=issuer.not_after),
        CollateralUse(kind="ark", sha256=issuer.ark_sha256, source=source, not_after=issuer.ark_not_after),
        *_crl_of(verified),
    )


def _crl_of(verified: VerifiedReport) -> tuple[CollateralUse, ...]:
    if not isinstance(verified.revocation, FoundCrl):
        return ()
    crl = verified.revocation.verified.crl
    return (CollateralUse(kind="crl", sha256=crl.sha256, source=verified.revocation.source, not_after=crl.next_update),)


def _check(outcome: Outcome) -> Check:
    if outcome.not_asked:
        status, detail = Status.SKIP, outcome.not_asked
    elif outcome.error is not None:
        status, detail = Status.FAIL, outcome.error.detail
    else:
        status, detail = Status.PASS, ""
    return Check(
        id=outcome.id, status=status, code=outcome.code, level=Level.AL1, expected="", actual="", detail=detail
    )
