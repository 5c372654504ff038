"""Rules as values: each has a stable id, the code it refuses with, and the rules it builds on.

The quick way through is `enforce`, which stops at the first refusal. `examine` asks every rule that can be asked, so
that a person sees all that is wrong, and which questions could not be asked and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from twocvm_verifier.errors import TwoCvmError

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Generic[Subject]):
    """One question of authenticity.

    Attributes:
        id: Stable name of the check.
        code: What a refusal is called.
        verify: Raises a `TwoCvmError` unless the subject keeps the rule.
        needs: Ids of earlier rules without which this one means nothing.
    """

    id: str
    code: str
    verify: Callable[[Subject], None]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one rule ended.

    Attributes:
        id: The rule's id.
        code: The rule's code, or that of the error.
        error: Why it was broken, or None where it was kept or not asked.
        not_asked: Why it was not asked; empty where it was.
    """

    id: str
    code: str
    error: TwoCvmError | None
    not_asked: str


def enforce(rules: Sequence[Rule[Subject]], subject: Subject) -> None:
    """Ask every rule in order.

    Raises:
        TwoCvmError: The first that is broken.
    """
    for rule in rules:
        rule.verify(subject)


def examine(rules: Sequence[Rule[Subject]], subject: Subject) -> tuple[Outcome, ...]:
    """Ask every rule that can be asked, and return how each ended, in order."""
    outcomes: list[Outcome] = []
    unproved: set[str] = set()
    for rule in rules:
        outcome = _ask(rule, subject, missing=[need for need in rule.needs if need in unproved])
        if outcome.error is not None or outcome.not_asked:
            unproved.add(rule.id)
        outcomes.append(outcome)
    return tuple(outcomes)


def not_asked(rules: Sequence[Rule[Subject]], reason: str) -> tuple[Outcome, ...]:
    """Return the outcomes of rules that cannot be asked at all, with the reason."""
    return tuple(Outcome(id=rule.id, code=rule.code, error=None, not_asked=reason) for rule in rules)


def _ask(rule: Rule[Subject], subject: Subject, *, missing: list[str]) -> Outcome:
    if missing:
        return Outcome(id=rule.id, code=rule.code, error=None, not_asked=f"builds on {', '.join(missing)}")
    try:
        rule.verify(subject)
    except TwoCvmError as error:
        return Outcome(id=rule.id, code=error.code, error=error, not_asked="")
    return Outcome(id=rule.id, code=rule.code, error=None, not_asked="")
