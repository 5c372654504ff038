"""The kinds of filters, one value for each: what an output must be, or becomes, before anyone gets it.

A filter takes the bytes of an output and leaves others, or refuses them; what each does to the byte stands in
`docs/spec/filters.md`. `filter_form.py` reads these from a manifest, `filter_rules.py` decides which of them may stand
after which.

>>> Noise(target=Target(format=Format.CSV, places=("n",)), mechanism=Mechanism.LAPLACE, epsilon=Decimal("0.5"),
...       delta=Decimal(0), sensitivity=Decimal(1), digits=0, lowest=Decimal(0), highest=Decimal(10)).target.places
('n',)
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

# Between the two ports of a component that is a filter stands the component alone.
UNFILTERED_PORT: Final = "unfiltered"
FILTERED_PORT: Final = "filtered"


class Builtin(StrEnum):
    """The filters that every guest has; noise needs a guest with the extra `noise`."""

    JSON_SCHEMA = "json_schema"
    MAX_BYTES = "max_bytes"
    MAX_ROWS = "max_rows"
    MIN_GROUP_SIZE = "min_group_size"
    NOISE = "noise"
    PADDING = "padding"
    ROUNDING = "rounding"


class Format(StrEnum):
    """What a filter takes an output to be."""

    CSV = "csv"
    JSON = "json"
    JSON_LINES = "json-lines"


class Mechanism(StrEnum):
    """Whose distribution noise has."""

    GAUSSIAN = "gaussian"
    LAPLACE = "laplace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The numbers of an output that a filter looks at.

    Attributes:
        format: What the output is.
        places: For `csv` names of columns; else JSON pointers, in which `*` stands for every member. Sorted.
    """

    format: Format
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxBytes:
    """Refuses more than so many bytes."""

    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxRows:
    """Refuses more than so many records; a header is none."""

    format: Format
    max_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSchema:
    """Refuses what a JSON schema does not allow.

    Attributes:
        format: `json`, or `json-lines` where every line must be allowed.
        schema: Canonical JSON, of the subset that `docs/spec/filters.md` lists.
    """

    format: Format
    schema: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MinGroupSize:
    """Refuses an output in which a count is less than `minimum`."""

    target: Target
    minimum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """Replaces numbers by the nearest multiple of `step`, of two by the even one."""

    target: Target
    step: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """Fills an output up to the least of some sizes that it fits in, so that its length tells no more than that."""

    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Adds random noise to numbers.

    Attributes:
        target: Which numbers; each has at most `digits` decimals.
        mechanism: The distribution, in steps of the last decimal.
        epsilon: The most that one output may cost.
        delta: Likewise; 0 for `laplace`.
        sensitivity: How much all the numbers together can differ between two inputs that are to be told apart no more
            than epsilon and delta say: the sum of the differences for `laplace`, the root of the sum of their squares
            for `gaussian`. Stated by who signs; nothing here can find it out.
        digits: Decimals.
        lowest: Lesser numbers become this one before noise is added.
        highest: Greater numbers become this one before noise is added.
    """

    target: Target
    mechanism: Mechanism
    epsilon: Decimal
    delta: Decimal
    sensitivity: Decimal
    digits: int
    lowest: Decimal
    highest: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ByComponent:
    """Hands the output to a component of the manifest; what that leaves goes on.

    Attributes:
        component: Its name. It runs once for every output that has this filter, in a worker of its own.
    """

    component: str


FilterKind: TypeAlias = MaxBytes | MaxRows | JsonSchema | MinGroupSize | Rounding | Padding | Noise | ByComponent


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Something that an output must pass before anyone gets it.

    Attributes:
        name: Unique among filters.
        owner: The participant that asks for it.
        kind: What it does.
    """

    name: str
    owner: str
    kind: FilterKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that all noised outputs together may tell of one item, as differential privacy counts it.

    Attributes:
        epsilon: The sum over every output that the item can reach.
        delta: Likewise.
    """

    epsilon: Decimal
    delta: Decimal


def format_of(kind: FilterKind) -> Format | None:
    """Return what a filter takes an output to be; None where it looks at no more than the length, or is a component."""
    if isinstance(kind, MaxRows | JsonSchema):
        return kind.format
    if isinstance(kind, MinGroupSize | Rounding | Noise):
        return kind.target.format
    return None
