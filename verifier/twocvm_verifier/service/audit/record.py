"""The records of an audit log, and their form on disk: a line of canonical JSON each.

A record names the one before it by its digest. What a record tells is an `Entry`; its place is given to it when it is
written.

>>> first = Record(entry=begin_entry(log=bytes(32)), seq=0, previous=NOTHING_BEFORE, at="2026-01-02T03:04:05Z")
>>> parse_record(first.encode()) == first
True

Spec: docs/spec/audit.md, 1 and 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from twocvm_verifier import framing, strictjson
from twocvm_verifier.clock import parse_time
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.jsonfields import Fields

DOCUMENT: Final = "audit"
# A checkpoint that a key of RSA-16384 signed is the longest; a verdict has some 700 bytes.
MAX_RECORD_BYTES: Final = 8192
NOTHING_BEFORE: Final = bytes(framing.HASH_BYTES)


class Kind(StrEnum):
    """What a record tells."""

    BEGIN = "begin"
    VERDICT = "verdict"
    CHECKPOINT = "checkpoint"
    MENDED = "mended"


_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
_JWS: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_VERDICT: Final = re.compile("affirming|warning|contraindicated", re.ASCII)
_PURPOSE: Final = re.compile("release|rest", re.ASCII)

_REQUIRED: Final[Mapping[Kind, Mapping[str, re.Pattern[str]]]] = MappingProxyType(
    {
        Kind.BEGIN: {"log": _HASH},
        Kind.VERDICT: {
            "request_id": _WORD,
            "report": _HASH,
            "policy": _HASH,
            "verdict": _VERDICT,
            "purpose": _PURPOSE,
        },
        Kind.CHECKPOINT: {"jws": _JWS},
        Kind.MENDED: {"sha256": _HASH},
    }
)
_OPTIONAL: Final[Mapping[Kind, Mapping[str, re.Pattern[str]]]] = MappingProxyType(
    {Kind.VERDICT: {"manifest": _HASH, "code": _CODE, "jti": _WORD, "kid": _WORD}}
)
_EVERYWHERE: Final = frozenset({"kind", "seq", "previous", "at"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a record tells, before it has a place.

    Attributes:
        kind: Which members there are.
        members: Text each, as docs/spec/audit.md, 2 has them.
    """

    kind: Kind
    members: Mapping[str, str]

    def __post_init__(self) -> None:
        required, optional = _REQUIRED[self.kind], _OPTIONAL.get(self.kind, {})
        if not required.keys() <= self.members.keys() <= required.keys() | optional.keys():
            raise ValueError(f"{self.kind}: got members {sorted(self.members)!r:.200}")
        for name, text in self.members.items():
            if not {**required, **optional}[name].fullmatch(text):
                raise ValueError(f"{self.kind}.{name}: not of its form")
        object.__setattr__(self, "members", MappingProxyType(dict(self.members)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in a log: the last record of a beginning, and its digest, which vouches for all before it.

    Attributes:
        seq: The record's number, from 0.
        head: Its digest (32 bytes).
    """

    seq: int
    head: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record.

    Attributes:
        entry: What it tells.
        seq: Its number in the log, from 0, over all files.
        previous: The digest of the record before it (32 bytes; zeros for the first).
        at: When it was written: `YYYY-MM-DDTHH:MM:SSZ`, by the service's clock.
    """

    entry: Entry
    seq: int
    previous: bytes
    at: str

    def encode(self) -> bytes:
        """Return its line, without the line's end."""
        return strictjson.canonical(
            {
                **self.entry.members,
                "kind": self.entry.kind.value,
                "seq": self.seq,
                "previous": self.previous.hex(),
                "at": self.at,
            }
        )

    @property
    def position(self) -> Position:
        """The place that it makes."""
        return Position(seq=self.seq, head=framing.audit_digest(self.encode()))


def parse_record(line: bytes) -> Record:
    """Return the record that a line writes, not yet believed.

    Raises:
        MalformedError: Not canonical JSON of docs/spec/audit.md, 2.
    """
    value = strictjson.parse_canonical(line, document=DOCUMENT, max_bytes=MAX_RECORD_BYTES)
    kind = _kind(value)
    required, optional = _REQUIRED[kind].keys(), _OPTIONAL.get(kind, {}).keys()
    fields = Fields(value, document=DOCUMENT, pointer="", required=_EVERYWHERE | required, optional=optional)
    at = fields.text("at")
    try:
        parse_time(at)
        told = Entry(kind=kind, members={name: fields.text(name) for name in (*required, *optional) if name in fields})
    except ValueError as error:
        raise MalformedError(DOCUMENT, "", str(error)) from error
    return Record(
        entry=told,
        seq=fields.integer("seq", maximum=strictjson.MAX_INTEGER),
        previous=fields.hash("previous"),
        at=at,
    )


def begin_entry(*, log: bytes) -> Entry:
    """Return what the first record of each file tells: which log it is of (32 random bytes)."""
    return Entry(kind=Kind.BEGIN, members={"log": log.hex()})


def mended_entry(*, torn: bytes) -> Entry:
    """Return what tells of bytes before it that are no record, for the service ended while it wrote them."""
    return Entry(kind=Kind.MENDED, members={"sha256": framing.sha256(torn).hex()})


def _kind(value: strictjson.Json) -> Kind:
    try:
        return Kind(str(value["kind"])) if isinstance(value, Mapping) else Kind("")
    except (KeyError, ValueError) as error:
        raise MalformedError(DOCUMENT, "/kind", "no kind of record") from error
