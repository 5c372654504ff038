"""Builders of checks, so that each judgement says only what is asked, of what, and how it ended."""

from __future__ import annotations

from functools import lru_cache

from twocvm_verifier.result import Check, Level, Status
from twocvm_verifier.unchecked import Unchecked

from .demands import Demand


def judged(identifier: str, code: str, level: Level, *, holds: bool, expected: str, actual: str, detail: str) -> Check:
    """Return a check that passed or failed.

    Args:
        identifier: The check's id.
        code: What a failure is called.
        level: Which level it is about.
        holds: Whether it passed.
        expected: What was wanted.
        actual: What was found.
        detail: What a failure means, in one sentence; a check that passed has none.
    """
    return Check(
        id=identifier,
        status=Status.PASS if holds else Status.FAIL,
        code=code,
        level=level,
        expected=expected,
        actual=actual,
        detail="" if holds else detail,
    )


def kept_check(identifier: str, code: str) -> Check:
    """Return the check of a rule of authenticity that every verified report has kept."""
    return Check(id=identifier, status=Status.PASS, code=code, level=Level.AL1, expected="", actual="", detail="")


# Most questions of most policies are not asked, and end in the same way for every report of a guest.
@lru_cache(maxsize=512)
def skipped(identifier: str, code: str, level: Level, *, unchecked: Unchecked, actual: str) -> Check:
    """Return a check that was not asked, with the reason, and with what it would have been asked of."""
    return Check(
        id=identifier,
        status=Status.SKIP,
        code=code,
        level=level,
        expected="",
        actual=actual,
        detail=unchecked.reason,
    )


def listed(author: str, name: str, code: str, accepted: Demand[tuple[bytes, ...]], found: bytes) -> Check:
    """Return the check that a field of the guest's software is one of those that its author accepts.

    Args:
        author: Who demands it; with `name` the check's id.
        name: The report's field.
        code: What a failure is called.
        accepted: The values, or the reason why none is asked for.
        found: What the report has.
    """
    identifier = f"{author}.{name}"
    if isinstance(accepted, Unchecked):
        return skipped(identifier, code, Level.AL4, unchecked=accepted, actual=found.hex())
    return judged(
        identifier,
        code,
        Level.AL4,
        holds=found in accepted,
        expected=hex_list(accepted),
        actual=found.hex(),
        detail=f"{name} is none of those that are accepted",
    )


def hex_list(values: tuple[bytes, ...]) -> str:
    """Return values as a result shows them: lower-case hex, with commas."""
    return ", ".join(value.hex() for value in values)


def warned(identifier: str, code: str, level: Level, *, detail: str) -> Check:
    """Return a check that could not be asked and whose answer matters."""
    return Check(id=identifier, status=Status.WARN, code=code, level=level, expected="", actual="", detail=detail)
