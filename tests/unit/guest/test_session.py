"""The session's transitions: what each takes, what it refuses, and what stands in the log afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.support.manifests import AT, NOT_AFTER, NOT_BEFORE, REPORT_ID, World
from tests.support.session_core import (
    DEADLINE_SECONDS,
    advance,
    collecting,
    completed,
    consents,
    data_offer,
    locked,
    offers,
    running,
    sealed,
)

from twocvm_guest.session.dues import RECEIPT_SECONDS
from twocvm_guest.session.machine import State
from twocvm_guest.session.session import Session
from twocvm_verifier.errors import BindingError, ReleaseError, SignatureError
from twocvm_verifier.eventlog import verify_log
from twocvm_verifier.logevents import EventType, Outcome

WORLD = World()
FIRST, OWNER_OF_CODE = "hospital-a", "analytics"


def code_of(call: Callable[[], object]) -> str:
    """Return the code with which a call is refused."""
    with pytest.raises(ReleaseError) as refused:
        call()
    return refused.value.code


def types(session: Session) -> list[EventType]:
    """Return the types of a session's events."""
    return [event.type for event in session.log.events]


def test_log_of_a_whole_session_verifies() -> None:
    """A whole session leaves a log that the SDK's rules accept, with every event once and the end last."""
    session = completed(WORLD)
    admitted = len(WORLD.manifest.data) + len(WORLD.manifest.components)
    assert types(session) == [
        EventType.PLATFORM,
        EventType.LOCK,
        *[EventType.GO] * len(WORLD.names),
        EventType.ROSTER,
        *[EventType.ADMITTED] * admitted,
        EventType.RUN,
        EventType.END,
    ]
    verified = verify_log(
        session.log.events,
        report_id=REPORT_ID,
        seen=(session.log.position,),
        manifest_hash=WORLD.manifest.hash,
        consents_digest=consents(WORLD).digest,
    )
    assert verified.outcome is Outcome.COMPLETED


def test_collecting_begins_with_the_last_go() -> None:
    """The state moves when the last participant joins, and not before."""
    session = locked(WORLD)
    for name in WORLD.names:
        assert session.state is State.LOCKED
        assert not session.roster_complete
        session.join(WORLD.go(name), caller=name)
    assert session.state is State.COLLECTING
    assert [go.body.participant for go in session.goes] == list(WORLD.names)


def test_go_of_another_is_refused() -> None:
    """A participant cannot hand in another's go, however genuine."""
    session = locked(WORLD)
    assert code_of(lambda: session.join(WORLD.go(FIRST), caller=OWNER_OF_CODE)) == "NOT_YOURS"
    assert session.goes == ()


def test_go_for_another_instance_is_refused() -> None:
    """A go for another REPORT_ID, or for another TLS key of the guest, opens nothing here."""
    session = locked(WORLD)
    for go in (WORLD.go(FIRST, report_id=bytes(32)), WORLD.go(FIRST, guest_spki_sha256=bytes(32))):
        with pytest.raises(BindingError):
            session.join(go, caller=FIRST)
    assert types(session) == [EventType.PLATFORM, EventType.LOCK]


def test_go_under_another_key_is_refused() -> None:
    """A go counts only under the consent key that the manifest has for its participant."""
    session = locked(WORLD)
    with pytest.raises((BindingError, SignatureError)):
        session.join(WORLD.go(FIRST, key=WORLD.party("hospital-b").consent_key), caller=FIRST)


def test_first_go_stands() -> None:
    """The same go again changes nothing, another go of the same participant is refused, and the first stays."""
    session = locked(WORLD)
    first = WORLD.go(FIRST)
    session.join(first, caller=FIRST)
    session.join(WORLD.go(FIRST), caller=FIRST)
    later = WORLD.go(FIRST, at=AT + timedelta(seconds=1))
    assert code_of(lambda: session.join(later, caller=FIRST)) == "GO_STANDS"
    assert session.goes == (first,)
    assert types(session).count(EventType.GO) == 1


def test_same_go_is_taken_in_every_later_state() -> None:
    """Who lost the answer to its go may ask again at any time; a participant that never joined cannot any more."""
    session = running(WORLD)
    session.join(WORLD.go(FIRST), caller=FIRST)
    later = WORLD.go(FIRST, at=AT + timedelta(seconds=1))
    assert code_of(lambda: session.join(later, caller=FIRST)) == "TOO_LATE"


@pytest.mark.parametrize("at", [NOT_BEFORE - timedelta(seconds=1), NOT_AFTER + timedelta(seconds=1)])
def test_go_outside_validity_is_refused(at: object) -> None:
    """A go that its own signer dates outside the manifest's validity is refused."""
    session = locked(WORLD)
    assert code_of(lambda: session.join(WORLD.go(FIRST, at=at), caller=FIRST)) == "GO_OUTSIDE_VALIDITY"  # type: ignore[arg-type]


def test_no_item_before_the_roster() -> None:
    """While a go is missing not even a participant that has joined may send anything."""
    session = locked(WORLD)
    session.join(WORLD.go(FIRST), caller=FIRST)
    assert code_of(lambda: session.begin_item(data_offer(WORLD, "records-a"), caller=FIRST)) == "ROSTER_INCOMPLETE"


def test_run_begins_with_the_last_item() -> None:
    """The run is decided by the last admission, once, and everything that comes then is too late."""
    session = collecting(WORLD)
    for offer, owner in offers(WORLD):
        assert session.state is State.COLLECTING
        session.begin_item(offer, caller=owner)
        session.admit_item(offer.name)
    assert session.state is State.RUNNING
    assert types(session)[-1] is EventType.RUN
    assert code_of(lambda: session.begin_item(data_offer(WORLD, "records-a"), caller=FIRST)) == "ITEM_ADMITTED"


def test_session_without_items_of_one_participant_runs() -> None:
    """A participant without items is waited for at the roster and not after it."""
    world = World(participants=3, items=1, components=1)
    session = running(world)
    assert session.state is State.RUNNING


def test_withdrawal_before_the_run_ends_the_session() -> None:
    """A withdrawal is taken while locked and while collecting, ends the session and stands in the log."""
    for session in (locked(WORLD), collecting(WORLD)):
        session.withdraw(WORLD.withdraw(FIRST), caller=FIRST)
        assert session.state is State.WITHDRAWN
        assert not session.keeps_data
        assert types(session)[-2:] == [EventType.WITHDRAW, EventType.END]
        assert session.receipt_body(OWNER_OF_CODE).outcome is Outcome.WITHDRAWN


def test_second_withdrawal_changes_nothing() -> None:
    """Whoever withdraws after another is told that the session is withdrawn, and the log does not grow."""
    session = locked(WORLD)
    session.withdraw(WORLD.withdraw(FIRST), caller=FIRST)
    before = session.log.position
    session.withdraw(WORLD.withdraw(OWNER_OF_CODE), caller=OWNER_OF_CODE)
    assert session.log.position == before


def test_withdrawal_after_the_decision_is_too_late() -> None:
    """Once the run is decided nobody can withdraw, and the run goes on."""
    for session in (running(WORLD), completed(WORLD)):
        state = session.state
        assert code_of(lambda session=session: session.withdraw(WORLD.withdraw(FIRST), caller=FIRST)) == "TOO_LATE"  # type: ignore[misc]
        assert session.state is state


def test_withdrawal_of_another_or_elsewhere_is_refused() -> None:
    """A withdrawal counts only from its own participant and for this instance."""
    session = locked(WORLD)
    assert code_of(lambda: session.withdraw(WORLD.withdraw(FIRST), caller=OWNER_OF_CODE)) == "NOT_YOURS"
    with pytest.raises(BindingError):
        session.withdraw(WORLD.withdraw(FIRST, report_id=bytes(32)), caller=FIRST)
    assert session.state is State.LOCKED


def test_item_that_arrives_after_a_withdrawal_is_not_admitted() -> None:
    """An item that was on its way when the session ended is refused at its end."""
    session = collecting(WORLD)
    session.begin_item(data_offer(WORLD, "records-a"), caller=FIRST)
    session.withdraw(WORLD.withdraw("hospital-b"), caller="hospital-b")
    assert code_of(lambda: session.admit_item("records-a")) == "SESSION_ENDED"


def test_outputs_are_served_only_when_completed() -> None:
    """Nothing can be read while the run or the filters go on."""
    session = running(WORLD)
    assert code_of(lambda: session.output("model", caller=OWNER_OF_CODE)) == "OUTPUTS_NOT_READY"
    session.ran()
    assert session.state is State.FILTERING
    assert code_of(lambda: session.output("model", caller=OWNER_OF_CODE)) == "OUTPUTS_NOT_READY"
    session.complete(sealed(WORLD))
    assert session.output("model", caller=OWNER_OF_CODE) == sealed(WORLD)["model"]


def test_outputs_are_only_for_their_recipients() -> None:
    """Another's output is refused as such, whatever the state, and a name that is none is unknown."""
    for session in (locked(WORLD), completed(WORLD)):
        assert code_of(lambda session=session: session.output("model", caller=FIRST)) == "NOT_YOURS"  # type: ignore[misc]
        assert code_of(lambda session=session: session.output("secret", caller=FIRST)) == "UNKNOWN_NAME"  # type: ignore[misc]
        assert code_of(lambda session=session: session.acknowledge("model", caller=FIRST)) == "NOT_YOURS"  # type: ignore[misc]


def test_incomplete_outputs_complete_nothing() -> None:
    """A session cannot be completed with fewer outputs than the manifest has."""
    session = running(WORLD)
    session.ran()
    with pytest.raises(ValueError, match="not exactly"):
        session.complete({"model": sealed(WORLD)["model"]})
    assert session.state is State.FILTERING


def test_outputs_go_when_all_have_acknowledged() -> None:
    """Outputs are kept until the last recipient has said that it has them; who has, may say so again."""
    session = completed(WORLD)
    session.acknowledge("model", caller=OWNER_OF_CODE)
    session.acknowledge("evaluation", caller=FIRST)
    assert session.keeps_data
    session.acknowledge("evaluation", caller="hospital-b")
    assert not session.keeps_data
    assert code_of(lambda: session.output("model", caller=OWNER_OF_CODE)) == "OUTPUT_WIPED"
    session.acknowledge("model", caller=OWNER_OF_CODE)


def test_outputs_go_at_the_deadline() -> None:
    """At the deadline a completed session stays completed and keeps nothing."""
    session = completed(WORLD)
    advance(session, DEADLINE_SECONDS)
    assert session.state is State.COMPLETED
    assert not session.keeps_data


@pytest.mark.parametrize("start", [locked, collecting, running])
def test_session_expires_at_the_deadline(start: Callable[[World], Session]) -> None:
    """Whatever is not completed at the deadline is expired, and says so in the log and in receipts."""
    session = start(WORLD)
    advance(session, DEADLINE_SECONDS - 1)
    assert session.keeps_data
    advance(session, DEADLINE_SECONDS)
    assert session.state is State.EXPIRED
    assert not session.keeps_data
    assert session.receipt_body(FIRST).outcome is Outcome.EXPIRED
    assert types(session)[-1] is EventType.END


def test_waiting_session_expires_with_its_manifest() -> None:
    """A session that waits for participants ends when the manifest is no longer valid; one that runs goes on."""
    waiting, busy = collecting(WORLD), running(WORLD)
    advance(waiting, 1.0, at=NOT_AFTER + timedelta(seconds=1))
    advance(busy, 1.0, at=NOT_AFTER + timedelta(seconds=1))
    assert (waiting.state, busy.state) == (State.EXPIRED, State.RUNNING)


def test_late_word_of_an_expired_run_changes_nothing() -> None:
    """What the workers report after the session expired is heard by nobody."""
    session = running(WORLD)
    advance(session, DEADLINE_SECONDS)
    position = session.log.position
    assert not session.ran()
    assert not session.complete(sealed(WORLD))
    session.fail()
    assert (session.state, session.log.position) == (State.EXPIRED, position)


def test_failed_run_has_a_receipt_for_everybody() -> None:
    """A failed run ends without outputs, and every participant's receipt says only that it failed."""
    session = running(WORLD)
    session.fail()
    assert session.state is State.FAILED
    for name in WORLD.names:
        body = session.receipt_body(name)
        assert (body.outcome, body.outputs, body.other_outputs) == (Outcome.FAILED, (), ())
        assert body.log == session.log.position


def test_receipt_tells_of_other_outputs_only_their_names() -> None:
    """A receipt has digest and size of its participant's own outputs, and of the others the names."""
    body = completed(WORLD).receipt_body(FIRST)
    assert [output.name for output in body.outputs] == ["evaluation"]
    assert body.other_outputs == ("model",)


@pytest.mark.parametrize("start", [locked, collecting, running])
def test_no_receipt_before_an_outcome(start: Callable[[World], Session]) -> None:
    """There is no receipt before there is something to state."""
    assert code_of(lambda: start(WORLD).receipt_body(FIRST)) == "RECEIPT_NOT_READY"


def test_guest_stays_until_everybody_has_its_receipt() -> None:
    """A session settles when its data is gone and every participant has its receipt."""
    session = running(WORLD)
    session.fail()
    for name in WORLD.names:
        advance(session, 1.0)
        assert session.state is State.FAILED
        session.receipt_sent(name)
    advance(session, 2.0)
    assert session.state is State.WIPED
    assert code_of(lambda: session.receipt_body(FIRST)) == "SESSION_ENDED"
    assert code_of(session.require_readable) == "SESSION_ENDED"


def test_receipts_do_not_settle_while_outputs_are_due() -> None:
    """Who has its receipt may still be reading its outputs: those are waited for first."""
    session = completed(WORLD)
    for name in WORLD.names:
        session.receipt_sent(name)
    advance(session, 1.0)
    assert session.state is State.COMPLETED
    assert session.keeps_data


def test_guest_does_not_wait_for_ever() -> None:
    """Ten minutes after its data is gone a session settles, whoever has not come."""
    session = collecting(WORLD)
    session.withdraw(WORLD.withdraw(FIRST), caller=FIRST)
    advance(session, 100.0)
    advance(session, 100.0 + RECEIPT_SECONDS - 1)
    assert session.state is State.WITHDRAWN
    advance(session, 100.0 + RECEIPT_SECONDS)
    assert session.state is State.WIPED


def test_halt_ends_everything_without_an_outcome() -> None:
    """A machine that is told to stop keeps nothing, and no event claims an outcome that there was not."""
    session, owing = running(WORLD), completed(WORLD)
    for halted in (session, owing):
        halted.halt()
        assert halted.state is State.WIPED
        assert not halted.keeps_data
    assert types(session)[-1] is EventType.RUN
