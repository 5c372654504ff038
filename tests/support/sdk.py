"""Participants of a `World` as the SDK knows them: identities in folders, and a clock that stands in its year."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.support.manifests import AT, Party

from twocvm_sdk import identity as identities
from twocvm_sdk.identity import Identity


@dataclass(slots=True)
class StandingClock:
    """A clock whose date stands where a test puts it, while waiting takes its time."""

    at: datetime = AT

    def now(self) -> datetime:
        """Return the date that was put in."""
        return self.at

    def monotonic_seconds(self) -> float:
        """Return the machine's monotonic clock."""
        return time.monotonic()


def identity_of(party: Party, folder: Path) -> Identity:
    """Write the keys of a party to `folder/NAME` and return them as loaded from there."""
    identity = Identity(
        name=party.name,
        tls_key=party.tls_key,
        certificate=identities._self_signed(party.tls_key),
        consent_key=party.consent_key,
        folder=folder / party.name,
    )
    identities._write(identity)
    return Identity.load(identity.folder)
