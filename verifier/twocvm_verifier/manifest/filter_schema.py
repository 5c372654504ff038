"""The subset of JSON Schema (draft 2020-12) that a manifest may have, read without looking at what it means.

A schema here is a tree: no references, so that how long a decision takes is bounded by the schema's length times the
output's, and nothing is fetched. A pattern is one row of characters, classes and counts between `^` and `$`, which
every engine reads alike and decides in linear time.

>>> is_pattern("^[A-Z][0-9]{2}$"), is_pattern("^(a+)+$"), is_pattern("[A-Z]")
(True, False, False)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from twocvm_verifier.strictjson import MAX_INTEGER, Json, canonical

from .place import Place
from .problems import Rule

MAX_SCHEMA_BYTES: Final = 2**16
_MAX_PATTERN_CHARACTERS: Final = 256
_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")

_PLAIN: Final = r"[A-Za-z0-9 _:/,;=%#@-]|\\[.+*?()\[\]{}|^$\\-]"
_CLASS: Final = r"\[(?:[A-Za-z0-9_ :/,;.]|A-Z|a-z|0-9|A-F|a-f)+-?\]"
_COUNT: Final = r"[?*+]|\{[0-9]{1,3}(?:,[0-9]{1,3})?\}"
_PATTERN: Final = re.compile(rf"\^(?:(?:{_PLAIN}|{_CLASS})(?:{_COUNT})?)*\$", re.ASCII)
_BOUNDS: Final = re.compile(r"\{([0-9]+),([0-9]+)\}", re.ASCII)

_COUNTS: Final = ("maxItems", "minItems", "maxLength", "minLength", "maxProperties", "minProperties")
_NUMBERS: Final = ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum")
_WORDS: Final = ("title", "description", "$comment")
_ONE: Final = ("additionalProperties", "else", "if", "items", "not", "propertyNames", "then")
_SEVERAL: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_KEYWORDS: Final = (
    *(*_COUNTS, *_NUMBERS, *_WORDS, *_ONE, *_SEVERAL),
    *("const", "enum", "multipleOf", "pattern", "properties", "required", "type"),
)


def is_pattern(text: str) -> bool:
    """Return whether `text` is a pattern of the subset."""
    if len(text) > _MAX_PATTERN_CHARACTERS or not _PATTERN.fullmatch(text):
        return False
    return all(int(low) <= int(high) for low, high in _BOUNDS.findall(text))


def read_schema(place: Place) -> bytes:
    """Read a schema: its canonical bytes, empty where it is none of the subset."""
    before = len(place.problems.found)
    if not isinstance(place.value, Mapping):
        place.members()
        return b""
    _schema(place)
    raw = canonical(place.value)
    if len(raw) > MAX_SCHEMA_BYTES:
        place.wrong(Rule.RANGE, f"got a schema of {len(raw)} bytes, want at most {MAX_SCHEMA_BYTES}")
    return raw if len(place.problems.found) == before else b""


def _schema(place: Place) -> None:
    if isinstance(place.value, bool):
        return
    fields = place.members(optional=_KEYWORDS)
    for key in _ONE:
        fields.optional(key, _schema, None)
    for key in _SEVERAL:
        fields.optional(key, lambda member: member.array(_schema), ())
    for key in _COUNTS:
        fields.optional(key, lambda member: member.integer(0, MAX_INTEGER), 0)
    for key in _NUMBERS:
        fields.optional(key, lambda member: member.integer(-MAX_INTEGER, MAX_INTEGER), 0)
    for key in _WORDS:
        fields.optional(key, Place.string, "")
    fields.optional("multipleOf", lambda member: member.integer(1, MAX_INTEGER), 0)
    fields.optional("pattern", lambda member: member.matching(is_pattern, "a pattern of characters and classes"), "")
    fields.optional("enum", lambda member: member.array(_anything), ())
    fields.optional("required", lambda member: member.array(Place.string), ())
    fields.optional("type", _type, None)
    fields.optional("properties", _properties, None)


def _properties(place: Place) -> None:
    if not isinstance(place.value, Mapping):
        place.members()
        return
    fields = place.members(optional=place.value)
    for key in place.value:
        _schema(fields[key])


def _type(place: Place) -> None:
    if isinstance(place.value, list):
        place.array(lambda member: member.choice(_TYPES))
    else:
        place.choice(_TYPES)


def _anything(place: Place) -> Json | None:
    return place.value
