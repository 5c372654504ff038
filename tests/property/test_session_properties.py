"""The session under any order of events: whatever happens, its log is honest, its way is one, and its promises hold."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule
from tests.support.manifests import AT, REPORT_ID, World
from tests.support.session_core import DEADLINE_SECONDS, component_offer, consents, data_offer, locked, sealed

from twocvm_guest.session.dues import RECEIPT_SECONDS
from twocvm_guest.session.machine import ENDED, State
from twocvm_guest.session.session import Session
from twocvm_verifier.errors import ReleaseError
from twocvm_verifier.eventlog import verify_log
from twocvm_verifier.logevents import EventType

WORLD = World(participants=3, items=2, components=1)
GOES = {name: WORLD.go(name) for name in WORLD.names}
WITHDRAWALS = {name: WORLD.withdraw(name) for name in WORLD.names}
ITEMS = {item.name: (data_offer(WORLD, item.name), item.owner) for item in WORLD.manifest.data}
ITEMS |= {part.name: (component_offer(WORLD, part.name), part.owner) for part in WORLD.manifest.components}
SEALED = sealed(WORLD)
# Where a session may go from each state, over any number of steps.
ORDER = [State.LOCKED, State.COLLECTING, State.RUNNING, State.FILTERING, State.COMPLETED]
# Where a word of the workers may come about: while there is a run, and late, where the session ended without it.
RUN_OR_AFTER = {State.RUNNING, State.FILTERING, State.EXPIRED, State.FAILED}

seldom = st.sampled_from([False] * 5 + [True])
names = st.sampled_from(WORLD.names)
items = st.sampled_from(sorted(ITEMS))
outputs = st.sampled_from(sorted(SEALED))


class AnyOrder(RuleBasedStateMachine):
    """Everything that participants, workers and time can do to a session, in any order."""

    arriving = Bundle("arriving")

    def __init__(self) -> None:
        super().__init__()
        self.session: Session = locked(WORLD)
        self.seconds = 0.0
        self.at: datetime = AT
        self.seen = [self.session.log.position]
        self.way = [self.session.state]
        self.kept = True
        self.withdrawn = False

    @rule(name=names)
    def join(self, name: str) -> None:
        """Give a go."""
        self._try(lambda: self.session.join(GOES[name], caller=name))

    @rule(name=names, really=seldom)
    def withdraw(self, name: str, *, really: bool) -> None:
        """Withdraw, now and then; it is taken exactly where the run is not decided."""
        if not really:
            return
        undecided = self.session.state in {State.LOCKED, State.COLLECTING, State.WITHDRAWN}
        assert self._try(lambda: self.session.withdraw(WITHDRAWALS[name], caller=name)) == undecided
        self.withdrawn = self.withdrawn or undecided

    @rule(target=arriving, item=items, caller=names)
    def begin_item(self, item: str, caller: str) -> str:
        """Begin an upload; only its owner can."""
        offer, owner = ITEMS[item]
        begun = self._try(lambda: self.session.begin_item(offer, caller=caller))
        assert not begun or caller == owner
        assert not begun or self.session.roster_complete
        return item if begun else ""

    @rule(item=arriving, breaks=st.booleans())
    def end_item(self, item: str, *, breaks: bool) -> None:
        """End an upload, whole or not."""
        if item and not breaks:
            # An upload that was ended before cannot be admitted: RuntimeError.
            with suppress(RuntimeError):
                self._try(lambda: self.session.admit_item(item))
        if item:
            self.session.abandon_item(item)

    @rule()
    def join_all(self) -> None:
        """Have everybody join, as sessions mostly begin."""
        for name in WORLD.names:
            self.join(name)

    @rule()
    def release_all(self) -> None:
        """Have everything released, as sessions mostly go on."""
        for item, (_, owner) in ITEMS.items():
            self.end_item(self.begin_item(item, owner), breaks=False)

    @precondition(lambda self: self.session.state in RUN_OR_AFTER)
    @rule()
    def nodes_end(self) -> None:
        """Have the workers report that every node ended well."""
        moved = self.session.state is State.RUNNING
        if self.session.state is not State.FILTERING:
            assert self.session.ran() == moved

    @precondition(lambda self: self.session.state in RUN_OR_AFTER - {State.RUNNING})
    @rule()
    def outputs_pass(self) -> None:
        """Have every output pass its filters."""
        moved = self.session.state is State.FILTERING
        assert self.session.complete(SEALED) == moved

    @precondition(lambda self: self.session.state in RUN_OR_AFTER)
    @rule(really=seldom)
    def node_fails(self, *, really: bool) -> None:
        """Have a node fail, now and then."""
        if really:
            self.session.fail()

    @rule(name=names, output=outputs)
    def fetch(self, name: str, output: str) -> None:
        """Ask for an output; it is given exactly when completed, kept, and the caller's own."""
        given = self._try(lambda: self.session.output(output, caller=name))
        own = name in WORLD.manifest.output(output).recipients
        assert given == (own and self.session.state is State.COMPLETED and self.session.keeps_data)

    @rule(name=names, output=outputs)
    def acknowledge(self, name: str, output: str) -> None:
        """Acknowledge an output."""
        self._try(lambda: self.session.acknowledge(output, caller=name))

    @rule(name=names)
    def receipt(self, name: str) -> None:
        """Ask for a receipt; it is there exactly with an outcome."""
        assert self._try(lambda: self.session.receipt_body(name)) == (self.session.state in ENDED)
        if self.session.state in ENDED:
            self.session.receipt_sent(name)

    @rule(seconds=st.sampled_from([0.0, 1.0, RECEIPT_SECONDS / 2, DEADLINE_SECONDS / 2]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds
        self.at += timedelta(seconds=seconds)
        self.session.advance(monotonic_seconds=self.seconds, at=self.at)

    @invariant()
    def log_is_honest(self) -> None:
        """Every head that was ever seen is a prefix of a log that an honest guest can have had."""
        if self.session.log.position != self.seen[-1]:
            self.seen.append(self.session.log.position)
        verify_log(
            self.session.log.events,
            report_id=REPORT_ID,
            seen=tuple(self.seen),
            manifest_hash=WORLD.manifest.hash,
            consents_digest=consents(WORLD).digest,
        )

    @invariant()
    def way_is_one(self) -> None:
        """No state comes twice, and there is no run after a withdrawal."""
        state = self.session.state
        if state is not self.way[-1]:
            assert state not in self.way
            self.way.append(state)
        main = [ORDER.index(state) for state in self.way if state in ORDER]
        assert main == sorted(main)
        assert not (self.withdrawn and State.RUNNING in self.way)
        assert [event.type for event in self.session.log.events].count(EventType.RUN) <= 1

    @invariant()
    def what_is_gone_stays_gone(self) -> None:
        """Data is kept while the session needs it, and never again afterwards."""
        assert self.kept or not self.session.keeps_data
        self.kept = self.session.keeps_data
        if self.session.state in ENDED - {State.COMPLETED} | {State.WIPED}:
            assert not self.kept

    def _try(self, call: object) -> bool:
        try:
            call()  # type: ignore[operator]
        except ReleaseError:
            return False
        return True


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
