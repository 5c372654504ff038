"""Withdrawing from a session: written down first, then signed, then sent, and only to the instance that is meant.

A withdrawal names manifest, participant and REPORT_ID, so that nobody can use it for another session. It takes a go
back for good: whoever reads the ledger afterwards releases nothing to that instance, even if the instance never heard
of the withdrawal. Where a person withdraws and was led to an instance that no go was given to, the goes for others are
taken back with it: they are what was meant.
"""

from __future__ import annotations

from dataclasses import dataclass

from twocvm_verifier.clock import Clock
from twocvm_verifier.manifest.statements import sign_withdraw

from .guest import Guest
from .history import History
from .identity import Identity
from .ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawer:
    """One participant's withdrawal from one instance.

    Attributes:
        identity: Who withdraws.
        history: The instance.
        ledger: Where it is written down.
        clock: For the ledger.
    """

    identity: Identity
    history: History
    ledger: Ledger
    clock: Clock

    def note(self) -> None:
        """Have it on disk that the go counts no more.

        Raises:
            ReleaseError, MalformedError: As `Ledger.withdraw`.
        """
        self.ledger.withdraw(self.history.report_id, at=self.clock.now())

    def note_meant(self) -> tuple[bytes, ...]:
        """As `note`; where no go was given to this instance, have it on disk that no go for the manifest counts.

        Returns:
            The REPORT_IDs of other instances whose goes were taken back.

        Raises:
            ReleaseError, MalformedError: As `Ledger.withdraw`.
        """
        goes = self.ledger.goes()
        if any(go.report_id == self.history.report_id for go in goes):
            self.note()
            return ()
        others = tuple(go.report_id for go in goes if go.withdrawn_at is None)
        for report_id in others:
            self.ledger.withdraw(report_id, at=self.clock.now())
        return others

    def send(self, guest: Guest) -> None:
        """Sign the withdrawal and hand it over.

        Args:
            guest: Over a connection that has proven to lead to the instance.

        Raises:
            ReleaseError: TOO_LATE, or another refusal of the guest.
            TwoCvmError: The connection was lost.
        """
        guest.withdraw(
            sign_withdraw(
                self.identity.consent_key,
                manifest_hash=self.ledger.manifest_hash,
                participant=self.identity.name,
                report_id=self.history.report_id,
            )
        )
