"""One guest instance that proved itself: what it is locked to, and every log head that its evidence has shown.

Decides whether the guest at the other end is still the one that was proven, under the manifest that this participant
holds and all participants signed, with a history that only grew. Rules, in order: the manifest that is served is, byte
for byte, the participant's own; exactly one consent of each participant verifies; REPORT_ID and TLS key never change;
every head that evidence ever showed is a prefix of the log; the log has one lock, of this manifest and these consents.
"""

from __future__ import annotations

from typing import Final

from twocvm_verifier import eventlog
from twocvm_verifier.binding import LogPosition
from twocvm_verifier.errors import BindingError
from twocvm_verifier.eventlog import VerifiedLog
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.roster import Consents, verify_consents
from twocvm_verifier.ratls.proof import ChannelProof, Proof

from .connection import AttestedConnection
from .guest import Guest

# protocol, "Channel evidence": a proof that is older is asked for again before anything is released.
MAX_PROOF_AGE_SECONDS: Final = 60.0


class Instance:
    """A proven guest, and what this participant has seen of it.

    Args:
        connection: Proven, under `manifest`; whoever opened it closes it.
        manifest: The participant's own copy.
        seen: Log positions that this instance's evidence has shown on earlier connections.
    """

    def __init__(
        self, connection: AttestedConnection, *, manifest: Manifest, seen: tuple[LogPosition, ...] = ()
    ) -> None:
        self.guest: Final = Guest(connection)
        self.manifest: Final = manifest
        self.report_id: Final = connection.certificate.report_id
        self.spki_sha256: Final = connection.certificate.spki_sha256
        self._connection: Final = connection
        self._consents: Consents | None = None
        self._seen: list[LogPosition] = list(seen)
        self.see(connection.certificate)
        self.see(connection.proof)

    @property
    def proof(self) -> ChannelProof:
        """The latest proof."""
        return self._connection.proof

    @property
    def consents(self) -> Consents:
        """Who consented to what the guest is locked to, fetched and verified once."""
        return self._consents or self.agree()

    def see(self, proof: Proof) -> None:
        """Remember what a proof says of the log.

        Raises:
            BindingError: GUEST_REPLACED: it is another instance's.
        """
        if (proof.report_id, proof.spki_sha256) != (self.report_id, self.spki_sha256):
            got, want = proof.report_id.hex()[:16], self.report_id.hex()[:16]
            raise BindingError("GUEST_REPLACED", f"guest: got instance {got}, want {want} with the key it had")
        self._seen.append(proof.log)

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
        """Fetch the event log and verify it against everything that was seen.

        Raises:
            LogProofError: It is not the one history of this instance.
            MalformedError: It is no log.
        """
        return eventlog.verify_log(
            self.guest.log(),
            report_id=self.report_id,
            seen=tuple(self._seen),
            manifest_hash=self.manifest.hash,
            consents_digest=self.consents.digest,
        )

    def reprove(self) -> ChannelProof:
        """Ask for a new proof on this connection and return it.

        Raises:
            TwoCvmError: The guest did not prove itself again; nothing may be released any more.
        """
        proof = self._connection.reprove()
        self.see(proof)
        return proof

    def refresh(self) -> None:
        """Ask for a new proof if the last one is older than `MAX_PROOF_AGE_SECONDS`."""
        if self._connection.proof_age_seconds > MAX_PROOF_AGE_SECONDS:
            self.reprove()
