"""The events of a guest's life, and their form in the log (`docs/spec/log.md`, section 2).

An event says what happened in names and digests, never when: the host owns the guest's clock. Its `seq` is its place
in the log and stands nowhere else inside this program.

>>> end_event(outcome=Outcome.FAILED).to_json(2)
{'seq': 2, 'type': 'end', 'outcome': 'failed'}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from . import framing, strictjson
from .errors import MalformedError
from .strictjson import Json

# A manifest of 1 MiB has fewer than 20,000 participants, components and data items together; each is one event.
MAX_EVENTS: Final = 32768


class EventType(StrEnum):
    """What can happen in a guest's life."""

    PLATFORM = "platform"
    LOCK = "lock"
    GO = "go"
    ROSTER = "roster"
    ADMITTED = "admitted"
    RUN = "run"
    WITHDRAW = "withdraw"
    END = "end"


class Outcome(StrEnum):
    """How a session ended; all that everybody learns of it."""

    COMPLETED = "completed"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)
_NAMES: Final = re.compile(r"([a-z][a-z0-9-]{0,62}( [a-z][a-z0-9-]{0,62}){0,23})?", re.ASCII)
_OUTCOME: Final = re.compile("|".join(Outcome))

_MEMBERS: Final[Mapping[EventType, Mapping[str, re.Pattern[str]]]] = MappingProxyType(
    {
        EventType.PLATFORM: {"platform": _NAME, "missing": _NAMES},
        EventType.LOCK: {"manifest": _HASH, "consents": _HASH},
        EventType.GO: {"participant": _NAME, "sha256": _HASH},
        EventType.ROSTER: {"digest": _HASH},
        EventType.ADMITTED: {"name": _NAME},
        EventType.RUN: {},
        EventType.WITHDRAW: {"participant": _NAME},
        EventType.END: {"outcome": _OUTCOME},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. Its `seq` is its place in the log and stands nowhere else.

    Attributes:
        type: What happened.
        members: What the type says of it, as in the log: names, hex digests, an outcome.
    """

    type: EventType
    members: Mapping[str, str]

    def __post_init__(self) -> None:
        patterns = _MEMBERS[self.type]
        if self.members.keys() != patterns.keys():
            raise ValueError(f"{self.type}: got members {sorted(self.members)!r}, want {sorted(patterns)}")
        for name, pattern in patterns.items():
            if not pattern.fullmatch(self.members[name]):
                raise ValueError(f"{self.type}.{name}: got {self.members[name]!r:.80}")
        object.__setattr__(self, "members", MappingProxyType(dict(self.members)))

    def to_json(self, seq: int) -> Json:
        """Return the event as the log holds it at place `seq` (from 0)."""
        return {"seq": seq, "type": self.type.value, **self.members}


def platform_event(*, platform: str, missing: tuple[str, ...]) -> Event:
    """Return the event of a start.

    Args:
        platform: `snp`, `azure` or `simulated`.
        missing: Names (`[a-z][a-z0-9-]{0,62}`) of the parts of the workers' isolation that this machine cannot give,
            at most 24.
    """
    return Event(type=EventType.PLATFORM, members={"platform": platform, "missing": " ".join(sorted(set(missing)))})


def lock_event(*, manifest_hash: bytes, consents_digest: bytes) -> Event:
    """Return the event of the lock, by the hashes of the manifest and of the consents as they travel."""
    return Event(type=EventType.LOCK, members={"manifest": manifest_hash.hex(), "consents": consents_digest.hex()})


def go_event(*, participant: str, sha256: bytes) -> Event:
    """Return the event of a participant's go; `sha256` is `go_digest` of the signed object."""
    return Event(type=EventType.GO, members={"participant": participant, "sha256": sha256.hex()})


def roster_event(*, digest: bytes) -> Event:
    """Return the event of the complete roster, by `framing.roster_digest`."""
    return Event(type=EventType.ROSTER, members={"digest": digest.hex()})


def admitted_event(*, name: str) -> Event:
    """Return the event of a data item or component that was taken."""
    return Event(type=EventType.ADMITTED, members={"name": name})


def run_event() -> Event:
    """Return the event of the one run."""
    return Event(type=EventType.RUN, members={})


def withdraw_event(*, participant: str) -> Event:
    """Return the event of a participant that withdrew."""
    return Event(type=EventType.WITHDRAW, members={"participant": participant})


def end_event(*, outcome: Outcome) -> Event:
    """Return the last event."""
    return Event(type=EventType.END, members={"outcome": outcome.value})


def go_digest(signed: Json) -> bytes:
    """Return the digest that a go event holds: SHA-256 of the JCS of the signed object, without key and signature."""
    return framing.sha256(strictjson.canonical(signed))


def events_to_json(events: tuple[Event, ...]) -> Json:
    """Return the array that a log holds."""
    return [event.to_json(seq) for seq, event in enumerate(events)]


def events_from_json(value: Json) -> tuple[Event, ...]:
    """Return the events that a JSON array writes, not yet believed.

    Raises:
        MalformedError: Not an array of `docs/spec/log.md`, section 2.
    """
    if not isinstance(value, list):
        raise MalformedError("log", "/events", "not an array")
    if len(value) > MAX_EVENTS:
        raise MalformedError("log", "/events", f"got {len(value)} events, want at most {MAX_EVENTS}")
    return tuple(_event(member, seq) for seq, member in enumerate(value))


def _event(value: Json, seq: int) -> Event:
    pointer = f"/events/{seq}"
    if not isinstance(value, Mapping):
        raise MalformedError("log", pointer, "not an object")
    members = dict(value)
    got = members.pop("seq", None)
    if got is True or got is False or got != seq:
        raise MalformedError("log", f"{pointer}/seq", f"not {seq}")
    texts = {name: member for name, member in members.items() if isinstance(member, str)}
    if len(texts) != len(members):
        raise MalformedError("log", pointer, "a member is not a string")
    try:
        return Event(type=EventType(texts.pop("type", "")), members=texts)
    except ValueError as error:
        raise MalformedError("log", pointer, str(error)) from error
