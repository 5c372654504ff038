"""The event log: its chain, its form, and what a reader refuses."""

from __future__ import annotations

import hashlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twocvm_verifier import eventlog
from twocvm_verifier.binding import LogPosition, cert_claims
from twocvm_verifier.errors import LogProofError, MalformedError, ReleaseError
from twocvm_verifier.eventlog import Event, EventLog, EventType, Outcome, VerifiedLog
from twocvm_verifier.strictjson import canonical

REPORT_ID, MANIFEST, CONSENTS, ROSTER = (bytes([fill]) * 32 for fill in (1, 2, 3, 4))
GOES = {"clinic-a": bytes([5]) * 32, "clinic-b": bytes([6]) * 32}

PLATFORM = eventlog.platform_event(platform="simulated", missing=("seccomp", "user-namespace"))
LOCK = eventlog.lock_event(manifest_hash=MANIFEST, consents_digest=CONSENTS)
GO_A, GO_B = (eventlog.go_event(participant=name, sha256=digest) for name, digest in GOES.items())
ROSTER_EVENT = eventlog.roster_event(digest=ROSTER)
ADMITTED = eventlog.admitted_event(name="records-a")
RUN = eventlog.run_event()
WITHDRAW = eventlog.withdraw_event(participant="clinic-b")
COMPLETED, FAILED, WITHDRAWN, EXPIRED = (eventlog.end_event(outcome=outcome) for outcome in Outcome)
WHOLE = (PLATFORM, LOCK, GO_A, GO_B, ROSTER_EVENT, ADMITTED, RUN, COMPLETED)

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
HASHES = st.binary(min_size=32, max_size=32)
EVENTS = st.one_of(
    st.builds(
        eventlog.platform_event,
        platform=NAMES,
        missing=st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True), max_size=24).map(tuple),
    ),
    st.builds(eventlog.lock_event, manifest_hash=HASHES, consents_digest=HASHES),
    st.builds(eventlog.go_event, participant=NAMES, sha256=HASHES),
    st.builds(eventlog.roster_event, digest=HASHES),
    st.builds(eventlog.admitted_event, name=NAMES),
    st.just(RUN),
    st.builds(eventlog.withdraw_event, participant=NAMES),
    st.builds(eventlog.end_event, outcome=st.sampled_from(Outcome)),
)


def _log(*events: Event, report_id: bytes = REPORT_ID) -> EventLog:
    log = EventLog(report_id=report_id)
    for event in events:
        log.append(event)
    return log


def _verify(*events: Event, seen: tuple[LogPosition, ...] = (), **changed: bytes) -> VerifiedLog:
    """Verify `events` against the head over all of them, or against `seen`."""
    known = {"report_id": REPORT_ID, "manifest_hash": MANIFEST, "consents_digest": CONSENTS} | changed
    return eventlog.verify_log(events, seen=seen or (_log(*events).position,), **known)


def _refused(*events: Event, seen: tuple[LogPosition, ...] = (), **changed: bytes) -> str:
    with pytest.raises(LogProofError) as caught:
        _verify(*events, seen=seen, **changed)
    return caught.value.code


@given(st.lists(EVENTS, max_size=8))
def test_a_log_is_read_as_it_was_written(events: list[Event]) -> None:
    """Any events survive the way through the answer, and the position counts them."""
    log = _log(*events)
    assert eventlog.parse_log(log.encode()) == tuple(events) == log.events
    assert log.position.events == len(events)


@given(st.binary(max_size=200) | st.sampled_from([b'{"events":[]}', _log(*WHOLE).encode()]))
def test_any_bytes_give_events_or_malformed(raw: bytes) -> None:
    """Reading is total, and a log has one spelling."""
    try:
        events = eventlog.parse_log(raw)
    except MalformedError:
        return
    assert canonical({"events": eventlog.events_to_json(events)}) == raw


JSON_VALUES = st.recursive(
    st.text(max_size=20) | st.integers() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["seq", "type", "name", "digest", "outcome"]), inner)
    ),
)


@given(JSON_VALUES)
def test_any_json_gives_events_or_malformed(value: eventlog.Json) -> None:
    """A JSON value of whatever shape is a log or malformed, never another error."""
    try:
        events = eventlog.events_from_json(value)
    except MalformedError:
        return
    assert eventlog.events_to_json(events) == value


@given(st.lists(EVENTS, max_size=6), st.data())
def test_no_prefix_of_a_log_has_the_head_of_another(events: list[Event], data: st.DataObject) -> None:
    """Every prefix has a head of its own, and so has a log in which one event was changed."""
    heads = eventlog.replay(tuple(events), report_id=REPORT_ID)
    assert len(set(heads)) == len(events) + 1
    if events:
        changed = list(events)
        place = data.draw(st.integers(0, len(events) - 1))
        changed[place] = data.draw(EVENTS.filter(lambda event: event != events[place]))
        assert eventlog.replay(tuple(changed), report_id=REPORT_ID)[place + 1 :] != heads[place + 1 :]


def test_the_chain_is_the_one_of_the_specification() -> None:
    """Heads recomputed with nothing but SHA-256 and JSON are those of the log."""
    head = hashlib.sha256(b"2cvm.log.v1\x00" + REPORT_ID).digest()
    assert EventLog(report_id=REPORT_ID).position == LogPosition(head=head, events=0)
    for event in json.loads(_log(*WHOLE).encode())["events"]:
        jcs = json.dumps(event, sort_keys=True, separators=(",", ":")).encode()
        head = hashlib.sha256(b"2cvm.log.v1\x00" + head + jcs).digest()
    assert _log(*WHOLE).position == LogPosition(head=head, events=len(WHOLE))


def test_starts_of_one_launch_part_at_the_first_go() -> None:
    """Two starts under one REPORT_ID share heads until a go, which names the key of one; their claims share nothing."""
    goes = [{"report_id": REPORT_ID.hex(), "guest_spki_sha256": key.hex()} for key in (MANIFEST, ROSTER)]
    logs = [_log(PLATFORM, LOCK, eventlog.go_event(participant="a", sha256=eventlog.go_digest(go))) for go in goes]
    one, other = (eventlog.replay(log.events, report_id=REPORT_ID) for log in logs)
    assert [mine == theirs for mine, theirs in zip(one, other, strict=True)] == [True, True, True, False]
    shared = LogPosition(head=one[0], events=0)
    claims = {cert_claims(spki_sha256=key, manifest=MANIFEST, log=shared).encode() for key in (MANIFEST, ROSTER)}
    assert len(claims) == 2


def test_the_events_are_those_of_the_specification() -> None:
    """Each event has exactly its members, `seq` from 0, `type`, and no time."""
    assert json.loads(_log(*WHOLE[:-1], WITHDRAW, COMPLETED).encode())["events"] == [
        {"seq": 0, "type": "platform", "platform": "simulated", "missing": "seccomp user-namespace"},
        {"seq": 1, "type": "lock", "manifest": "02" * 32, "consents": "03" * 32},
        {"seq": 2, "type": "go", "participant": "clinic-a", "sha256": "05" * 32},
        {"seq": 3, "type": "go", "participant": "clinic-b", "sha256": "06" * 32},
        {"seq": 4, "type": "roster", "digest": "04" * 32},
        {"seq": 5, "type": "admitted", "name": "records-a"},
        {"seq": 6, "type": "run"},
        {"seq": 7, "type": "withdraw", "participant": "clinic-b"},
        {"seq": 8, "type": "end", "outcome": "completed"},
    ]


GOOD = {"seq": 0, "type": "admitted", "name": "records-a"}
MALFORMED = {
    "not JSON": b"x",
    "not an object": b"[]",
    "further member": canonical({"events": [], "more": 1}),
    "no events": b"{}",
    "events no array": canonical({"events": {}}),
    "not canonical": b'{"events": []}',
    "trailing byte": b'{"events":[]}\n',
    "event no object": canonical({"events": ["run"]}),
    "seq from one": canonical({"events": [GOOD | {"seq": 1}]}),
    "seq a string": canonical({"events": [GOOD | {"seq": "0"}]}),
    "seq false": canonical({"events": [GOOD | {"seq": False}]}),
    "no seq": canonical({"events": [{"type": "run"}]}),
    "seq twice": canonical({"events": [GOOD, GOOD]}),
    "no type": canonical({"events": [{"seq": 0}]}),
    "unknown type": canonical({"events": [{"seq": 0, "type": "unlock"}]}),
    "further member of an event": canonical({"events": [GOOD | {"at": "2026-01-01T00:00:00Z"}]}),
    "missing member of an event": canonical({"events": [{"seq": 0, "type": "admitted"}]}),
    "member no string": canonical({"events": [GOOD | {"name": 7}]}),
    "name no name": canonical({"events": [GOOD | {"name": "../a"}]}),
    "name with a new line": b'{"events":[{"name":"a\\n","seq":0,"type":"admitted"}]}',
    "hash in capitals": canonical({"events": [{"seq": 0, "type": "roster", "digest": "AB" * 32}]}),
    "hash short": canonical({"events": [{"seq": 0, "type": "roster", "digest": "ab" * 31}]}),
    "unknown outcome": canonical({"events": [{"seq": 0, "type": "end", "outcome": "successful"}]}),
    "outcome twice": canonical({"events": [{"seq": 0, "type": "end", "outcome": "failedfailed"}]}),
    "too many events": canonical({"events": [{"seq": seq, "type": "run"} for seq in range(32769)]}),
    "too long": b'{"events":[]}' + b" " * eventlog.MAX_LOG_BYTES,
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_log_is_malformed(raw: bytes) -> None:
    """Whatever is not the one spelling of a log is refused with one code."""
    with pytest.raises(MalformedError) as caught:
        eventlog.parse_log(raw)
    assert caught.value.code == "MALFORMED_LOG"


def test_the_log_of_a_whole_session_says_what_happened() -> None:
    """A verified log has its goes, roster, outcome and end, whichever of its heads were seen."""
    heads = tuple(_log(*WHOLE[:count]).position for count in range(len(WHOLE) + 1))
    log = _verify(*WHOLE, seen=heads)
    assert log.position == heads[-1]
    assert (log.goes, log.roster, log.outcome) == (GOES, ROSTER, Outcome.COMPLETED)
    log.require_roster(digest=ROSTER, goes=GOES)


def test_the_log_of_a_young_session_says_what_has_not_happened() -> None:
    """Before the roster there is none, and before the end no outcome."""
    log = _verify(PLATFORM, LOCK, GO_A)
    assert (log.goes, log.roster, log.outcome) == ({"clinic-a": GOES["clinic-a"]}, None, None)
    log.require_not_started()


@pytest.mark.parametrize(
    "last", [(RUN,), (WITHDRAW,), (RUN, FAILED), (RUN, COMPLETED), (WITHDRAW, WITHDRAWN), (EXPIRED,)]
)
def test_it_is_too_late_after_a_run_a_withdrawal_or_the_end(last: tuple[Event, ...]) -> None:
    """A log with any of those refuses to join or release, as a wrong state."""
    with pytest.raises(ReleaseError) as caught:
        _verify(*WHOLE[:6], *last).require_not_started()
    assert (caught.value.code, caught.value.exit_status) == ("LOG_STARTED", 50)


def test_a_truncated_log_is_refused() -> None:
    """A log shorter than evidence has shown does not justify it."""
    assert _refused(*WHOLE[:5], seen=(_log(*WHOLE[:6]).position,)) == "LOG_HEAD_MISMATCH"


def test_a_forked_log_is_refused() -> None:
    """A log that parts from a head that was seen is refused, although its own head was seen too."""
    other = (*WHOLE[:3], WITHDRAW, WITHDRAWN)
    seen = (_log(*WHOLE[:4]).position, _log(*other).position)
    assert _refused(*other, seen=seen) == "LOG_HEAD_MISMATCH"


def test_a_foreign_log_is_refused() -> None:
    """The log of another launch does not lead to heads of this one."""
    position = _log(*WHOLE, report_id=bytes(32)).position
    assert _refused(*WHOLE, seen=(position,)) == "LOG_HEAD_MISMATCH"
    assert _refused(*WHOLE, report_id=bytes(32)) == "LOG_HEAD_MISMATCH"


def test_a_count_that_lies_is_refused() -> None:
    """The right head under another number of events is refused."""
    head = _log(*WHOLE).position.head
    for events in (0, 7, 9, 2**64 - 1):
        assert _refused(*WHOLE, seen=(LogPosition(head=head, events=events),)) == "LOG_HEAD_MISMATCH"


def test_a_log_is_never_verified_against_nothing() -> None:
    """Without a head that was seen there is nothing to verify, which is our own mistake."""
    with pytest.raises(ValueError, match="seen"):
        eventlog.verify_log(WHOLE, report_id=REPORT_ID, seen=(), manifest_hash=MANIFEST, consents_digest=CONSENTS)


def test_a_log_locked_to_something_else_is_refused() -> None:
    """The lock is of the reader's manifest and of the consents that were served, and it is there."""
    assert _refused(*WHOLE, manifest_hash=bytes(32)) == "LOG_LOCK_MISMATCH"
    assert _refused(*WHOLE, consents_digest=bytes(32)) == "LOG_LOCK_MISMATCH"
    assert _refused(PLATFORM) == "LOG_LOCK_MISMATCH"


DISHONEST = {
    "nothing at all before the lock": (LOCK,),
    "two starts": (PLATFORM, PLATFORM, LOCK),
    "second lock": (PLATFORM, LOCK, LOCK),
    "go before the lock": (PLATFORM, GO_A, LOCK),
    "item before the roster": (PLATFORM, LOCK, GO_A, ADMITTED),
    "go after the roster": (PLATFORM, LOCK, GO_A, ROSTER_EVENT, GO_B),
    "second go": (PLATFORM, LOCK, GO_A, GO_A),
    "second go with another digest": (
        PLATFORM,
        LOCK,
        GO_A,
        eventlog.go_event(participant="clinic-a", sha256=bytes(32)),
    ),
    "second roster": (PLATFORM, LOCK, GO_A, ROSTER_EVENT, ROSTER_EVENT),
    "roster of nobody": (PLATFORM, LOCK, ROSTER_EVENT),
    "item twice": (*WHOLE[:6], ADMITTED),
    "run before anything was admitted": (*WHOLE[:5], RUN),
    "second run": (*WHOLE[:7], RUN),
    "withdrawal after the run": (*WHOLE[:7], WITHDRAW),
    "item after the run": (*WHOLE[:7], eventlog.admitted_event(name="late")),
    "something after the end": (*WHOLE, FAILED),
    "run after the withdrawal": (*WHOLE[:6], WITHDRAW, RUN),
    "completed without a run": (*WHOLE[:6], COMPLETED),
    "withdrawn without a withdrawal": (*WHOLE[:6], WITHDRAWN),
    "withdrawn after the run": (*WHOLE[:7], WITHDRAWN),
    "completed after a withdrawal": (*WHOLE[:6], WITHDRAW, COMPLETED),
    "failed after a withdrawal": (*WHOLE[:6], WITHDRAW, FAILED),
}


@pytest.mark.parametrize("events", DISHONEST.values(), ids=DISHONEST)
def test_a_story_that_cannot_have_been_is_refused(events: tuple[Event, ...]) -> None:
    """A log whose heads all fit is refused where no honest guest can have had that life."""
    assert _refused(*events) == "LOG_ORDER"


def test_every_honest_ending_is_accepted() -> None:
    """Each outcome can follow what leads to it, from every state in which it may."""
    for count in range(2, 7):
        for ending in ((EXPIRED,), (FAILED,), (WITHDRAW, WITHDRAWN)):
            assert _verify(*WHOLE[:count], *ending).outcome is Outcome(ending[-1].members["outcome"])
    for ending in (COMPLETED, FAILED, EXPIRED):
        assert _verify(*WHOLE[:7], ending).outcome is Outcome(ending.members["outcome"])


@pytest.mark.parametrize(
    ("digest", "goes"),
    [
        (bytes(32), GOES),
        (ROSTER, GOES | {"clinic-b": bytes(32)}),
        (ROSTER, GOES | {"clinic-c": bytes(32)}),
        (ROSTER, {"clinic-a": GOES["clinic-a"]}),
        (ROSTER, {}),
    ],
)
def test_a_roster_of_other_goes_is_refused(digest: bytes, goes: dict[str, bytes]) -> None:
    """Another digest, another go, one more or one less is refused."""
    with pytest.raises(LogProofError) as caught:
        _verify(*WHOLE).require_roster(digest=digest, goes=goes)
    assert caught.value.code == "LOG_ROSTER_MISMATCH"


def test_a_roster_that_is_not_there_is_refused() -> None:
    """All goes without the roster event are no roster."""
    with pytest.raises(LogProofError) as caught:
        _verify(PLATFORM, LOCK, GO_A, GO_B).require_roster(digest=ROSTER, goes=GOES)
    assert caught.value.code == "LOG_ROSTER_MISMATCH"


@pytest.mark.parametrize(
    ("event_type", "members"),
    [
        (EventType.RUN, {"name": "x"}),
        (EventType.ADMITTED, {}),
        (EventType.ADMITTED, {"name": ""}),
        (EventType.ROSTER, {"digest": "00"}),
        (EventType.PLATFORM, {"platform": "simulated", "missing": "two  spaces"}),
        (EventType.PLATFORM, {"platform": "simulated", "missing": " ".join(["a"] * 25)}),
    ],
)
def test_an_event_of_our_own_is_right_or_a_mistake(event_type: EventType, members: dict[str, str]) -> None:
    """An event with other members or values than its type has cannot be made."""
    with pytest.raises(ValueError, match=event_type):
        Event(type=event_type, members=members)


def test_missing_isolation_is_listed_once_and_sorted() -> None:
    """The start event names what is missing in one order, whatever order it was found in."""
    event = eventlog.platform_event(platform="snp", missing=("b", "a", "b"))
    assert event.members["missing"] == "a b"
    assert eventlog.platform_event(platform="snp", missing=()).members["missing"] == ""


def test_no_event_is_longer_than_the_page_says() -> None:
    """The longest event that its members allow stays below 2048 bytes."""
    names = tuple(f"{number:x}".rjust(63, "a") for number in range(24))
    longest = eventlog.platform_event(platform="a" * 63, missing=names)
    assert 1500 < len(canonical(longest.to_json(eventlog.MAX_EVENTS))) <= 2048


def test_what_was_admitted_is_in_the_log() -> None:
    """A verified log names the items that were taken."""
    assert _verify(*WHOLE).admitted == {"records-a"}
    assert _verify(*WHOLE[:4]).admitted == set()


def test_a_full_log_takes_no_more() -> None:
    """The log is as long as it may be read, and the next event is our own mistake."""
    log = EventLog(report_id=REPORT_ID)
    for event in itertools.repeat(RUN, eventlog.MAX_EVENTS):
        log.append(event)
    with pytest.raises(RuntimeError, match="full"):
        log.append(RUN)
    assert len(eventlog.parse_log(log.encode())) == eventlog.MAX_EVENTS


def test_a_go_is_logged_by_the_digest_of_what_was_signed() -> None:
    """The digest is SHA-256 of the JCS of the signed object."""
    assert eventlog.go_digest({"b": 1, "a": "x"}) == hashlib.sha256(b'{"a":"x","b":1}').digest()
