"""A guest's evidence as a question to a verifier, and what answers it.

Whoever asks has rebuilt the 64 bytes of REPORT_DATA itself, whatever verifier it then asks: one on this machine
(`SnpVerifier`), or one elsewhere whose word it takes (`delegated`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol, TypeAlias

from twocvm_verifier.errors import NotFoundError
from twocvm_verifier.evidence import Evidence
from twocvm_verifier.manifest.model import Manifest
from twocvm_verifier.policy.model import Policy
from twocvm_verifier.result import Appraisal
from twocvm_verifier.snp.report import Report, parse_report
from twocvm_verifier.snp.verify import VerifiedReport
from twocvm_verifier.unchecked import Unchecked

REPORT_DATA_BYTES: Final = 64

VekSource: TypeAlias = Callable[[Report, datetime], bytes]
"""Finds the DER of the VEK that should verify a report, in force at a time, or raises a `CollateralError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Whether this evidence is of a guest as expected.

    Attributes:
        evidence: As it came; its claims were compared with those that the asker rebuilt.
        report_data: What the rebuilt claims make of REPORT_DATA (64 bytes).
        manifest: The asker's own copy.
        policy: What the asker accepts.

    Raises:
        ValueError: `report_data` has another length.
    """

    evidence: Evidence
    report_data: bytes
    manifest: Manifest
    policy: Policy

    def __post_init__(self) -> None:
        if len(self.report_data) != REPORT_DATA_BYTES:
            raise ValueError(f"report_data: got {len(self.report_data)} bytes, want {REPORT_DATA_BYTES}")

    @property
    def vek(self) -> bytes:
        """DER of the VEK in the evidence.

        Raises:
            NotFoundError: VEK_MISSING: there is none; see `completed`.
        """
        if self.evidence.vek is None:
            raise _vek_missing()
        return self.evidence.vek


def no_veks(report: Report, at: datetime) -> bytes:  # noqa: ARG001 - a `VekSource`
    """Find none: evidence without a VEK cannot be judged.

    Raises:
        NotFoundError: VEK_MISSING, always.
    """
    raise _vek_missing()


def completed(question: Question, *, veks: VekSource, at: datetime) -> Question:
    """Return the question with a VEK in its evidence, as found where the guest's host has none to hand over.

    What is found is verified like one that came along.

    Args:
        question: As asked.
        veks: Where to look.
        at: When it must be in force (aware, UTC).

    Raises:
        MalformedError: The report is none.
        CollateralError: It is not found.
    """
    evidence = question.evidence
    if evidence.vek is not None:
        return question
    return replace(question, evidence=replace(evidence, vek=veks(parse_report(evidence.report), at)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegatedReport:
    """A report that a verifier elsewhere vouches for; no signature under it was verified here. Made by `delegated`.

    Attributes:
        report: What is vouched for.
        revocation: Why nobody here asked about revocation.
        boot: As `VerifiedReport.boot`.
    """

    report: Report
    revocation: Unchecked
    boot: bytes


JudgedReport: TypeAlias = VerifiedReport | DelegatedReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a verifier answered.

    Attributes:
        verified: The report, and whether a chip's signature or somebody's word stands behind it.
        appraisal: How it was judged; nothing holds before its `require`.
    """

    verified: JudgedReport
    appraisal: Appraisal


class Verifier(Protocol):
    """What judges a guest's evidence. Safe to use from several threads."""

    @property
    def name(self) -> str:
        """How it is called in results; two that are asked together have two names."""
        ...

    def judge(self, question: Question, /, *, at: datetime) -> Judgement:
        """Judge evidence at a time (aware, UTC).

        Raises:
            VerificationError, MalformedError: The evidence is not authentic, or not evidence.
            CollateralError: Nobody can say now.
        """
        ...


def _vek_missing() -> NotFoundError:
    return NotFoundError("VEK_MISSING", "evidence: got no VEK, for the guest's host has none, and it is not at hand")
