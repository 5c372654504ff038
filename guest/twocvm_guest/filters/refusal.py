"""How a filter says no."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from twocvm_guest.runtime.messages import Outcome

# The bytes of an output, piece by piece, and what a filter makes of them.
Stream: TypeAlias = Iterator[bytes]
Step: TypeAlias = Callable[[Stream], Stream]


class Refused(Exception):  # noqa: N818 - not an error: a decision
    """A filter does not let an output pass.

    Attributes:
        outcome: Why.
    """

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.name)
