"""What keeps a worker from everything but its own node, and what of it this machine gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One means of isolation.

    Attributes:
        name: Such as `mount-namespace`; stable.
        available: A worker on this machine had it.
        reason: Where it had not, why, in words for the machine's owner; else empty.
    """

    name: str
    available: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationReport:
    """What a worker on this machine is kept in.

    Attributes:
        features: Every means that `docs/runtime.md` lists, in its order.
    """

    features: tuple[Feature, ...]

    @property
    def complete(self) -> bool:
        """Nothing is missing."""
        return not self.missing

    @property
    def missing(self) -> tuple[Feature, ...]:
        """What this machine does not give."""
        return tuple(feature for feature in self.features if not feature.available)
