"""A built-in filter as a worker is told of it: plain JSON, made from the manifest's value, which has been judged.

>>> make_order(Padding(sizes=(10, 20)), max_bytes=100)
{'max_bytes': 100, 'filter': 'padding', 'sizes': [10, 20]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from twocvm_verifier.manifest.filters import (
    JsonSchema,
    MaxBytes,
    MaxRows,
    MinGroupSize,
    Noise,
    Padding,
    Rounding,
    Target,
)

BuiltinKind: TypeAlias = MaxBytes | MaxRows | JsonSchema | MinGroupSize | Rounding | Padding | Noise
Order: TypeAlias = Mapping[str, object]


def make_order(kind: BuiltinKind, *, max_bytes: int) -> Order:
    """Return what a worker is to do.

    Args:
        kind: The filter.
        max_bytes: The most that it may leave.
    """
    return {"max_bytes": max_bytes} | _parameters(kind)


def library_of(kind: BuiltinKind) -> str:
    """Return the module that a worker must import for this filter before it shuts itself in; empty for none."""
    if isinstance(kind, Noise):
        return "noise"
    return "schema" if isinstance(kind, JsonSchema) else ""


def _parameters(kind: BuiltinKind) -> dict[str, object]:
    if isinstance(kind, MaxBytes):
        return {"filter": "max_bytes", "most": kind.max_bytes}
    if isinstance(kind, MaxRows):
        return {"filter": "max_rows", "format": kind.format.value, "max_rows": kind.max_rows}
    if isinstance(kind, JsonSchema):
        return {"filter": "json_schema", "format": kind.format.value, "schema": kind.schema.decode()}
    if isinstance(kind, MinGroupSize):
        return {"filter": "min_group_size", "minimum": kind.minimum} | _target(kind.target)
    if isinstance(kind, Rounding):
        return {"filter": "rounding", "step": f"{kind.step:f}"} | _target(kind.target)
    if isinstance(kind, Padding):
        return {"filter": "padding", "sizes": list(kind.sizes)}
    return {
        "filter": "noise",
        "mechanism": kind.mechanism.value,
        "epsilon": f"{kind.epsilon:f}",
        "delta": f"{kind.delta:f}",
        "sensitivity": f"{kind.sensitivity:f}",
        "digits": kind.digits,
        "lowest": f"{kind.lowest:f}",
        "highest": f"{kind.highest:f}",
    } | _target(kind.target)


def _target(target: Target) -> dict[str, object]:
    return {"format": target.format.value, "places": list(target.places)}
