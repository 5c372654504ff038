"""One guest instance that proved itself, at the end of as many connections as a session takes.

Decides whether the guest at the other end is still the one that was proven, under the manifest that this participant
holds and all participants signed, with a history that only grew. Rules, in order, for every connection anew: the guest
proves itself in full; REPORT_ID and TLS key are those of the first one; the manifest that is served is, byte for byte,
the participant's own; exactly one consent of each participant verifies; every head that evidence ever showed is a
prefix of the log; the log has one lock, of this manifest and these consents.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, TypeVar

from twocvm_verifier import eventlog
from twocvm_verifier.binding import LogPosition
from twocvm_verifier.errors import BindingError, TwoCvmError
from twocvm_verifier.eventlog import VerifiedLog
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.roster import Consents, verify_consents
from twocvm_verifier.ratls.proof import CertificateProof, ChannelProof

from .connection import AttestedConnection
from .guest import Guest
from .history import History
from .resuming import LOST, Patience

# protocol, "Channel evidence": a proof that is older is asked for again before anything is released.
MAX_PROOF_AGE_SECONDS: Final = 60.0

Dial: TypeAlias = Callable[[], AttestedConnection]
"""Opens one more connection to wherever the first one led, proven under the same manifest."""

_T = TypeVar("_T")


class Instance:
    """A proven guest, and what this participant has seen of it. Owns the connection of the moment.

    Args:
        connection: Proven, under `manifest`.
        dial: Opens the next one where this is lost.
        manifest: The participant's own copy.
        patience: How long a lost connection is tried to be replaced.
        seen: Log positions that this instance's evidence has shown before.

    Attributes:
        guest: The routes of the guest, over the connection of the moment.
        history: What was seen of the instance.
    """

    def __init__(
        self,
        connection: AttestedConnection,
        *,
        dial: Dial,
        manifest: Manifest,
        patience: Patience,
        seen: tuple[LogPosition, ...] = (),
    ) -> None:
        self.guest = Guest(connection)
        self.manifest: Final = manifest
        self.history: Final = History(connection.certificate, seen=seen)
        self.history.see(connection.proof, at_least=0)
        self._connection = connection
        self._dial: Final = dial
        self._patience: Final = patience
        self._consents: Consents | None = None
        self._ended = False

    @property
    def report_id(self) -> bytes:
        """REPORT_ID: which launch this is (32 bytes)."""
        return self.history.report_id

    @property
    def spki_sha256(self) -> bytes:
        """SHA-256 of the guest's TLS key (32 bytes)."""
        return self.history.spki_sha256

    @property
    def certificate(self) -> CertificateProof:
        """What the certificate of the connection of the moment has proven."""
        return self._connection.certificate

    @property
    def proof(self) -> ChannelProof:
        """The latest proof."""
        return self._connection.proof

    @property
    def consents(self) -> Consents:
        """Who consented to what the guest is locked to, fetched and verified once for each connection."""
        return self._consents or self.agree()

    def verify(self) -> None:
        """Verify what the guest serves on this connection: manifest, consents, log.

        Raises:
            TwoCvmError: As `agree` and `log`.
        """
        self.agree()
        self.log()

    def agree(self) -> Consents:
        """Verify what the guest is locked to, and return who consented.

        Raises:
            BindingError: MANIFEST_DIFFERS.
            TwoCvmError: A consent is missing, doubled, foreign or not valid; or the guest did not answer.
        """
        served = self.guest.manifest()
        if served.raw != self.manifest.raw:
            raise BindingError("MANIFEST_DIFFERS", "guest: serves another manifest than the one it is proven under")
        self._consents = verify_consents(served.consents, self.manifest)
        return self._consents

    def log(self) -> VerifiedLog:
        """Fetch the event log and verify it against everything that was seen before it was asked for.

        Raises:
            LogProofError: It is not the one history of this instance.
            MalformedError: It is no log.
        """
        seen = self.history.positions
        return eventlog.verify_log(
            self.guest.log(),
            report_id=self.report_id,
            seen=seen,
            manifest_hash=self.manifest.hash,
            consents_digest=self.consents.digest,
        )

    def state(self) -> str:
        """Return the session's state, as the guest says it."""
        return self.guest.state()

    def failures(self) -> Mapping[str, str]:
        """Return the codes of failures that are this participant's to know, by node."""
        return self.guest.failures()

    def reprove(self) -> ChannelProof:
        """Ask for a new proof on this connection and return it.

        Raises:
            TwoCvmError: The guest did not prove itself again; nothing may be released any more.
        """
        before = self.history.events
        proof = self._connection.reprove()
        self.history.see(proof, at_least=before)
        return proof

    def refresh(self) -> None:
        """Ask for a new proof if the last one is older than `MAX_PROOF_AGE_SECONDS`."""
        if self._connection.proof_age_seconds > MAX_PROOF_AGE_SECONDS:
            self.reprove()

    def persist(self, step: Callable[[], _T]) -> _T:
        """Do `step`, and do it again on a new connection where the one that it was on is lost.

        Args:
            step: May be done twice; finds the connection of the moment behind this instance.

        Raises:
            RuntimeError: The session was closed.
            BindingError: GUEST_REPLACED: another instance answers now.
            TwoCvmError: As `step` and `verify`; what was lost only after `patience`.
        """
        if self._ended:
            raise RuntimeError("the session is closed")
        pauses = self._patience.pauses()
        while True:
            try:
                if self._connection.closed:
                    self._reconnect()
                return step()
            except TwoCvmError as error:
                pause = next(pauses, None) if error.code in LOST else None
                if pause is None:
                    raise
            time.sleep(pause)

    def close(self) -> None:
        """End the connection, for good."""
        self._ended = True
        self._connection.close()

    def _reconnect(self) -> None:
        self._connection.close()
        before = self.history.events
        connection = self._dial()
        try:
            self.history.meet(connection, at_least=before)
            # Not before: what another instance proves is not shown as this one's.
            self._connection, self.guest = connection, Guest(connection)
            self.verify()
        except BaseException:
            connection.close()
            raise
