"""A participant's side of one session, from a proven guest to outputs and a receipt.

`Participant.connect` returns only after the guest has proven itself on this very connection, serves the manifest that
this participant holds, and has shown a valid consent of everybody and an honest log. Nothing is released before the
further rules of `release` hold, and nothing is taken but what a verified receipt promises (`receipts`, `outputs`).
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from twocvm_verifier.appraisal import Verifier
from twocvm_verifier.clock import Clock, SystemClock
from twocvm_verifier.errors import FetchError, ReleaseError
from twocvm_verifier.eventlog import Outcome, VerifiedLog
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.roster import Roster
from twocvm_verifier.policy import Policy
from twocvm_verifier.ratls.proof import CertificateProof, ChannelProof, Expectation
from twocvm_verifier.snp.revocation import PREFER, CrlUse
from twocvm_verifier.snp.roots import Roots

from .cards import session_card
from .closing import Closing
from .connection import AttestedConnection
from .identity import Identity
from .instance import Instance
from .items import Progress
from .ledger import Ledger
from .notices import CodeNotice, Notify, code_notice, log_notice
from .outputs import Output
from .receipts import SessionReceipt
from .release import Releaser, silent
from .resuming import Patience
from .trust import expect
from .watch import Watch, Watching
from .withdrawing import Withdrawer

_NONE: Final[Mapping[str, bytes]] = MappingProxyType({})


class Participant:
    """The door to a session."""

    @staticmethod
    def connect(
        url: str,
        *,
        manifest: Manifest,
        policy: Policy,
        identity: Identity,
        roots: Roots | None = None,
        crls: CrlUse = PREFER,
        verifier: Verifier | None = None,
        clock: Clock | None = None,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        watching: Watching = Watching(),  # noqa: B008 - frozen
    ) -> Session:
        """Connect to the locked guest at `url`, and return once it is proven.

        Args:
            url: `https://HOST:PORT`.
            manifest: This participant's own copy.
            policy: What every report is held to, beside the manifest's `platform`.
            identity: This participant's keys.
            roots: Trust anchors; AMD's where none are given.
            crls: Whether revocation is asked about.
            verifier: Who judges instead of this machine, which then has no `roots` and `crls` to give.
            clock: The machine's own where none is given.
            patience: How long a connection that is lost later is tried to be replaced.
            watching: How often fresh proofs are asked for from the go on, and what happens when one fails.

        Raises:
            ValueError: `url` is no guest's, or simulated roots with a manifest that does not allow them.
            ReleaseError: NOT_A_PARTICIPANT.
            TwoCvmError: The guest is not locked, not proven, or not what the manifest says; nothing was released.
        """
        identity.require_entry(manifest)
        clock = clock or SystemClock()
        expectation = expect(manifest, policy=policy, roots=roots, crls=crls, verifier=verifier, unlocked_ok=False)

        def dial() -> AttestedConnection:
            return AttestedConnection.open(
                url, expectation=expectation, identity=identity.tls, clock=clock, randomness=secrets.token_bytes
            )

        connection = dial()
        try:
            instance = Instance(connection, dial=dial, manifest=manifest, patience=patience)
            instance.verify()
        except BaseException:
            connection.close()
            raise
        ledger = Ledger(folder=identity.ledger_folder, manifest_hash=manifest.hash, participant=identity.name)
        withdrawer = Withdrawer(identity=identity, history=instance.history, ledger=ledger, clock=clock)
        watch = Watch(dial=dial, history=instance.history, rule=watching, clock=clock, withdrawer=withdrawer)
        releaser = Releaser(instance=instance, identity=identity, clock=clock, ledger=ledger, watch=watch)
        return Session(releaser, withdrawer=withdrawer, expectation=expectation)


class Session(Closing):
    """One participant's side of a session. Made only by `Participant.connect`.

    Outlives its connection: whatever is lost is gone on with, on a new connection to the same instance, which is
    verified in full. From the go on the guest is asked for fresh proofs beside it (`watch`). Not for use by several
    threads at once. As a context manager it ends both at the end.

    Args:
        releaser: Takes the steps, on a proven instance.
        withdrawer: Takes them back.
        expectation: What every report is held to.

    Attributes:
        identity: This participant's keys.
        manifest: The one in force.
        instance: The guest.
    """

    def __init__(self, releaser: Releaser, *, withdrawer: Withdrawer, expectation: Expectation) -> None:
        self.instance: Final = releaser.instance
        self.identity: Final = releaser.identity
        self.manifest: Final = releaser.instance.manifest
        self._releaser: Final = releaser
        self._withdrawer: Final = withdrawer
        self._expectation: Final = expectation
        self._clock: Final = releaser.clock
        self._watch: Final = releaser.watch
        self._receipt: SessionReceipt | None = None

    @property
    def proof(self) -> ChannelProof:
        """The guest's latest proof; its `appraisal` says what was judged, and how."""
        return self.instance.proof

    @property
    def certificate(self) -> CertificateProof:
        """What the guest's certificate proved in the handshake."""
        return self.instance.certificate

    @property
    def notice(self) -> CodeNotice | None:
        """What this participant has to know before its components leave; None where there is nothing to know."""
        return code_notice(self.manifest, self.identity.name)

    def _repr_html_(self) -> str:
        # What notebooks ask for.
        return session_card(
            guest=self.instance.guest.connection.base_url,
            participant=self.identity.name,
            manifest=self.manifest,
            proof=self.proof,
            notice="" if self.notice is None else self.notice.text,
        )

    def committed(self) -> Mapping[str, Path] | None:
        """Return the files that this participant's go for this guest commits to, by name; None without a go."""
        go = self._releaser.ledger.standing(self.instance.report_id, again=True)
        return None if go is None else go.paths

    def log(self) -> VerifiedLog:
        """Return the guest's event log, verified."""
        return self.instance.persist(self.instance.log)

    def status(self) -> str:
        """Return the session's state, as the guest says it."""
        return self.instance.persist(self.instance.state)

    def failures(self) -> Mapping[str, str]:
        """Return the code of each node that failed and that only this participant's data could reach, by node.

        Of every other node nobody is told more than that the session failed.
        """
        return self.instance.persist(self.instance.failures)

    def join(
        self,
        items: Mapping[str, Path],
        *,
        again: bool = False,
        salts: Mapping[str, bytes] = _NONE,
        notify: Notify = log_notice,
    ) -> None:
        """Commit to all of this participant's items and sign the go for this guest; nothing is released yet.

        Args:
            items: Every data item and component that this participant owns, by name; `{}` for none.
            again: Say True only to mean a second run: an earlier go for this manifest may have run with your data.
            salts: For items whose commitment is in the manifest, the salt that it was made with (32 bytes).
            notify: Told of `notice`, if there is one, before anything is signed.

        Raises:
            ValueError: `items` is not exactly this participant's.
            ReleaseError: GO_ALREADY_GIVEN, GO_WITHDRAWN, OUTSIDE_VALIDITY, LOG_STARTED, ITEM_CHANGED, ...
            TwoCvmError: The guest, its log or its proof did not hold.
        """
        self._tell(notify)
        self._releaser.join(items, salts=salts, again=again)

    def release(
        self,
        items: Mapping[str, Path],
        *,
        again: bool = False,
        salts: Mapping[str, bytes] = _NONE,
        held: Collection[str] = (),
        wait_seconds: float | None = None,
        progress: Progress = silent,
        notify: Notify = log_notice,
    ) -> Roster:
        """Join, wait until everybody has, and send all of this participant's items.

        After a failure the same call, in this process or another, goes on where it stopped.

        Args:
            items: As `join`.
            again: As `join`.
            salts: As `join`.
            held: Names of items that the machine itself brought (its payload), which are named and not sent.
            wait_seconds: How long to wait for the others; the manifest's deadline where nothing is said.
            progress: Told while items are sent.
            notify: As `join`.

        Returns:
            Everybody's go, as verified.

        Raises:
            ValueError: As `join`.
            FetchError: ROSTER_WAIT_ENDED, or the connection was lost.
            TwoCvmError: As `join`; nothing leaves unless every rule of `release` holds.
        """
        self._tell(notify)
        return self._releaser.release(
            items, salts=salts, held=held, again=again, wait_seconds=self._wait(wait_seconds), progress=progress
        )

    def withdraw(self) -> None:
        """Withdraw from the session, for good; it is in the ledger before the guest hears of it.

        Raises:
            ReleaseError: TOO_LATE once the run has begun; GUEST_REPLACED where the go was given to another instance,
                which has not heard of this. The ledger has it all the same.
        """
        others = self._withdrawer.note_meant()
        self.instance.persist(lambda: self._withdrawer.send(self.instance.guest))
        if others:
            meant = ", ".join(report_id.hex()[:16] for report_id in others)
            raise ReleaseError("GUEST_REPLACED", f"guest: was withdrawn from, but the go was for instance {meant}")

    def wait(self, *, wait_seconds: float | None = None) -> Outcome:
        """Wait for the session to end, and return how, by its verified log; nothing is fetched yet.

        Args:
            wait_seconds: How long to wait; the manifest's deadline where nothing is said.

        Raises:
            FetchError: SESSION_GOES_ON: it has not ended; GUEST_SILENT.
            HandshakeError: A fresh proof failed.
        """
        seconds = self._wait(wait_seconds)
        for log in self._releaser.waiting.logs(wait_seconds=seconds):
            if log.outcome is not None:
                self._watch.stop()
                return log.outcome
            if self.identity.name in log.goes:
                self._watch.start()
        raise FetchError("SESSION_GOES_ON", f"session: has not ended in {seconds:.0f} s")

    def receipt(self, *, wait_seconds: float | None = None) -> SessionReceipt:
        """Wait for the session to end, and return this participant's receipt, verified.

        Args:
            wait_seconds: As `wait`.

        Raises:
            FetchError, HandshakeError: As `wait`.
            TwoCvmError: The receipt is not this participant's, of this instance and run, or not authentic.
        """
        if self._receipt is None:
            self.wait(wait_seconds=wait_seconds)
            self._receipt = self.instance.persist(
                lambda: SessionReceipt.fetch(
                    self.instance, participant=self.identity.name, expectation=self._expectation, clock=self._clock
                )
            )
        return self._receipt

    def output(self, name: str, *, wait_seconds: float | None = None) -> Output:
        """Wait for the session to end, verify the receipt, and return one of this participant's outputs.

        Args:
            name: The output's name in the manifest.
            wait_seconds: As `receipt`.

        Raises:
            KeyError: The manifest has no such output for this participant.
            ReleaseError: SESSION_ENDED: the session ended without outputs.
            TwoCvmError: As `receipt`.
        """
        if name not in {output.name for output in self.manifest.outputs_of(self.identity.name)}:
            raise KeyError(f"{name}: no output of {self.identity.name!r} in this manifest")
        body = self.receipt(wait_seconds=wait_seconds).body
        for promised in body.outputs:
            if promised.name == name:
                return Output(promised=promised, instance=self.instance)
        raise ReleaseError("SESSION_ENDED", f"output {name!r}: the session ended as {body.outcome}, without outputs")

    def ack(self, name: str) -> None:
        """Tell the guest that an output has arrived for good, so that it can wipe early."""
        self.instance.persist(lambda: self.instance.guest.acknowledge(name))

    def close(self) -> None:
        """End the watch and the connection; the session in the guest goes on without them."""
        self._watch.stop()
        self.instance.close()

    def _wait(self, seconds: float | None) -> float:
        return float(self.manifest.rules.deadline_seconds) if seconds is None else seconds

    def _tell(self, notify: Notify) -> None:
        if (notice := self.notice) is not None:
            notify(notice)
