"""Where two manifests differ, told by names instead of positions.

A set has no positions, so its members are known by what they are: by their name, a channel by its ends, anything else
by itself. What is told are the places of `docs/spec/manifest.md` with those in brackets.

>>> before = {"outputs": [{"name": "model", "max_bytes": 1}]}
>>> [str(found) for found in differences(before, {"outputs": [{"name": "model", "max_bytes": 2}]})]
['outputs[model].max_bytes: 1 -> 2']
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from twocvm_verifier.strictjson import Json, canonical

_IN_SCHEMA: Final = ".parameters.schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place where two manifests differ.

    Attributes:
        place: Such as `components[join].limits.memory_bytes`.
        before: JCS of what stands there in the first, or empty where nothing does.
        after: JCS of what stands there in the second, or empty where nothing does.
    """

    place: str
    before: str
    after: str

    def __str__(self) -> str:
        if not self.before:
            return f"{self.place}: added {self.after}"
        if not self.after:
            return f"{self.place}: removed {self.before}"
        return f"{self.place}: {self.before} -> {self.after}"


def differences(before: Json, after: Json) -> tuple[Difference, ...]:
    """Return every place where two manifests' JSON differs, sorted by place."""
    old, new = dict(_leaves(before, "")), dict(_leaves(after, ""))
    return tuple(
        Difference(place=place, before=old.get(place, ""), after=new.get(place, ""))
        for place in sorted(old.keys() | new.keys())
        if old.get(place) != new.get(place)
    )


def _leaves(value: Json, place: str) -> Iterator[tuple[str, str]]:
    """Yield every value that has no members, with its place and its JCS."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from _leaves(member, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            # Filters of an output are applied in order, so there the position says something; so it does in a schema.
            ordered = (place.startswith("outputs[") and place.endswith(".filters")) or _IN_SCHEMA in place
            yield from _leaves(member, f"{place}[{index if ordered else _identity(member)}]")
    else:
        yield place, canonical(value).decode()


def _identity(member: Json) -> str:
    if isinstance(member, Mapping):
        if isinstance(name := member.get("name"), str):
            return name
        if "from" in member and "to" in member:
            return f"{member['from']} -> {member['to']}"
        return canonical(member).decode()
    return str(member)
