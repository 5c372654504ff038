"""A guest judged by verifiers elsewhere: what of it is still judged here, and how several judgements become one.

A verifier's word is taken for what its asker cannot see (whether a chip signed) and for the policy. Rules, in order:
1. REPORT_DATA are the 64 bytes that the asker rebuilt, and HOST_DATA fits its manifest: asked here, of the bytes.
2. Evidence that says itself that it is simulated needs the word of asker and manifest both, whatever the verifier says.
3. The verifier says `affirming` or `warning`, as before a release, so that it asked for the levels of the policy. All
   are proved where it affirms, but for what nothing proves under a paravisor; where it warns it does not say which.

Of several judgements the weakest is the result, and it is valid as long as each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from twocvm_verifier.azure.verify import boot_said, quoted_of
from twocvm_verifier.clock import require_utc
from twocvm_verifier.result import Appraisal, Check, CollateralUse, Level, LevelProof, Status, Verdict
from twocvm_verifier.snp.report import parse_report
from twocvm_verifier.snp.vek import parse_vek
from twocvm_verifier.unchecked import Unchecked

from .agreement import check_host_data
from .authenticity import facts_of, platform_of
from .build import judged, warned
from .guest import check_report_data
from .judgement import DelegatedReport, Judgement, Question
from .paravisor import trusted_base_checks

WORD: Final = "verifier.word"
_STRENGTH: Final = (Verdict.ERROR, Verdict.CONTRAINDICATED, Verdict.WARNING, Verdict.AFFIRMING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a verifier elsewhere says of one question; that it is its word, and of this question, is already verified.

    Attributes:
        verifier: Its name.
        verdict: What it says; never `error`.
        code: What decided, as it names it in this project's table; VERIFIER_REFUSED where it names nothing.
        token_sha256: Of the token that says so (32 bytes).
        until: How long it stands by it.
    """

    verifier: str
    verdict: Verdict
    code: str
    token_sha256: bytes
    until: datetime


def judge_by_word(question: Question, word: Word, *, simulated_ok: bool, at: datetime) -> Judgement:
    """Return what a verifier's word comes to.

    Args:
        question: What was asked.
        word: What was answered.
        simulated_ok: Whether the asker itself accepts a simulated platform; the manifest must too.
        at: The time of the judgement (aware, UTC).

    Raises:
        MalformedError: Report or VEK are none.
        NotFoundError: VEK_MISSING.
    """
    report, vek = parse_report(question.evidence.report), parse_vek(question.vek).vek
    quoted = quoted_of(question.evidence.azure, claims=question.evidence.claims)
    simulated_allowed = simulated_ok and question.manifest.platform.simulated
    checks = (
        check_report_data(report.report_data if quoted is None else quoted.bound_data, question.report_data),
        check_host_data(report, question.manifest.hash, required=question.policy.require_host_data),
        judged(
            "verifier.simulated",
            "SIMULATED_NOT_ACCEPTED",
            Level.AL1,
            holds=simulated_allowed or not vek.simulated,
            expected="simulated or real" if simulated_allowed else "real",
            actual="simulated" if vek.simulated else "real",
            detail="the manifest and whoever asks must both accept a simulated platform",
        ),
        _word_check(word),
        *trusted_base_checks(paravisor=quoted is not None),
    )
    appraisal = Appraisal(
        platform=platform_of(simulated=vek.simulated, paravisor=quoted is not None),
        checks=checks,
        levels=tuple(_level(level, word, paravisor=quoted is not None) for level in Level),
        advisories=(),
        facts=facts_of(report, vek),
        collateral=(CollateralUse(kind="ear", sha256=word.token_sha256, source=word.verifier, not_after=word.until),),
        policy_sha256=question.policy.sha256,
        valid_until=word.until,
        judged_at=require_utc(at),
    )
    asked = Unchecked(f"the verifier {word.verifier!r} was asked instead")
    delegated = DelegatedReport(report=report, revocation=asked, boot=boot_said(quoted))
    return Judgement(verified=delegated, appraisal=appraisal)


def weakest(judgements: tuple[Judgement, ...], *, agreement: Check) -> Judgement:
    """Return several judgements of one question as one.

    Args:
        judgements: At least one; the first of the weakest gives its checks.
        agreement: How the verifiers agreed.
    """
    first = min(judgements, key=lambda judgement: _STRENGTH.index(judgement.appraisal.verdict))
    appraisals = [judgement.appraisal for judgement in judgements]
    pieces = dict.fromkeys(piece for appraisal in appraisals for piece in appraisal.collateral)
    whole = replace(
        first.appraisal,
        checks=(*first.appraisal.checks, agreement),
        collateral=tuple(pieces),
        valid_until=min(appraisal.valid_until for appraisal in appraisals),
    )
    return replace(first, appraisal=whole)


def _level(level: Level, word: Word, *, paravisor: bool) -> LevelProof:
    if paravisor and level in (Level.AL3, Level.AL4):
        return LevelProof(level=level, proved_by="", detail="MEASUREMENT is the paravisor's, whoever says more")
    if word.verdict is Verdict.AFFIRMING:
        return LevelProof(level=level, proved_by="a verifier", detail=f"{word.verifier!r} says so")
    return LevelProof(level=level, proved_by="", detail=f"{word.verifier!r} does not affirm it")


def _word_check(word: Word) -> Check:
    if word.verdict is Verdict.WARNING:
        return warned(WORD, "VERIFIER_REFUSED", Level.AL1, detail=f"{word.verifier!r} accepts it with a warning")
    return Check(
        id=WORD,
        status=Status.PASS if word.verdict is Verdict.AFFIRMING else Status.FAIL,
        code=word.code,
        level=Level.AL1,
        expected=str(Verdict.AFFIRMING),
        actual=str(word.verdict),
        detail="" if word.verdict is Verdict.AFFIRMING else f"{word.verifier!r} refuses the evidence",
    )
