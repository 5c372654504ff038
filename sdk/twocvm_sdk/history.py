"""What evidence has shown of one guest instance, on whatever connection and in whatever thread.

Decides whether a proof is of the instance that was proven first, and whether its event log only grew: REPORT_ID and
TLS key never change, and no proof that was asked for later shows fewer events than one before. That every head is a
prefix of the log is `eventlog.verify_log`'s to say, which is given all of them.
"""

from __future__ import annotations

import threading
from typing import Final

from twocvm_verifier.binding import LogPosition
from twocvm_verifier.errors import BindingError, LogProofError
from twocvm_verifier.ratls.proof import ChannelProof, Proof

from .connection import AttestedConnection


class History:
    """The memory of one instance. From any thread.

    Args:
        first: A proof of the instance that is meant.
        seen: Log positions that it has shown before.

    Attributes:
        report_id: The instance's REPORT_ID (32 bytes).
        spki_sha256: SHA-256 of its TLS key's SPKI DER (32 bytes).
    """

    def __init__(self, first: Proof, *, seen: tuple[LogPosition, ...] = ()) -> None:
        self.report_id: Final = first.report_id
        self.spki_sha256: Final = first.spki_sha256
        # A set that keeps its order; a guest that stands still shows one position over and over.
        self._positions = dict.fromkeys((*seen, first.log))
        self._events = 0
        self._guard = threading.Lock()

    @property
    def positions(self) -> tuple[LogPosition, ...]:
        """Every log position that was shown."""
        with self._guard:
            return tuple(self._positions)

    @property
    def events(self) -> int:
        """How many events the log has at least, whatever is asked from now on."""
        return self._events

    def meet(self, connection: AttestedConnection, *, at_least: int) -> None:
        """Remember what a new connection has proven.

        Args:
            connection: Proven.
            at_least: What `events` was before it was opened.

        Raises:
            BindingError, LogProofError: As `see`.
        """
        self._require_same(connection.certificate)
        self.see(connection.proof, at_least=at_least)
        with self._guard:
            self._positions[connection.certificate.log] = None

    def see(self, proof: ChannelProof, *, at_least: int) -> None:
        """Remember what a proof says of the log.

        Args:
            proof: Judged.
            at_least: What `events` was before it was asked for.

        Raises:
            BindingError: GUEST_REPLACED: it is another instance's.
            LogProofError: LOG_WENT_BACK: the log is shorter than it was.
        """
        self._require_same(proof)
        if proof.log.events < at_least:
            raise LogProofError("LOG_WENT_BACK", f"events: got {proof.log.events}, want at least {at_least}")
        with self._guard:
            self._positions[proof.log] = None
            self._events = max(self._events, proof.log.events)

    def _require_same(self, proof: Proof) -> None:
        if (proof.report_id, proof.spki_sha256) != (self.report_id, self.spki_sha256):
            got, want = proof.report_id.hex()[:16], self.report_id.hex()[:16]
            raise BindingError("GUEST_REPLACED", f"guest: got instance {got}, want {want} with the key it had")
