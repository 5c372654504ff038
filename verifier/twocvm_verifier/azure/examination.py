"""Every rule of a paravisor's evidence asked at once, after those of its report."""

from __future__ import annotations

from dataclasses import replace

from twocvm_verifier.snp.examination import Examination
from twocvm_verifier.snp.rules import examine, not_asked

from .verify import AZURE_RULES, Quoted, azure_case, verify_azure


def examine_azure(examination: Examination, quoted: Quoted) -> Examination:
    """Ask every rule that can be asked.

    Args:
        examination: Of the paravisor's report.
        quoted: What came beside it.
    """
    if examination.verified is None:
        rest = not_asked(AZURE_RULES, "the report is not authentic, so it can vouch for no vTPM")
        return replace(examination, outcomes=examination.outcomes + rest, paravisor=True)
    outcomes = examine(AZURE_RULES, azure_case(examination.verified, quoted))
    broken = any(outcome.error for outcome in outcomes)
    return replace(
        examination,
        verified=None if broken else verify_azure(examination.verified, quoted),
        outcomes=examination.outcomes + outcomes,
        paravisor=True,
    )
