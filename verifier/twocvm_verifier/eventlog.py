"""The guest's event log: a hash chain whose head and length stand in every evidence (`docs/spec/log.md`).

It is the run-time measurement register that SNP has not got. The guest appends (`EventLog`); everybody else reads what
the guest serves (`parse_log`) and has it justified (`verify_log`) by the heads that its reports showed:

1. the events lead, from this REPORT_ID, through every head that was seen;
2. they tell a story that an honest guest can have had, in an order that one table holds;
3. there is one lock, of the manifest and the consents that the reader knows.

Whether it is too late for something, and whose goes the roster holds, is asked of the `VerifiedLog` afterwards.

>>> log = EventLog(report_id=bytes(32))
>>> log.append(platform_event(platform="simulated", missing=("seccomp",))).events
1
>>> parse_log(log.encode()) == log.events
True
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from . import framing, strictjson
from .binding import LogPosition
from .errors import LogProofError, MalformedError, ReleaseError
from .logevents import (
    MAX_EVENTS,
    Event,
    EventType,
    Outcome,
    admitted_event,
    end_event,
    events_from_json,
    events_to_json,
    go_digest,
    go_event,
    lock_event,
    platform_event,
    roster_event,
    run_event,
    withdraw_event,
)

__all__ = [
    "MAX_EVENTS",
    "MAX_LOG_BYTES",
    "Event",
    "EventLog",
    "EventType",
    "Outcome",
    "VerifiedLog",
    "admitted_event",
    "end_event",
    "events_from_json",
    "events_to_json",
    "go_digest",
    "go_event",
    "lock_event",
    "parse_log",
    "platform_event",
    "replay",
    "roster_event",
    "run_event",
    "verify_log",
    "withdraw_event",
]

MAX_LOG_BYTES: Final = 4 * 1024 * 1024

# Which events an honest guest can append after which; nothing follows the end.
_SIDE_EXITS: Final = frozenset({EventType.WITHDRAW, EventType.END})
_NEXT: Final[Mapping[EventType, frozenset[EventType]]] = MappingProxyType(
    {
        EventType.PLATFORM: frozenset({EventType.LOCK}),
        EventType.LOCK: frozenset({EventType.GO}) | _SIDE_EXITS,
        EventType.GO: frozenset({EventType.GO, EventType.ROSTER}) | _SIDE_EXITS,
        EventType.ROSTER: frozenset({EventType.ADMITTED}) | _SIDE_EXITS,
        EventType.ADMITTED: frozenset({EventType.ADMITTED, EventType.RUN}) | _SIDE_EXITS,
        EventType.RUN: frozenset({EventType.END}),
        EventType.WITHDRAW: frozenset({EventType.END}),
        EventType.END: frozenset(),
    }
)
_STARTED: Final = frozenset({EventType.RUN, EventType.WITHDRAW, EventType.END})


class EventLog:
    """The guest's own log. One caller at a time appends; `position` may be read meanwhile.

    Args:
        report_id: REPORT_ID of this launch (32 bytes).
    """

    def __init__(self, *, report_id: bytes) -> None:
        self._position = LogPosition(head=framing.log_start(report_id), events=0)
        self._events: list[Event] = []

    @property
    def position(self) -> LogPosition:
        """Where the log stands, for the claims of the next evidence."""
        return self._position

    @property
    def events(self) -> tuple[Event, ...]:
        """All events so far."""
        return tuple(self._events)

    def append(self, event: Event) -> LogPosition:
        """Add `event` and return where the log stands then.

        Raises:
            RuntimeError: The log is full, which no manifest of a legal size can bring about.
        """
        seq = len(self._events)
        if seq >= MAX_EVENTS:
            raise RuntimeError("the event log is full")
        head = _next_head(self._position.head, event, seq)
        self._events.append(event)
        self._position = LogPosition(head=head, events=seq + 1)
        return self._position

    def encode(self) -> bytes:
        """Return the log as `GET /v1/log` answers it."""
        return strictjson.canonical({"events": events_to_json(self.events)})


def replay(events: tuple[Event, ...], *, report_id: bytes) -> tuple[bytes, ...]:
    """Return the heads over 0, 1, ... all of `events`, from REPORT_ID (one more than there are events)."""
    heads = [framing.log_start(report_id)]
    for seq, event in enumerate(events):
        heads.append(_next_head(heads[-1], event, seq))
    return tuple(heads)


def parse_log(raw: bytes) -> tuple[Event, ...]:
    """Return the events of an answer to `GET /v1/log`, not yet believed.

    Raises:
        MalformedError: Not canonical JSON of `docs/spec/log.md`, section 2.
    """
    value = strictjson.parse_canonical(raw, document="log", max_bytes=MAX_LOG_BYTES)
    if not isinstance(value, Mapping) or value.keys() != {"events"}:
        raise MalformedError("log", "", "not an object of `events` alone")
    return events_from_json(value["events"])


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedLog:
    """A log that leads through the heads of its guest's own evidence. Made only by `verify_log`.

    Attributes:
        events: All of them, `platform` and `lock` first.
        position: Where the log that was served ends.
        goes: For each participant whose go was taken, its `go_digest`.
        roster: The roster's digest; None as long as it is not complete.
        outcome: How the session ended; None as long as it has not.
    """

    events: tuple[Event, ...]
    position: LogPosition
    goes: Mapping[str, bytes]
    roster: bytes | None
    outcome: Outcome | None

    @property
    def admitted(self) -> frozenset[str]:
        """The names of the items that were taken."""
        return frozenset(event.members["name"] for event in self.events if event.type is EventType.ADMITTED)

    @property
    def lacking(self) -> tuple[str, ...]:
        """The parts of the workers' isolation that the guest's machine cannot give, by name; empty where none is."""
        return tuple(self.events[0].members["missing"].split())

    def require_not_started(self) -> None:
        """Refuse to join or release after the run, a withdrawal or the end.

        Raises:
            ReleaseError: One of those is in the log.
        """
        for event in self.events:
            if event.type in _STARTED:
                raise ReleaseError("LOG_STARTED", f"log: got a {event.type} event, want none before this step")

    def require_roster(self, *, digest: bytes, goes: Mapping[str, bytes]) -> None:
        """Refuse a log whose roster is not the one that was verified.

        Args:
            digest: `framing.roster_digest` of the goes.
            goes: Every participant's `go_digest`.

        Raises:
            LogProofError: The roster is absent or another, or a go is missing, foreign or another.
        """
        self.require_goes(goes)
        if self.roster != digest:
            got = "none" if self.roster is None else self.roster.hex()
            raise LogProofError("LOG_ROSTER_MISMATCH", f"roster: got {got}, want {digest.hex()}")

    def require_goes(self, goes: Mapping[str, bytes]) -> None:
        """Refuse a log whose go events are not exactly `goes` (participant to `go_digest`).

        Raises:
            LogProofError: One is missing, foreign or another.
        """
        differing = sorted(name for name in self.goes.keys() | goes.keys() if self.goes.get(name) != goes.get(name))
        if differing:
            raise LogProofError("LOG_ROSTER_MISMATCH", f"log: the goes of {differing} are not those that were verified")


def verify_log(
    events: tuple[Event, ...],
    *,
    report_id: bytes,
    seen: tuple[LogPosition, ...],
    manifest_hash: bytes,
    consents_digest: bytes,
) -> VerifiedLog:
    """Verify that a log justifies the heads of its guest's evidence.

    Args:
        events: As parsed.
        report_id: REPORT_ID of the verified reports (32 bytes).
        seen: Every position that evidence with this REPORT_ID and this manifest has shown, at least one.
        manifest_hash: Of the reader's own manifest (32 bytes).
        consents_digest: SHA-256 of the JCS of the consents that the guest serves and the reader has verified.

    Raises:
        LogProofError: A head is not a prefix, the order is not an honest guest's, or the lock is another.

    Spec: docs/spec/log.md, section 4.
    """
    if not seen:
        raise ValueError("seen: a log is judged by at least one head")
    heads = replay(events, report_id=report_id)
    for position in seen:
        _require_prefix(position, heads)
    _require_order(events)
    lock = lock_event(manifest_hash=manifest_hash, consents_digest=consents_digest)
    if events[1:2] != (lock,):
        got = dict(events[1].members) if len(events) > 1 else "none"
        raise LogProofError("LOG_LOCK_MISMATCH", f"lock: got {got}, want {dict(lock.members)}")
    by_type = {event.type: event for event in events}
    roster, end = by_type.get(EventType.ROSTER), by_type.get(EventType.END)
    goes = {e.members["participant"]: bytes.fromhex(e.members["sha256"]) for e in events if e.type is EventType.GO}
    return VerifiedLog(
        events=events,
        position=LogPosition(head=heads[-1], events=len(events)),
        goes=MappingProxyType(goes),
        roster=bytes.fromhex(roster.members["digest"]) if roster else None,
        outcome=Outcome(end.members["outcome"]) if end else None,
    )


def _require_prefix(position: LogPosition, heads: tuple[bytes, ...]) -> None:
    if position.events >= len(heads):
        got, want = len(heads) - 1, position.events
        raise LogProofError("LOG_HEAD_MISMATCH", f"log: got {got} events, want the {want} that evidence has shown")
    if heads[position.events] != position.head:
        raise LogProofError(
            "LOG_HEAD_MISMATCH", f"log: another head after {position.events} events than evidence has shown"
        )


def _require_order(events: tuple[Event, ...]) -> None:
    allowed = frozenset({EventType.PLATFORM})
    once: set[tuple[EventType, str]] = set()
    for seq, event in enumerate(events):
        if event.type not in allowed:
            raise LogProofError("LOG_ORDER", f"event {seq}: got {event.type}, want one of {sorted(allowed)}")
        allowed = _NEXT[event.type]
        subject = (event.type, event.members.get("participant", event.members.get("name", "")))
        if subject in once:
            raise LogProofError("LOG_ORDER", f"event {seq}: got {event.type} of {subject[1]} a second time")
        once.add(subject)
    _require_outcome(events)


def _require_outcome(events: tuple[Event, ...]) -> None:
    for before, event in itertools.pairwise(events):
        if event.type is not EventType.END:
            continue
        outcome = Outcome(event.members["outcome"])
        if (before.type is EventType.WITHDRAW) != (outcome is Outcome.WITHDRAWN):
            raise LogProofError("LOG_ORDER", f"end: got {outcome} after {before.type}")
        if outcome is Outcome.COMPLETED and before.type is not EventType.RUN:
            raise LogProofError("LOG_ORDER", f"end: got {outcome} after {before.type}, want it after run")


def _next_head(head: bytes, event: Event, seq: int) -> bytes:
    return framing.log_next(head, strictjson.canonical(event.to_json(seq)))
