"""A CoMID: its reference triples, and in words what else it names.

Spec: docs/spec/corim.md, 2; draft-ietf-rats-corim, 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from twocvm_verifier import strictcbor
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.strictcbor import TaggedCbor

from .envelope import DOCUMENT, MAX_CORIM_BYTES

# draft-ietf-rats-corim, 5.1: keys of the map. Language, identity and entities describe, and demand nothing.
_DESCRIBING: Final = frozenset({0, 1, 2})
_TRIPLES: Final = 4
_REFERENCE_TRIPLES: Final = 0
_MKEY, _MVAL = 0, 1
MAX_RECORDS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One reference triple: what must be found together.

    Attributes:
        environment: Of what.
        measurements: The value of each number.
        unread: What else it names, in words.
    """

    environment: Mapping[int | str, TaggedCbor] = field(repr=False)
    measurements: Mapping[int, Mapping[int | str, TaggedCbor]] = field(repr=False)
    unread: tuple[str, ...]


def parse_comid(raw: bytes) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Return the reference triples of a CoMID, and what else it names.

    Raises:
        MalformedError: It is none.
    """
    members = _map(strictcbor.parse_tagged(raw, document=DOCUMENT, max_bytes=MAX_CORIM_BYTES), "comid")
    unread = [f"a CoMID has a member {key!r}" for key in members if key not in _DESCRIBING | {_TRIPLES}]
    triples = _map(members.get(_TRIPLES), "triples")
    unread += [f"a CoMID has triples of kind {key!r}" for key in triples if key != _REFERENCE_TRIPLES]
    found = triples.get(_REFERENCE_TRIPLES, [])
    if not isinstance(found, list) or len(found) > MAX_RECORDS:
        raise MalformedError(DOCUMENT, "triples", f"want an array of at most {MAX_RECORDS}")
    return tuple(map(_record, found)), tuple(unread)


def _record(value: TaggedCbor) -> Record:
    match value:
        case [dict() as environment, list() as measurements]:
            pass
        case _:
            raise MalformedError(DOCUMENT, "triples", "want an environment and its measurements")
    values: dict[int, Mapping[int | str, TaggedCbor]] = {}
    unread: list[str] = []
    for each in measurements:
        members = _map(each, "measurements")
        unread += [f"a measurement has a member {key!r}" for key in members if key not in (_MKEY, _MVAL)]
        mkey, mval = members.get(_MKEY), _map(members.get(_MVAL), "measurements")
        if mkey is None:
            unread.append("a measurement has no key")
        elif isinstance(mkey, bool) or not isinstance(mkey, int) or mkey < 0:
            unread.append("a measurement's key is no number")
        elif mkey in values:
            raise MalformedError(DOCUMENT, f"mkey {mkey}", "stands twice in one triple")
        else:
            values[mkey] = mval
    return Record(environment=environment, measurements=values, unread=tuple(unread))


def records_of(comids: Sequence[bytes]) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Return the reference triples of all CoMIDs; else as `parse_comid`."""
    records: list[Record] = []
    unread: list[str] = []
    for raw in comids:
        found, left = parse_comid(raw)
        records += found
        unread += left
    return tuple(records), tuple(unread)


def _map(value: TaggedCbor | None, where: str) -> Mapping[int | str, TaggedCbor]:
    if not isinstance(value, Mapping):
        raise MalformedError(DOCUMENT, where, "want a map")
    return value
