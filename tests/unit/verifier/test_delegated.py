"""What a verifier's word comes to, and how several judgements become one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.attested_guest import Scene, policy
from tests.support.manifests import AT, World

from twocvm_verifier.appraisal import Question
from twocvm_verifier.appraisal.build import judged
from twocvm_verifier.appraisal.delegated import Word, judge_by_word, weakest
from twocvm_verifier.binding import cert_claims
from twocvm_verifier.errors import AppraisalError, BindingError
from twocvm_verifier.ratls.certificate import parse_certificate
from twocvm_verifier.result import Level, Verdict

SCENE = Scene()
WORD = Word(
    verifier="https://verifier.example",
    verdict=Verdict.AFFIRMING,
    code="VERIFIER_REFUSED",
    token_sha256=bytes(32),
    until=AT + timedelta(minutes=5),
)
AGREED = judged("verifier.quorum", "VERIFIER_REFUSED", Level.AL1, holds=True, expected="", actual="", detail="")


def ask(world: World = SCENE.world) -> Question:
    """Return the question of the scene's certificate."""
    leaf = parse_certificate(SCENE.server_identity().certificate_der)
    claims = cert_claims(spki_sha256=leaf.spki_sha256, manifest=SCENE.world.manifest.hash, log=SCENE.log)
    return Question(evidence=leaf.evidence, report_data=claims.report_data(), manifest=world.manifest, policy=policy())


def test_an_acceptance_is_an_appraisal_by_somebody_elses_word() -> None:
    """The result says whose word it is, until when, and under which policy, and that it is simulated."""
    question = ask()
    judgement = judge_by_word(question, WORD, simulated_ok=True, at=AT)
    appraisal = judgement.appraisal.require()
    assert (appraisal.verdict, appraisal.secure, appraisal.platform) == (Verdict.WARNING, False, "simulated")
    assert (appraisal.valid_until, appraisal.judged_at) == (WORD.until, AT)
    assert appraisal.policy_sha256 == question.policy.sha256
    assert [(piece.kind, piece.source) for piece in appraisal.collateral] == [("ear", "https://verifier.example")]
    assert {proof.proved_by for proof in appraisal.levels} == {"a verifier"}
    assert judgement.verified.report.raw == question.evidence.report
    assert "https://verifier.example" in judgement.verified.revocation.reason  # type: ignore[union-attr]


def test_a_warning_proves_no_level() -> None:
    """Who warns does not say what of, so nothing counts as proved."""
    appraisal = judge_by_word(
        ask(), replace(WORD, verdict=Verdict.WARNING), simulated_ok=True, at=AT
    ).appraisal.require()
    assert appraisal.verdict is Verdict.WARNING
    assert {proof.proved_by for proof in appraisal.levels} == {""}


@pytest.mark.parametrize(("code", "error"), [("VERIFIER_REFUSED", AppraisalError), ("CHAIN_REVOKED", BindingError)])
def test_a_refusal_refuses(code: str, error: type[Exception]) -> None:
    """A refusal has the code that the verifier named, and its class."""
    word = replace(WORD, verdict=Verdict.CONTRAINDICATED, code=code)
    with pytest.raises(error) as refused:
        judge_by_word(ask(), word, simulated_ok=True, at=AT).appraisal.require()
    assert refused.value.code == code  # type: ignore[attr-defined]


@pytest.mark.parametrize(("by_manifest", "by_asker"), [(True, False), (False, True), (False, False)])
def test_simulation_takes_two(by_manifest: bool, by_asker: bool) -> None:  # noqa: FBT001
    """Evidence that says itself that it is simulated needs manifest and asker both."""

    def edit(document) -> None:
        document["platform"]["simulated"] = False
        document["platform"]["products"] = ["Genoa"]

    question = ask()
    if not by_manifest:
        question = replace(question, manifest=World(edit=edit).manifest)
    findings = judge_by_word(question, WORD, simulated_ok=by_asker, at=AT).appraisal.findings
    assert "SIMULATED_NOT_ACCEPTED" in {finding.code for finding in findings}


def test_what_can_be_seen_here_is_judged_here() -> None:
    """REPORT_DATA and HOST_DATA are compared with what the asker knows, whatever the verifier says."""
    other = replace(ask(), report_data=bytes(64), policy=policy(require_host_data=True))
    findings = judge_by_word(other, WORD, simulated_ok=True, at=AT).appraisal.findings
    assert {finding.code for finding in findings} == {"REPORT_DATA_MISMATCH", "HOST_DATA_MISMATCH"}


def test_a_question_has_all_64_bytes() -> None:
    """No question can be asked without the bytes to expect."""
    with pytest.raises(ValueError, match="64"):
        replace(ask(), report_data=b"")


def test_the_weakest_of_several_counts() -> None:
    """Several judgements are as good as the weakest of them, as long as the shortest, and rest on all their pieces."""
    question = ask()
    good = judge_by_word(question, WORD, simulated_ok=True, at=AT)
    short = judge_by_word(
        question,
        replace(WORD, token_sha256=bytes([1]) * 32, until=AT + timedelta(minutes=1), verdict=Verdict.CONTRAINDICATED),
        simulated_ok=True,
        at=AT,
    )
    whole = weakest((good, short, good), agreement=AGREED).appraisal
    assert whole.verdict is Verdict.CONTRAINDICATED
    assert whole.valid_until == AT + timedelta(minutes=1)
    assert len(whole.collateral) == 2
    assert whole.checks[-1] is AGREED
