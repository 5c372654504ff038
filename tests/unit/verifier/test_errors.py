"""Errors have a code, and the table has every code."""

from __future__ import annotations

import re
from http import HTTPStatus

import pytest

from twocvm_verifier import errors
from twocvm_verifier.codes import CODES, GROUPS, merged
from twocvm_verifier.errors import AppraisalError, MalformedError, TwoCvmError
from twocvm_verifier.result import Check, Level, Status


def test_malformed_names_document_and_place() -> None:
    """A malformed document has the code of its format, and the text says where and what."""
    error = MalformedError("manifest", "/a/0", "got 1, want 2")
    assert (error.code, error.field, str(error)) == ("MALFORMED_MANIFEST", "/a/0", "manifest/a/0: got 1, want 2")
    assert str(MalformedError("report", "length", "got 1, want 2")) == "report.length: got 1, want 2"
    assert str(MalformedError("report", "", "got 1, want 2")) == "report: got 1, want 2"


def test_status_comes_from_the_table() -> None:
    """An error ends the command line as its row says."""
    error = TwoCvmError("MALFORMED_REPORT", "got 1, want 2")
    assert error.exit_status == CODES["MALFORMED_REPORT"].exit_status == 30


def test_unknown_code_is_a_mistake() -> None:
    """A code that is not in the table cannot be raised."""
    with pytest.raises(KeyError):
        TwoCvmError("NO_SUCH_CODE", "")


def test_appraisal_needs_findings() -> None:
    """A refusal without a reason is a mistake of the caller."""
    with pytest.raises(ValueError, match="finding"):
        AppraisalError(())


def test_a_refusal_notes_what_came_and_what_was_wanted() -> None:
    """Each finding that has values has a note with both; one without has none."""
    findings = tuple(
        Check(
            id=f"a.{number}",
            status=Status.FAIL,
            code="DEBUG_ALLOWED",
            level=Level.AL1,
            expected=expected,
            actual=actual,
            detail="no",
        )
        for number, (expected, actual) in enumerate((("clear", "set"), ("clear", ""), ("", "")))
    )
    assert AppraisalError(findings).__notes__[-2:] == ["a.0: got set, want clear", "a.1: got nothing, want clear"]


@pytest.mark.parametrize("name", CODES)
def test_rows(name: str) -> None:
    """Each row has a documented exit status, an HTTP error, and says what it means in whole sentences."""
    row = CODES[name]
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+", name)
    assert row.exit_status in {1, 10, 11, 12, 20, 30, 40, 41, 50}
    assert HTTPStatus(row.http_status) >= HTTPStatus.BAD_REQUEST
    assert row.meaning.endswith(".")
    assert row.spec


def test_every_code_is_in_one_group() -> None:
    """The groups are the table, each code once."""
    assert sorted(CODES) == sorted(name for rows in GROUPS.values() for name in rows)
    assert dict(merged(GROUPS)) == dict(CODES)
    with pytest.raises(RuntimeError, match="two groups"):
        merged({"one": CODES, "other": CODES})


def test_every_error_is_one_of_ours() -> None:
    """Whoever catches TwoCvmError catches every refusal."""
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(classes) > 10
    assert all(issubclass(value, TwoCvmError) for value in classes)
