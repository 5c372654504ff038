"""How revocation is treated: said by the caller, carried with the report, shown in every result.

No CRL is read by this version, so what it can say is which of two answers the caller gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from twocvm_verifier.unchecked import Unchecked


@dataclass(frozen=True, slots=True)
class Prefer:
    """Use a CRL where one is at hand, and warn where none is: the default."""


PREFER: Final = Prefer()
CrlUse: TypeAlias = Prefer | Unchecked
