"""Everything that is wrong with a manifest, collected before anyone is told.

>>> found = Problems()
>>> found.add(Rule.REFERENCE, "/components/0/owner", "no participant is called 'hospital-c'")
>>> found.refuse()
Traceback (most recent call last):
    ...
twocvm_verifier.manifest.problems.ManifestError: manifest/components/0/owner: no participant is called 'hospital-c'
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from twocvm_verifier.errors import MalformedError

# A hostile document of 1 MiB can be wrong in many places; nobody reads more than this.
MAX_PROBLEMS: Final = 1000
_SHOWN_IN_TEXT: Final = 20


class Rule(StrEnum):
    """Which kind of rule is broken. The values are stable; `docs/spec/manifest.md` lists them."""

    JSON = "json"
    UNKNOWN = "unknown"
    MISSING = "missing"
    TYPE = "type"
    FORM = "form"
    RANGE = "range"
    SET = "set"
    UNIQUE = "unique"
    REFERENCE = "reference"
    IMPORT = "import"
    PORT = "port"
    NODE = "node"
    CYCLE = "cycle"
    MUST_PASS = "must-pass"  # noqa: S105 - the name of a rule, not a secret
    MUST_NOT_REACH = "must-not-reach"
    LIMIT = "limit"
    FILTER = "filter"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        rule: Which kind of rule is broken.
        pointer: Where, as an RFC 6901 JSON pointer; empty for the whole document.
        detail: What came and what was expected.
    """

    rule: Rule
    pointer: str
    detail: str

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.detail}"


class ManifestError(MalformedError):
    """A manifest is refused. `problems` holds every reason, not the first.

    Args:
        problems: At least one, in the order they were found.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        if not problems:
            raise ValueError("a refusal needs a problem")
        self.problems = problems
        first, *others = problems
        parts = [first.detail, *(str(problem) for problem in others[: _SHOWN_IN_TEXT - 1])]
        if len(problems) > _SHOWN_IN_TEXT:
            parts.append(f"and {len(problems) - _SHOWN_IN_TEXT} more")
        super().__init__("manifest", first.pointer, "; ".join(parts), places=tuple(map(_place, problems)))


def _place(problem: Problem) -> str:
    """Return where a problem is, without a name that the document's author chose."""
    if problem.rule is Rule.JSON:
        return ""
    pointer = problem.pointer.rpartition("/")[0] if problem.rule is Rule.UNKNOWN else problem.pointer
    # A filter's schema names whatever its author likes.
    before, schema, _ = pointer.partition("/schema")
    return before + schema


class Problems:
    """Collects problems while a document is read."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def add(self, rule: Rule, pointer: str, detail: str) -> None:
        """Note one problem; beyond `MAX_PROBLEMS` they are no longer kept."""
        if len(self._found) < MAX_PROBLEMS:
            self._found.append(Problem(rule=rule, pointer=pointer, detail=detail))

    def under(self, pointer: str) -> bool:
        """Return whether anything at or below `pointer` is wrong."""
        return any(found.pointer == pointer or found.pointer.startswith(pointer + "/") for found in self._found)

    @property
    def found(self) -> tuple[Problem, ...]:
        """Everything noted so far."""
        return tuple(self._found)

    def refuse(self) -> None:
        """Return if nothing is wrong.

        Raises:
            ManifestError: Something is.
        """
        if self._found:
            raise ManifestError(self.found)
