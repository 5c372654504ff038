"""From what an author writes, TOML or JSON in any order, to the canonical bytes that participants sign.

An author's tool sorts sets and draws the salt; it adds nothing else, so whatever is signed was written by somebody.
Problems are told at the places of the author's own document, not of the sorted one.

>>> canonical_bytes({"salt": "00" * 16, "b": ["y", "x"]})
b'{"b":["x","y"],"salt":"00000000000000000000000000000000"}'
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeAlias

from twocvm_verifier import strictjson
from twocvm_verifier.clock import format_time
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.strictjson import Json

from .model import Manifest
from .parse import MAX_MANIFEST_BYTES, SALT_BYTES, parse_manifest
from .place import child
from .problems import ManifestError, Problem, Rule

# Every other array of a manifest is a set (`docs/spec/manifest.md`), but for those inside a JSON schema.
_ORDERED: Final = ("outputs", "*", "filters")
_AS_IT_STANDS: Final = ("filters", "*", "parameters", "schema")

Randomness: TypeAlias = Callable[[int], bytes]


def from_toml(text: str, *, randomness: Randomness) -> Manifest:
    """Return the manifest that a TOML document authors.

    Args:
        text: The document.
        randomness: Gives so many random bytes; the salt is drawn from it where the document has none.

    Raises:
        ManifestError: Not TOML, or not a valid manifest; pointers are those of `text`.
        UnsupportedError: As `parse_manifest`.
    """
    return compose(read_toml(text), randomness=randomness)


def read_toml(text: str) -> Json:
    """Return what a TOML document says, as the JSON of a manifest that may still lack anything.

    Raises:
        ManifestError: Not TOML, or with values that no manifest has.
    """
    if len(text) > MAX_MANIFEST_BYTES:
        raise _refused("", f"got {len(text)} characters, want at most {MAX_MANIFEST_BYTES}")
    try:
        value = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _refused("", f"not TOML: {error}") from error
    return _from_toml(value, "", 0)


def from_json(raw: bytes, *, randomness: Randomness) -> Manifest:
    """Return the manifest that a JSON document authors; it need not be canonical.

    Args:
        raw: The document.
        randomness: As of `from_toml`.

    Raises:
        ManifestError: Not strict JSON, or not a valid manifest; pointers are those of `raw`.
        UnsupportedError: As `parse_manifest`.
    """
    return compose(read_json(raw), randomness=randomness)


def read_json(raw: bytes) -> Json:
    """Return what a JSON document says; it may still lack anything of a manifest.

    Raises:
        ManifestError: Not strict JSON.
    """
    try:
        return strictjson.parse(raw, document="manifest", max_bytes=MAX_MANIFEST_BYTES)
    except MalformedError as error:
        raise _refused(error.field, error.detail.partition(": ")[2]) from error


def compose(value: Json, *, randomness: Randomness) -> Manifest:
    """Return the manifest that `value` authors: sets sorted, and with a salt.

    Raises:
        ManifestError: It is not valid; pointers are those of `value`.
        UnsupportedError: As `parse_manifest`.
    """
    if isinstance(value, Mapping) and "salt" not in value:
        value = {**value, "salt": randomness(SALT_BYTES).hex()}
    arranged, places = _arrange(value, ())
    try:
        return parse_manifest(strictjson.canonical(arranged))
    except ManifestError as error:
        problems = [replace(problem, pointer=places.original(problem.pointer)) for problem in error.problems]
        raise ManifestError(tuple(sorted(problems, key=_reading_order))) from error


def canonical_bytes(value: Json) -> bytes:
    """Return the canonical bytes of a manifest's JSON with its sets sorted, whether or not it is valid."""
    return strictjson.canonical(_arrange(value, ())[0])


@dataclass(frozen=True, slots=True)
class _Places:
    """Where each member of an arranged value stood before: its key or index there, and the same for what is below."""

    members: dict[str, tuple[str, _Places]] = field(default_factory=dict)

    def original(self, pointer: str) -> str:
        place, found = self, ""
        for token in pointer.split("/")[1:]:
            # A member that is missing stood nowhere; it keeps its name.
            before, place = place.members.get(token, (token, _Places()))
            found += f"/{before}"
        return found


def _reading_order(problem: Problem) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts places as they stand in a document: indices as numbers, members by name."""
    tokens = problem.pointer.split("/")[1:]
    return tuple((int(token), "") if token.isdecimal() else (-1, token) for token in tokens)


def _arrange(value: Json, path: tuple[str, ...]) -> tuple[Json, _Places]:
    """Return `value` with every set below `path` sorted, and where everything was."""
    places = _Places()
    if path == _AS_IT_STANDS:
        return value, places
    if isinstance(value, Mapping):
        result: dict[str, Json] = {}
        for key, member in value.items():
            token = child("", key)[1:]
            result[key], below = _arrange(member, (*path, key))
            places.members[token] = (token, below)
        return result, places
    if not isinstance(value, list):
        return value, places
    members = [(*_arrange(member, (*path, "*")), index) for index, member in enumerate(value)]
    if path != _ORDERED:
        members.sort(key=lambda member: strictjson.canonical(member[0]))
    for position, (_, below, index) in enumerate(members):
        places.members[str(position)] = (str(index), below)
    return [member for member, _, _ in members], places


def _from_toml(value: object, pointer: str, depth: int) -> Json:
    """Return a TOML value as strict JSON; TOML has kinds of values that a manifest has not."""
    if depth > strictjson.MAX_DEPTH:
        raise _refused(pointer, f"nested deeper than {strictjson.MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key in value:
            if problem := strictjson.text_problem(key):
                raise _refused(pointer, f"a member's name {problem}")
        return {key: _from_toml(member, child(pointer, key), depth + 1) for key, member in value.items()}
    if isinstance(value, list):
        return [_from_toml(member, child(pointer, index), depth + 1) for index, member in enumerate(value)]
    if isinstance(value, datetime):
        if value.tzinfo is None or value.microsecond:
            raise _refused(pointer, "a time has a zone and whole seconds, such as 2026-01-02T03:04:05Z")
        return format_time(value)
    if isinstance(value, str):
        if problem := strictjson.text_problem(value):
            raise _refused(pointer, f"text {problem}")
        return value
    if isinstance(value, int) and abs(value) <= strictjson.MAX_INTEGER:
        return value
    raise _refused(pointer, "a manifest has only texts, whole numbers below 2**53, true, false and times")


def _refused(pointer: str, detail: str) -> ManifestError:
    return ManifestError((Problem(rule=Rule.JSON, pointer=pointer, detail=detail),))
