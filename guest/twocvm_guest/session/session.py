"""One session from its lock to its end: who joined, what arrived, what came out, who is still owed something.

Every method is one ordered transition: it checks, it moves the state by the table of `machine`, it appends the events
of `docs/spec/log.md`, and it either does all of that or nothing. There is no I/O, no clock and no thread here: time
comes as an argument, statements are verified here with the participants' keys, and items are only names and digests.
Whoever owns a `Session` serialises the calls and acts on what they leave behind: it starts the run once `state` is
RUNNING, and drops every item and output once `keeps_data` is false.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from twocvm_verifier import logevents
from twocvm_verifier.clock import format_time
from twocvm_verifier.errors import ReleaseError
from twocvm_verifier.eventlog import EventLog
from twocvm_verifier.logevents import Event, Outcome
from twocvm_verifier.manifest import Component, DataItem, Manifest
from twocvm_verifier.manifest.roster import Consents, Roster, verify_roster
from twocvm_verifier.manifest.statements import Statement, verify_go, verify_withdraw
from twocvm_verifier.receipt import ReceiptBody, SealedOutput

from .dues import Dues, require_recipient
from .intake import Intake, Offer, owned_item
from .machine import ENDED, Input, State, step

_OVER: Final = ENDED | {State.WIPED}


def log_of_lock(*, report_id: bytes, platform: Event, manifest: Manifest, consents: Consents) -> EventLog:
    """Return the event log as it is right after the lock, which the first evidence of the locked guest counts.

    Args:
        report_id: REPORT_ID of this launch (32 bytes).
        platform: The event of the start.
        manifest: What is locked.
        consents: One from each participant.
    """
    log = EventLog(report_id=report_id)
    log.append(platform)
    log.append(logevents.lock_event(manifest_hash=manifest.hash, consents_digest=consents.digest))
    return log


class Session:
    """A session that is locked to one manifest. Not thread-safe: the owner serialises.

    Args:
        manifest: What every participant consented to.
        report_id: REPORT_ID of this launch (32 bytes).
        guest_spki_sha256: Of the TLS key that was made for this lock (32 bytes).
        log: From `log_of_lock`; the session alone appends to it from now on.
        locked_seconds: The monotonic time of the lock; the deadline counts from it.
    """

    def __init__(
        self, *, manifest: Manifest, report_id: bytes, guest_spki_sha256: bytes, log: EventLog, locked_seconds: float
    ) -> None:
        self.manifest: Final = manifest
        self.report_id: Final = report_id
        self.guest_spki_sha256: Final = guest_spki_sha256
        self._state = step(State.UNLOCKED, Input.LOCK)
        self._log: Final = log
        self._locked_seconds: Final = locked_seconds
        self._goes: dict[str, Statement] = {}
        self._least_time = datetime.min.replace(tzinfo=UTC)
        self._roster: Roster | None = None
        self._intake: Intake | None = None
        self._outputs: Mapping[str, SealedOutput] = MappingProxyType({})
        self._dues: Final = Dues(manifest)

    @property
    def state(self) -> State:
        """Where the session is; all that anybody is told of a run."""
        return self._state

    @property
    def log(self) -> EventLog:
        """The event log, to be read."""
        return self._log

    @property
    def keeps_data(self) -> bool:
        """Whether items, workers or outputs are still needed. Once false, never true again, and they must be gone."""
        return self._state not in _OVER or (self._state is State.COMPLETED and self._dues.outputs_due)

    @property
    def goes(self) -> tuple[Statement, ...]:
        """The goes so far, sorted by participant; all of them once the roster is complete."""
        return tuple(self._goes[name] for name in sorted(self._goes))

    @property
    def roster_complete(self) -> bool:
        """Whether every participant has joined."""
        return self._roster is not None

    def require_readable(self) -> None:
        """Refuse to have the manifest, the roster or the log read when the guest is wiped.

        Raises:
            ReleaseError: SESSION_ENDED.
        """
        self._move(Input.READ)

    def join(self, statement: Statement, *, caller: str) -> None:
        """Take a participant's go. The first one stands; the same again changes nothing.

        Raises:
            ReleaseError: NOT_YOURS, GO_OUTSIDE_VALIDITY, GO_STANDS, TOO_LATE or SESSION_ENDED.
            TwoCvmError: It is not a go of this manifest, instance and key (`verify_go`).
        """
        go = verify_go(
            statement,
            manifest=self.manifest,
            report_id=self.report_id,
            guest_spki_sha256=self.guest_spki_sha256,
        )
        if go.participant != caller:
            raise ReleaseError("NOT_YOURS", f"go: got one of {go.participant!r} from {caller!r}")
        standing = self._goes.get(caller)
        if standing is not None and standing.object == statement.object:
            self._move(Input.READ)
            return
        self._move(Input.GO)
        if standing is not None:
            raise ReleaseError("GO_STANDS", f"go: {caller!r} has given another one")
        if not self.manifest.not_before <= go.at <= self.manifest.not_after:
            raise ReleaseError("GO_OUTSIDE_VALIDITY", f"go: is dated {format_time(go.at)}")
        self._goes[caller] = statement
        self._least_time = max(self._least_time, go.at)
        self._log.append(logevents.go_event(participant=caller, sha256=logevents.go_digest(statement.object)))
        if len(self._goes) == len(self.manifest.participants):
            self._complete_roster()

    def begin_item(self, offer: Offer, *, caller: str) -> DataItem | Component:
        """Take note that an item is on its way; this ends with `admit_item` or `abandon_item`.

        Raises:
            ReleaseError: As `owned_item`, the state (ROSTER_INCOMPLETE, ITEM_ADMITTED, SESSION_ENDED) and
                `Intake.begin`, in this order.
            MalformedError: As `Intake.begin`.
        """
        item = owned_item(self.manifest, offer.name, caller=caller)
        self._move(Input.ITEM)
        self._open_intake().begin(item, offer)
        return item

    def abandon_item(self, name: str) -> None:
        """Forget that an item was on its way. Nothing of it is left; it may be sent again."""
        if self._intake is not None:
            self._intake.abandon(name)

    def admit_item(self, name: str) -> None:
        """Count an item as admitted; the last one decides the run, and `state` is RUNNING.

        Raises:
            ReleaseError: SESSION_ENDED where the session ended while the item was on its way.
        """
        self._move(Input.ITEM)
        self._open_intake().admit(name)
        self._log.append(logevents.admitted_event(name=name))
        self._run_when_complete()

    def withdraw(self, statement: Statement, *, caller: str) -> None:
        """Take a participant's withdrawal, in one order with the start of the run. A second one changes nothing.

        Raises:
            ReleaseError: NOT_YOURS; TOO_LATE once the run is decided; SESSION_ENDED.
            TwoCvmError: It is not a withdrawal from this manifest and instance (`verify_withdraw`).
        """
        withdrawal = verify_withdraw(statement, manifest=self.manifest, report_id=self.report_id)
        if withdrawal.participant != caller:
            raise ReleaseError("NOT_YOURS", f"withdrawal: got one of {withdrawal.participant!r} from {caller!r}")
        if self._move(Input.WITHDRAW):
            self._log.append(logevents.withdraw_event(participant=caller))
            self._end()

    def ran(self) -> bool:
        """Note that every node ended well; false where the session ended meanwhile and nothing is to be filtered."""
        return self._move(Input.RAN)

    def complete(self, outputs: Mapping[str, SealedOutput]) -> bool:
        """Note that every output is sealed; false where the session ended meanwhile and the outputs must go.

        Raises:
            ValueError: `outputs` are not exactly the manifest's.
        """
        if outputs.keys() != {output.name for output in self.manifest.outputs}:
            raise ValueError("outputs: not exactly the manifest's")
        if not self._move(Input.SEALED):
            return False
        self._outputs = MappingProxyType(dict(outputs))
        self._dues.owe_outputs()
        self._end()
        return True

    def fail(self) -> None:
        """Note that the run failed; nothing where the session ended meanwhile."""
        if self._move(Input.FAIL):
            self._end()

    def halt(self) -> None:
        """Note that the machine is told to stop."""
        self._move(Input.HALT)

    def advance(self, *, monotonic_seconds: float, at: datetime) -> None:
        """Let time pass: the deadline, the end of the manifest's validity, the end of everything.

        Args:
            monotonic_seconds: On the clock of `locked_seconds`.
            at: The guest's time (aware, UTC). The host owns it, so only housekeeping rests on it; it is taken to be at
                least the latest time that a participant has signed.
        """
        waiting = self._state in (State.LOCKED, State.COLLECTING)
        overdue = monotonic_seconds - self._locked_seconds >= self.manifest.rules.deadline_seconds
        if overdue or (waiting and max(at, self._least_time) > self.manifest.not_after):
            self._dues.waive_outputs()
            if self._move(Input.DEADLINE):
                self._end()
        if self._state in ENDED and not self.keeps_data and self._dues.settled(monotonic_seconds):
            self._move(Input.SETTLE)

    def output(self, name: str, *, caller: str) -> SealedOutput:
        """Return what is known of an output that the caller receives.

        Raises:
            ReleaseError: UNKNOWN_NAME, NOT_YOURS, OUTPUTS_NOT_READY, SESSION_ENDED or OUTPUT_WIPED.
        """
        require_recipient(self.manifest, name, caller=caller)
        self._move(Input.OUTPUT)
        if not self.keeps_data:
            raise ReleaseError("OUTPUT_WIPED", f"output {name!r}: is gone")
        return self._outputs[name]

    def acknowledge(self, name: str, *, caller: str) -> None:
        """Note that a recipient has an output; the last acknowledgement of all ends the keeping of any.

        Raises:
            ReleaseError: UNKNOWN_NAME, NOT_YOURS, OUTPUTS_NOT_READY or SESSION_ENDED.
        """
        require_recipient(self.manifest, name, caller=caller)
        self._move(Input.OUTPUT)
        self._dues.acknowledge(name, caller)

    def receipt_body(self, participant: str) -> ReceiptBody:
        """Return what the receipt of `participant` states, whatever the outcome.

        Raises:
            ReleaseError: RECEIPT_NOT_READY before there is an outcome; SESSION_ENDED once the guest is wiped.
        """
        self._move(Input.RECEIPT)
        return ReceiptBody.of_session(
            self.manifest,
            participant=participant,
            report_id=self.report_id,
            guest_spki_sha256=self.guest_spki_sha256,
            roster=None if self._roster is None else self._roster.digest,
            commitments=self._commitments(),
            sealed=self._outputs,
            outcome=Outcome(self._state.value),
            log=self._log.position,
        )

    def receipt_sent(self, caller: str) -> None:
        """Note that a participant has its receipt."""
        self._dues.receipt_sent(caller)

    def _move(self, given: Input) -> bool:
        before = self._state
        self._state = step(before, given)
        return self._state is not before

    def _end(self) -> None:
        # The last event, so that every receipt carries the same head and count.
        self._log.append(logevents.end_event(outcome=Outcome(self._state.value)))

    def _complete_roster(self) -> None:
        self._roster = verify_roster(
            tuple(self._goes.values()),
            manifest=self.manifest,
            report_id=self.report_id,
            guest_spki_sha256=self.guest_spki_sha256,
        )
        commitments = {name: value for items in self._commitments().values() for name, value in items.items()}
        self._intake = Intake(self.manifest, commitments=commitments)
        self._move(Input.ROSTER)
        self._log.append(logevents.roster_event(digest=self._roster.digest))
        self._run_when_complete()

    def _commitments(self) -> dict[str, Mapping[str, bytes]]:
        if self._roster is None:
            return {}
        return {entry.name: self._roster.go_of(entry.name).items for entry in self.manifest.participants}

    def _run_when_complete(self) -> None:
        if self._open_intake().complete:
            self._move(Input.RUN)
            self._log.append(logevents.run_event())

    def _open_intake(self) -> Intake:
        if self._intake is None:
            raise RuntimeError("session: items before the roster")
        return self._intake
