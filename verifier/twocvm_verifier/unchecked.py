"""Not checking, said aloud: a value with a reason, which appears in every result it touches.

>>> Unchecked("no reference value is known yet").reason
'no reference value is known yet'
"""

from __future__ import annotations

from dataclasses import dataclass

from .strictjson import text_problem


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Stands where a demand could stand, and says why none does.

    Attributes:
        reason: One sentence for whoever reads the result; never empty.
    """

    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("not checking needs a reason")
        if problem := text_problem(self.reason):
            raise ValueError(f"reason {problem}")
