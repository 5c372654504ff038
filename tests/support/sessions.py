"""A session on paper: what a guest and its participants would have produced, without any of them running.

session = PaperSession(World(measurement=MEASUREMENT))
session.file("analytics")                    # the ReceiptFile that this participant keeps
session.file("analytics", outcome=...)       # of a session that ended otherwise
session.judge(file)                          # as its owner would: VerifiedReceipt or a refusal
"""

from __future__ import annotations

from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.manifests import AT, World
from tests.support.simulated import launch, lenient_policy, verifier_of

from twocvm_guest.platforms.simulated import SimulatedPlatform
from twocvm_verifier import Policy, eventlog, framing
from twocvm_verifier.binding import Claims
from twocvm_verifier.eventlog import Event, EventLog, Outcome, go_digest
from twocvm_verifier.evidence import Evidence
from twocvm_verifier.manifest.roster import Roster, verify_consents, verify_roster
from twocvm_verifier.manifest.statements import Statement
from twocvm_verifier.receipt import Receipt, ReceiptBody, SealedOutput, build_receipt
from twocvm_verifier.receipt_file import ReceiptFile, VerifiedReceipt, verify_receipt

OUTPUTS = {
    name: SealedOutput(sha256=framing.sha256(name.encode()), size_bytes=len(name)) for name in ("model", "evaluation")
}


class PaperSession:
    """One guest and the session it has had.

    Args:
        world: Participants, keys and manifest.
        platform: What the guest stands on; by default a new launch, born locked to the manifest.
        outcome: How the session ended. Without a roster where it was withdrawn from or expired.
    """

    def __init__(
        self, world: World, *, platform: SimulatedPlatform | None = None, outcome: Outcome = Outcome.COMPLETED
    ) -> None:
        self.world = world
        self.outcome = outcome
        self.platform = platform or launch(
            host_data=world.manifest.hash, measurement=world.manifest.platform.measurements[0]
        )
        self.report_id = self.platform.report(bytes(64))[0x140:0x160]
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.spki_der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.spki_sha256 = framing.sha256(self.spki_der)
        self.consents = world.consents()
        self.goes = self._goes()
        self.log = self._log()

    @property
    def has_roster(self) -> bool:
        """Whether the session got as far as its roster."""
        return self.outcome in (Outcome.COMPLETED, Outcome.FAILED)

    @property
    def roster(self) -> Roster:
        """The verified roster."""
        return verify_roster(
            self.goes, manifest=self.world.manifest, report_id=self.report_id, guest_spki_sha256=self.spki_sha256
        )

    def body(self, participant: str) -> ReceiptBody:
        """Return what this participant's receipt states."""
        return ReceiptBody.of_session(
            self.world.manifest,
            participant=participant,
            report_id=self.report_id,
            guest_spki_sha256=self.spki_sha256,
            roster=self.roster.digest if self.has_roster else None,
            commitments={name: self.world.commitments(name) for name in self.world.names},
            sealed=OUTPUTS,
            outcome=self.outcome,
            log=self.log.position,
        )

    def receipt(self, body: ReceiptBody) -> Receipt:
        """Return the receipt that states `body`, with a report of its own."""
        envelope = build_receipt(body, key=self.key)
        return Receipt(envelope=envelope, evidence=self.evidence(body.claims(envelope.statement)))

    def evidence(self, claims: Claims) -> Evidence:
        """Return evidence for these claims."""
        return Evidence(
            report=self.platform.report(claims.report_data()),
            claims=claims.encode(),
            vek=self.platform.vek(),
            chain=self.platform.chain(),
        )

    def file(self, participant: str) -> ReceiptFile:
        """Return the file that this participant keeps."""
        return ReceiptFile(
            receipt=self.receipt(self.body(participant)),
            guest_spki_der=self.spki_der,
            manifest=self.world.manifest.raw,
            consents=self.consents,
            goes=self.goes,
            log=self.log.events,
            policy=lenient_policy().to_json(),
        )

    def judge(self, file: ReceiptFile, *, policy: Policy | None = None, at: datetime = AT) -> VerifiedReceipt:
        """Judge a file as a participant of this session would."""
        return verify_receipt(
            file,
            manifest=self.world.manifest,
            policy=policy or lenient_policy(),
            verifier=verifier_of(self.platform),
            at=at,
        )

    def _goes(self) -> tuple[Statement, ...]:
        goes = self.world.goes(report_id=self.report_id, guest_spki_sha256=self.spki_sha256)
        return goes if self.has_roster else goes[:1]

    def _log(self) -> EventLog:
        log = EventLog(report_id=self.report_id)
        for event in self._events():
            log.append(event)
        return log

    def _events(self) -> list[Event]:
        manifest = self.world.manifest
        events = [
            eventlog.platform_event(platform="simulated", missing=()),
            eventlog.lock_event(
                manifest_hash=manifest.hash, consents_digest=verify_consents(self.consents, manifest).digest
            ),
            *(eventlog.go_event(participant=go.body.participant, sha256=go_digest(go.object)) for go in self.goes),
        ]
        if self.has_roster:
            admitted = (*manifest.components, *manifest.data)
            events += [eventlog.roster_event(digest=self.roster.digest)]
            events += [eventlog.admitted_event(name=each.name) for each in admitted]
            events += [eventlog.run_event()]
        if self.outcome is Outcome.WITHDRAWN:
            events += [eventlog.withdraw_event(participant=self.world.names[-1])]
        return [*events, eventlog.end_event(outcome=self.outcome)]
