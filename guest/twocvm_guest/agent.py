"""The Attestation Agent: what a launch is from its first moment, and the one step that locks it.

Before the lock a guest has a TLS key of its own, evidence without a manifest, and nothing else. The lock is one step:
everything is verified and made first (the manifest, every consent, a new key with its evidence, the workers), and any
failure up to there leaves the guest as it was; then, at once, the state changes, new connections are shown the new
identity, and every other connection is closed. Claims are made from a connection's own identity and never from a
mixture: a connection that lived through the lock is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Final, TypeAlias

from twocvm_verifier.binding import NOT_LOCKED, LogPosition
from twocvm_verifier.clock import Clock
from twocvm_verifier.errors import LockError, ReleaseError, TwoCvmError
from twocvm_verifier.eventlog import EventLog
from twocvm_verifier.evidence import Evidence
from twocvm_verifier.logevents import platform_event
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.receipt import Receipt, ReceiptBody

from .agreement import Agreement, parse_proposal, proposes, verify_proposal
from .attestation import Question, first_report, make_identity, signed_receipt
from .broker import AttestationBroker
from .locked import LockedGuest, Workers
from .platforms.attester import Attester
from .runtime.isolation import IsolationReport
from .session.machine import Input, State, step
from .session.session import Session, log_of_lock
from .tls import Connections, Limits, PeerConnection, ServerIdentity

StartWorkers: TypeAlias = Callable[[Manifest], Workers]
"""Makes the workers of a manifest; called once, at the lock."""


class AttestationAgent:
    """One launch of a guest. From any thread.

    Args:
        attester: The platform; used here alone, through one broker.
        isolation: What the workers are kept in; what is missing stands in the event log.
        start_workers: Makes the runtime for the manifest.
        clock: The guest's clocks, for housekeeping.
        limits: What connections may cost.

    Attributes:
        launch: What the platform says of this launch.
        connections: For the server that carries this agent's service.
    """

    def __init__(
        self,
        *,
        attester: Attester,
        isolation: IsolationReport,
        start_workers: StartWorkers,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._broker: Final = AttestationBroker(attester, log_of=self._log_of)
        self._start_workers: Final = start_workers
        self._clock: Final = clock
        self.launch: Final = self._broker.turn(first_report)
        missing = tuple(feature.name for feature in isolation.missing)
        self._platform: Final = platform_event(platform=attester.name, missing=missing)
        log = EventLog(report_id=self.launch.report_id)
        self._identity = self._new_identity(NOT_LOCKED, log.append(self._platform))
        self.connections: Final = Connections(self._identity, limits=limits)
        self._locked: LockedGuest | None = None
        self._unlocked_state = State.UNLOCKED
        # The first is held while a lock is prepared, so that only one is; the second for its one step.
        self._locking = threading.Lock()
        self._step = threading.Lock()

    @property
    def state(self) -> State:
        """Where the session is."""
        with self._step:
            return self._unlocked_state if self._locked is None else self._locked.state

    def lock(self, body: bytes, *, peer: PeerConnection) -> None:
        """Lock the guest to the manifest that `body` holds, or find that it is the one in force.

        Args:
            body: Manifest and consents, as `PUT /v1/manifest` takes them.
            peer: The connection it came over, which ends with the answer if this locks.

        Raises:
            LockError: BORN_LOCKED or LOCKED_ALREADY.
            TwoCvmError: As `parse_proposal` and `verify_proposal`.
        """
        with self._locking:
            if self._locked is not None:
                in_force = proposes(body, self._locked.manifest)
                step(self._locked.state, Input.RELOCK if in_force else Input.LOCK)
                return
            step(self.state, Input.LOCK)
            proposal = parse_proposal(body)
            if self.launch.host_data not in (NOT_LOCKED, proposal.manifest_hash):
                raise LockError("BORN_LOCKED", "manifest: is not the one of HOST_DATA")
            guest = self._prepare(verify_proposal(proposal))
            with self._step:
                self._require_current(peer.identity)
                self.connections.swap(guest.identity, keep=peer, participants=guest.tls_keys)
                self._identity, self._locked = guest.identity, guest

    def attest(self, *, peer: PeerConnection, nonce: bytes, exported: bytes) -> Future[Evidence]:
        """Return what will be the evidence for one connection; see `AttestationBroker.evidence`.

        Args:
            peer: The connection. Where the guest was locked since it was made, the error is CONNECTION_RETIRED.
            nonce: The relying party's 32 bytes.
            exported: The connection's exporter value for that nonce (32 bytes).
        """
        return self._broker.evidence(identity=peer.identity, question=Question(nonce=nonce, exported=exported))

    def locked(self, peer: PeerConnection) -> LockedGuest:
        """Return the guest under its manifest, for a connection that was made to it.

        Raises:
            ReleaseError: NOT_LOCKED or CONNECTION_RETIRED.
        """
        with self._step:
            if self._locked is None:
                raise ReleaseError("NOT_LOCKED", "session: the guest has no manifest")
            self._require_current(peer.identity)
            return self._locked

    @property
    def broken(self) -> TwoCvmError | None:
        """Why there will never be another report in this launch, once there will be none: it has to end."""
        return self._broker.broken

    def knows(self, peer: PeerConnection) -> bool:
        """Return whether a connection has shown a TLS key of the manifest; nobody is known before the lock."""
        return self.connections.knows(peer)

    def stop(self) -> None:
        """Make no more reports; whoever waits for one is told that it was cancelled."""
        self._broker.stop()

    def advance(self) -> State:
        """Let time pass, and return where the session is then."""
        guest = self._locked
        if guest is not None:
            guest.advance(monotonic_seconds=self._clock.monotonic_seconds(), at=self._clock.now())
        return self.state

    def halt(self) -> None:
        """End everything now: items, workers and outputs are gone when this returns."""
        with self._locking:
            if self._locked is not None:
                self._locked.halt()
            with self._step:
                self._unlocked_state = step(self._unlocked_state, Input.HALT)

    def _prepare(self, agreement: Agreement) -> LockedGuest:
        report_id, manifest = self.launch.report_id, agreement.manifest
        log = log_of_lock(report_id=report_id, platform=self._platform, manifest=manifest, consents=agreement.consents)
        identity = self._new_identity(manifest.hash, log.position)
        session = Session(
            manifest=manifest,
            report_id=report_id,
            guest_spki_sha256=identity.spki_sha256,
            log=log,
            locked_seconds=self._clock.monotonic_seconds(),
        )
        return LockedGuest(
            session=session,
            identity=identity,
            workers=self._start_workers(manifest),
            sign=partial(self._sign, identity),
            agreement=agreement.raw,
        )

    def _new_identity(self, manifest: bytes, log: LogPosition) -> ServerIdentity:
        return self._broker.turn(partial(make_identity, manifest=manifest, log=log))

    def _sign(self, identity: ServerIdentity, body: ReceiptBody) -> Receipt:
        return self._broker.turn(partial(signed_receipt, identity=identity, body=body))

    def _log_of(self, identity: ServerIdentity) -> LogPosition:
        with self._step:
            self._require_current(identity)
            # Of the identity's own log before the lock; after it, of the log as it has grown.
            return identity.log if self._locked is None else self._locked.log_position

    def _require_current(self, identity: ServerIdentity) -> None:
        if identity is not self._identity:
            raise ReleaseError("CONNECTION_RETIRED", "connection: was made before the lock")
