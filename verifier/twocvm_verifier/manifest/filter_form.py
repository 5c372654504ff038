"""The form of a filter: one reader for each kind of it (`docs/spec/filters.md`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from .filter_schema import read_schema
from .filters import (
    Budget,
    Builtin,
    ByComponent,
    FilterKind,
    Format,
    JsonSchema,
    MaxBytes,
    MaxRows,
    Mechanism,
    MinGroupSize,
    Noise,
    Padding,
    Rounding,
    Target,
)
from .model import MAX_ITEM_BYTES
from .place import Members, Place
from .problems import Rule

MAX_ROWS: Final = 10**12
MAX_COUNT: Final = 10**15
MAX_DIGITS: Final = 9
_MAX_COLUMN_CHARACTERS: Final = 256
_MAX_POINTER_CHARACTERS: Final = 1024
# No filter reads deeper, so a longer pointer could point at nothing.
_MAX_POINTER_TOKENS: Final = 32
_MAX_PLACES: Final = 64
# 15 digits are what every double keeps; all sums of a manifest stay exact in Python's default decimal context.
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{0,11}[1-9])?", re.ASCII)
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_BUILTIN: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
_EVERYWHERE: Final = Decimal("999999999.999999999999")
_LEAST: Final = Decimal("0.000000000001")
# More than this protects nobody, and less than this leaves nothing of a number; between them all can be computed.
_LEAST_EPSILON: Final = Decimal("0.0001")
_MOST_EPSILON: Final = Decimal(10)
_MOST_DELTA: Final = Decimal("0.01")
_MAX_UNITS: Final = 10**15


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterForm:
    """A filter as it stands in the document.

    Attributes:
        name: Its name.
        owner: Who asks for it.
        kind: What it does; None where that could not be made out, or this version has not got it.
        unsupported: What this version has not got; empty where it has all.
    """

    name: str
    owner: str
    kind: FilterKind | None
    unsupported: str


def read_filter(place: Place) -> FilterForm:
    """Read one member of `filters`."""
    fields = place.members(required=("name", "owner"), optional=("builtin", "parameters", "component"))
    name, owner = fields["name"].name(), fields["owner"].name()
    kind, unsupported = _read_kind(place, fields)
    return FilterForm(name=name, owner=owner, kind=kind, unsupported=unsupported)


def read_budget(place: Place) -> Budget:
    """Read the budget of an item."""
    fields = place.members(required=("epsilon",), optional=("delta",))
    return Budget(
        epsilon=_decimal(fields["epsilon"], _LEAST, _EVERYWHERE),
        delta=fields.optional("delta", _delta, Decimal(0)),
    )


def _read_kind(place: Place, fields: Members) -> tuple[FilterKind | None, str]:
    if not fields.present:
        return None, ""
    if ("builtin" in fields) == ("component" in fields):
        place.wrong(Rule.FORM, "a filter has either builtin or component")
        return None, ""
    if "component" in fields:
        if "parameters" in fields:
            fields["parameters"].wrong(Rule.UNKNOWN, "a filter that is a component has no parameters")
        component = fields["component"].name()
        return ByComponent(component=component) if component else None, ""
    builtin = fields["builtin"].matching(lambda text: bool(_BUILTIN.fullmatch(text)), "the name of a built-in")
    if builtin not in tuple(Builtin):
        # One of a later version, so nobody here can say what its parameters are.
        return None, f"the built-in filter {builtin!r}" if builtin else ""
    if "parameters" not in fields:
        fields["parameters"].wrong(Rule.MISSING, "the member is missing")
        return None, ""
    before = len(place.problems.found)
    kind = _READERS[Builtin(builtin)](fields["parameters"])
    return kind if len(place.problems.found) == before else None, ""


def _max_bytes(place: Place) -> FilterKind:
    return MaxBytes(max_bytes=place.members(required=("max_bytes",))["max_bytes"].integer(1, MAX_ITEM_BYTES))


def _max_rows(place: Place) -> FilterKind:
    fields = place.members(required=("format", "max_rows"))
    return MaxRows(
        format=_format(fields["format"], Format.CSV, Format.JSON_LINES),
        max_rows=fields["max_rows"].integer(1, MAX_ROWS),
    )


def _json_schema(place: Place) -> FilterKind:
    fields = place.members(required=("format", "schema"))
    return JsonSchema(
        format=_format(fields["format"], Format.JSON, Format.JSON_LINES), schema=read_schema(fields["schema"])
    )


def _min_group_size(place: Place) -> FilterKind:
    fields = _targeted(place, "minimum")
    return MinGroupSize(target=_target(fields), minimum=fields["minimum"].integer(2, MAX_COUNT))


def _rounding(place: Place) -> FilterKind:
    fields = _targeted(place, "step")
    return Rounding(target=_target(fields), step=_decimal(fields["step"], _LEAST, _EVERYWHERE))


def _padding(place: Place) -> FilterKind:
    fields = place.members(required=("sizes",))
    return Padding(sizes=tuple(sorted(fields["sizes"].set(lambda member: member.integer(1, MAX_ITEM_BYTES)))))


def _noise(place: Place) -> FilterKind:
    fields = _targeted(place, "mechanism", "epsilon", "sensitivity", "digits", "lowest", "highest", optional=("delta",))
    mechanism = fields["mechanism"].choice(Mechanism)
    if mechanism and ("delta" in fields) != (mechanism == Mechanism.GAUSSIAN):
        fault = (Rule.UNKNOWN, "laplace has no delta") if "delta" in fields else (Rule.MISSING, "gaussian has a delta")
        fields["delta"].wrong(*fault)
    noise = Noise(
        target=_target(fields),
        mechanism=Mechanism(mechanism or Mechanism.LAPLACE),
        epsilon=_decimal(fields["epsilon"], _LEAST_EPSILON, _MOST_EPSILON),
        delta=fields.optional("delta", lambda member: _decimal(member, _LEAST, _MOST_DELTA), Decimal(0)),
        sensitivity=_decimal(fields["sensitivity"], _LEAST, _EVERYWHERE),
        digits=fields["digits"].integer(0, MAX_DIGITS),
        lowest=_decimal(fields["lowest"], -_EVERYWHERE, _EVERYWHERE),
        highest=_decimal(fields["highest"], -_EVERYWHERE, _EVERYWHERE),
    )
    for key, value in (("sensitivity", noise.sensitivity), ("lowest", noise.lowest), ("highest", noise.highest)):
        if value != round(value, noise.digits):
            fields[key].wrong(Rule.FORM, f"has more decimals than digits says: {noise.digits}")
        elif abs(value) * 10**noise.digits >= _MAX_UNITS:
            fields[key].wrong(Rule.RANGE, f"has more than 15 figures, {noise.digits} of them decimals")
    if noise.lowest > noise.highest:
        fields["highest"].wrong(Rule.RANGE, "less than lowest")
    return noise


_READERS: Final[Mapping[Builtin, Callable[[Place], FilterKind]]] = MappingProxyType(
    {
        Builtin.JSON_SCHEMA: _json_schema,
        Builtin.MAX_BYTES: _max_bytes,
        Builtin.MAX_ROWS: _max_rows,
        Builtin.MIN_GROUP_SIZE: _min_group_size,
        Builtin.NOISE: _noise,
        Builtin.PADDING: _padding,
        Builtin.ROUNDING: _rounding,
    }
)


def _targeted(place: Place, *required: str, optional: tuple[str, ...] = ()) -> Members:
    return place.members(required=("format", *required), optional=("columns", "pointers", *optional))


def _target(fields: Members) -> Target:
    """Read `format` with `columns` or `pointers`, whichever it asks for."""
    chosen = _format(fields["format"], *Format)
    key, other = ("columns", "pointers") if chosen is Format.CSV else ("pointers", "columns")
    if other in fields:
        fields[other].wrong(Rule.UNKNOWN, f"{chosen} has {key}")
    if key not in fields:
        if fields.present:
            fields[key].wrong(Rule.MISSING, "the member is missing")
        return Target(format=chosen, places=())
    places = fields[key].set(_column if chosen is Format.CSV else _pointer)
    if len(places) > _MAX_PLACES:
        fields[key].wrong(Rule.RANGE, f"got {len(places)} places, want at most {_MAX_PLACES}")
    return Target(format=chosen, places=places)


def _column(place: Place) -> str:
    return place.text(_MAX_COLUMN_CHARACTERS)


def _pointer(place: Place) -> str:
    def is_pointer(text: str) -> bool:
        short = len(text) <= _MAX_POINTER_CHARACTERS and text.count("/") <= _MAX_POINTER_TOKENS
        return bool(text) and short and bool(_POINTER.fullmatch(text))

    return place.matching(is_pointer, "a JSON pointer (RFC 6901), in which * stands for every member")


def _format(place: Place, *allowed: Format) -> Format:
    return Format(place.choice(allowed) or allowed[0])


def _delta(place: Place) -> Decimal:
    return _decimal(place, _LEAST, 1 - _LEAST)


def _decimal(place: Place, low: Decimal, high: Decimal) -> Decimal:
    """Read a decimal number that is written in its one way; 0 where it is none."""
    text = place.matching(
        lambda text: bool(_DECIMAL.fullmatch(text)) and text != "-0",
        "a decimal number as a string, such as 0.5, of at most 9 digits before and 12 after the point",
    )
    if not text:
        return Decimal(0)
    value = Decimal(text)
    if not low <= value <= high:
        place.wrong(Rule.RANGE, f"got {text}, want {low:f} to {high:f}")
        return Decimal(0)
    return value
