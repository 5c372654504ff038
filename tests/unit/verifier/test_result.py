"""Results: the verdict's rules, what decides when several things are wrong, and that a verdict is never a yes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.amd import AT

from twocvm_verifier.errors import AppraisalError, BindingError, NotFoundError, UnsupportedError
from twocvm_verifier.result import Appraisal, Check, CollateralUse, Level, LevelProof, Status, Verdict


def check(code: str, status: Status = Status.FAIL) -> Check:
    """Return a check that ended in `status`."""
    return Check(
        id=f"test.{code.lower()}", status=status, code=code, level=Level.AL1, expected="e", actual="a", detail="d"
    )


GOOD = Appraisal(
    platform="snp",
    checks=(check("CHIP_ID_MISMATCH", Status.PASS), check("DEBUG_ALLOWED", Status.SKIP)),
    levels=tuple(LevelProof(level=level, proved_by="x", detail="y") for level in Level),
    advisories=(),
    facts={"version": 3},
    collateral=(CollateralUse(kind="vcek", sha256=bytes(32), source="evidence", not_after=AT),),
    policy_sha256=bytes(32),
    valid_until=AT,
    judged_at=AT,
)


def with_checks(*checks: Check) -> Appraisal:
    """Return the good appraisal with these checks instead."""
    return replace(GOOD, checks=checks)


def test_everything_passed_is_affirming_and_secure():
    """Skipped checks have a reason; they do not change the verdict."""
    assert (GOOD.verdict, GOOD.secure, GOOD.exit_status, GOOD.authentic) == (Verdict.AFFIRMING, True, 0, True)
    assert GOOD.require() is GOOD


def test_appraisals_have_no_truth_value():
    """No `if` can take a refusal for an acceptance."""
    with pytest.raises(TypeError, match="truth value"):
        bool(GOOD)


@pytest.mark.parametrize(
    "changed",
    [
        {"platform": "simulated"},
        {"checks": (check("CRL_MISSING", Status.WARN),)},
        {"levels": (LevelProof(level=Level.AL3, proved_by="", detail="nothing"),)},
    ],
    ids=["simulated", "warned", "unproved"],
)
def test_anything_short_of_all_is_a_warning(changed):
    """A simulated platform, a warning or an unproved level: accepted, never secure."""
    appraisal = replace(GOOD, **changed)
    assert (appraisal.verdict, appraisal.secure, appraisal.exit_status) == (Verdict.WARNING, False, 0)
    appraisal.require()


@pytest.mark.parametrize(
    ("code", "status", "verdict", "error"),
    [
        ("REPORT_SIGNATURE", 10, Verdict.CONTRAINDICATED, BindingError),
        ("REPORT_DATA_MISMATCH", 10, Verdict.CONTRAINDICATED, BindingError),
        ("DEBUG_ALLOWED", 11, Verdict.CONTRAINDICATED, AppraisalError),
        ("CRL_MISSING", 40, Verdict.ERROR, NotFoundError),
        ("LEDGER_UNSUPPORTED", 20, Verdict.ERROR, UnsupportedError),
    ],
)
def test_findings_refuse(code, status, verdict, error):
    """Each kind of finding has its verdict, its exit status and its error."""
    appraisal = with_checks(check(code), check("CHIP_ID_MISMATCH", Status.PASS))
    assert (appraisal.verdict, appraisal.secure, appraisal.exit_status) == (verdict, False, status)
    with pytest.raises(error) as caught:
        appraisal.require()
    assert (caught.value.code, caught.value.exit_status) == (code, status)


def test_the_first_in_order_decides():
    """Not authentic before cannot be judged, before refused, before unsupported."""
    order = ["REPORT_SIGNATURE", "CRL_MISSING", "DEBUG_ALLOWED", "LEDGER_UNSUPPORTED"]
    for start in range(len(order)):
        appraisal = with_checks(*map(check, reversed(order[start:])))
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which class it is stands in the test above
            appraisal.require()
        assert caught.value.code == order[start]


def test_refusal_by_policy_holds_every_finding():
    """Who mends a platform sees everything at once, what decided first."""
    appraisal = with_checks(check("LEDGER_UNSUPPORTED"), check("DEBUG_ALLOWED"), check("VMPL_REFUSED"))
    with pytest.raises(AppraisalError) as caught:
        appraisal.require()
    assert [finding.code for finding in caught.value.findings] == [
        "DEBUG_ALLOWED",
        "VMPL_REFUSED",
        "LEDGER_UNSUPPORTED",
    ]


def test_json_has_every_member():
    """The result object is the one that `docs/spec/appraisal.md` writes."""
    shown = with_checks(check("DEBUG_ALLOWED")).to_json()
    assert list(shown) == [
        "schema",
        "verdict",
        "secure",
        "code",
        "platform",
        "checks",
        "levels",
        "advisories",
        "facts",
        "policy",
        "collateral",
        "valid_until",
        "judged_at",
    ]
    assert shown["checks"] == [
        {
            "id": "test.debug_allowed",
            "status": "fail",
            "code": "DEBUG_ALLOWED",
            "level": "AL1",
            "expected": "e",
            "actual": "a",
            "detail": "d",
            "spec": "SNP ABI 56860, 4.3",
        }
    ]
    assert shown["code"] == "DEBUG_ALLOWED"
    assert "code" not in GOOD.to_json()
    assert shown["judged_at"] == "2026-06-01T00:00:00Z"
    assert shown["collateral"][0]["sha256"] == "00" * 32
