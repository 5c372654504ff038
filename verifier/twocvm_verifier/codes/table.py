"""What a row of the code table is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Exit statuses of `twocvm` (README, "Exit status").
NOT_AUTHENTIC: Final = 10
REFUSED: Final = 11
LEDGER: Final = 12
UNSUPPORTED: Final = 20
MALFORMED: Final = 30
CANNOT_JUDGE: Final = 40
NOT_AUTHORISED: Final = 41
WRONG_STATE: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One reason for a refusal, stable for ever.

    Attributes:
        exit_status: What the command line ends with when this decides.
        http_status: What the guest answers with when it is the guest that refuses; 500 where it never does.
        meaning: What it means and what a person can do about it, in one or two sentences.
        spec: Where the rule stands.
    """

    exit_status: int
    http_status: int
    meaning: str
    spec: str


def malformed(meaning: str, spec: str) -> Code:
    """Return the row of a document that is not what it claims to be."""
    return Code(exit_status=MALFORMED, http_status=400, meaning=meaning, spec=spec)
