"""What counts as a lost connection, and how often and how long a participant tries again.

Nothing here says who answers then: a new connection is judged as the first one was, and must lead to the same instance
(`instance`). What was refused, is not authentic or cannot be read is never tried again: only silence is.

>>> list(Patience(attempts=4, first_pause_seconds=1.0, longest_pause_seconds=3.0).pauses())
[1.0, 2.0, 3.0]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# The last one: the guest has not noticed yet that the connection of a broken upload is gone.
LOST: Final = frozenset(
    {"CONNECTION_LOST", "CONNECTION_TIMEOUT", "GUEST_UNREACHABLE", "ATTESTATION_REFUSED", "ITEM_IN_TRANSIT"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often one step is tried, and how long to wait in between; each pause is twice the one before.

    By default about 45 s: longer than a guest takes to notice that an upload has broken off (30 s).

    Attributes:
        attempts: How often a step is tried, the first time included.
        first_pause_seconds: Before the second time.
        longest_pause_seconds: No pause is longer.

    Raises:
        ValueError: Fewer than one attempt, or a negative pause.
    """

    attempts: int = 12
    first_pause_seconds: float = 0.1
    longest_pause_seconds: float = 8.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_pause_seconds < 0 or self.longest_pause_seconds < 0:
            raise ValueError(f"patience: got {self}, want an attempt and no negative pause")

    def pauses(self) -> Iterator[float]:
        """Yield the pauses between attempts, in seconds; one fewer than there are attempts."""
        pause = self.first_pause_seconds
        for _ in range(self.attempts - 1):
            yield min(pause, self.longest_pause_seconds)
            pause *= 2
