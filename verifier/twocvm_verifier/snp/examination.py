"""Every rule of authenticity asked at once, for people who want to see all that is wrong with evidence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from twocvm_verifier.clock import require_utc
from twocvm_verifier.errors import TwoCvmError

from .chain import VEK_RULES, VekCase, verify_vek
from .report import Report
from .revocation import CrlStore
from .rules import Outcome, examine, not_asked
from .vek import Vek
from .verify import REPORT_RULES, ReportCase, VerifiedReport, verify_report


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """How every rule of authenticity ended.

    Attributes:
        report: As parsed; its claims mean nothing where `verified` is None.
        vek: As parsed; likewise.
        verified: The verified report, or None where a rule was broken.
        outcomes: How every rule ended, in order.
        paravisor: Whether a paravisor's vTPM is said to speak for the guest.
    """

    report: Report
    vek: Vek
    verified: VerifiedReport | None
    outcomes: tuple[Outcome, ...]
    paravisor: bool = False

    @property
    def refusal(self) -> TwoCvmError | None:
        """The first rule that was broken, or None where the evidence is authentic."""
        return next((outcome.error for outcome in self.outcomes if outcome.error is not None), None)


def examine_report(report: Report, *, case: VekCase, at: datetime, crls: CrlStore, crl: bytes | None) -> Examination:
    """Ask every rule that can be asked.

    Args:
        report: As parsed.
        case: The VEK, the trust anchors and the chain that came along.
        at: When the chain must be valid (aware, UTC).
        crls: The revocation lists at hand, and how revocation is asked about.
        crl: The list that came along, as DER.
    """
    of_vek = examine(VEK_RULES, case)
    if any(outcome.error for outcome in of_vek):
        rest = not_asked(REPORT_RULES, "the VEK is not verified, so it can say nothing about the report")
        return Examination(report=report, vek=case.vek, verified=None, outcomes=of_vek + rest)
    vek = verify_vek(case)
    revocation = crls.judge(vek.issuer, at=require_utc(at), brought=crl)
    asked = ReportCase(report=report, vek=vek, at=require_utc(at), revocation=revocation, known=None)
    of_report = examine(REPORT_RULES, asked)
    broken = any(outcome.error for outcome in of_report)
    verified = None if broken else verify_report(report, vek=vek, at=at, revocation=revocation, known=None)
    return Examination(report=report, vek=case.vek, verified=verified, outcomes=of_vek + of_report)
