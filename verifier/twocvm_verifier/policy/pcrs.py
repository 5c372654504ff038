"""Which values of a vTPM's PCRs a policy accepts, and why it does not look at the others.

Rules, in order:
1. Each PCR that is named has the values of which it must have one; the rest is left open with one reason, never by
   silence: a PCR that was forgotten would be a kernel that nobody looked at.
2. One of PCRs 0 to 7 is named. What is started extends the others itself, so whoever is started first can bring them to
   any value that an honest start gives them.

>>> str(PcrValues(named={4: (b"k" * 32,)}, others=Unchecked("they change"))).endswith("; not the others: they change")
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from twocvm_verifier.azure.quote import DIGEST_BYTES, PCR_COUNT
from twocvm_verifier.unchecked import Unchecked

# The one bank that evidence has (docs/spec/azure.md, 4).
SHA256_BANK: Final = "sha256"
PCR_BANKS: Final = frozenset({SHA256_BANK})
ALL_NAMED: Final = Unchecked("every PCR is named")
# TCG PC Client Platform Firmware Profile, "PCR usage": firmware extends these, and what it starts the others.
_OF_FIRMWARE: Final = range(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class PcrValues:
    """What is accepted of the PCRs of one bank.

    Attributes:
        named: By number, 0 to 23: the values of which the PCR must have one (32 bytes each).
        others: Why the PCRs that are not named are not looked at; `ALL_NAMED` where there are none.
    """

    named: Mapping[int, tuple[bytes, ...]]
    others: Unchecked

    def __post_init__(self) -> None:
        if not all(number in range(PCR_COUNT) and values for number, values in self.named.items()):
            raise ValueError(f"want values for each PCR that is named, of 0 to {PCR_COUNT - 1}")
        if any(len(value) != DIGEST_BYTES for values in self.named.values() for value in values):
            raise ValueError(f"want values of {DIGEST_BYTES} bytes")
        if self.named.keys().isdisjoint(_OF_FIRMWARE):
            raise ValueError("want one of PCRs 0 to 7: what is started can bring the others to any value itself")
        object.__setattr__(self, "named", MappingProxyType(dict(sorted(self.named.items()))))

    @property
    def left(self) -> tuple[int, ...]:
        """The PCRs that are not looked at."""
        return tuple(number for number in range(PCR_COUNT) if number not in self.named)

    def __str__(self) -> str:
        said = [f"PCR {number} is {' or '.join(map(bytes.hex, values))}" for number, values in self.named.items()]
        return f"{', '.join(said)}; not the others: {self.others.reason}" if self.left else ", ".join(said)
