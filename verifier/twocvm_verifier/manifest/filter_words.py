"""What a filter does, in a line for people who are about to sign it.

>>> describe(MaxBytes(max_bytes=4096))
'refuses more than 4,096 bytes'
"""

from __future__ import annotations

import json

from .filters import (
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


def describe(kind: FilterKind) -> str:
    """Return what a filter does; text of strangers stands in quotes."""
    if isinstance(kind, ByComponent):
        return f"is what the component {kind.component} makes of it"
    if isinstance(kind, MaxBytes):
        return f"refuses more than {kind.max_bytes:,} bytes"
    if isinstance(kind, MaxRows):
        return f"refuses more than {kind.max_rows:,} records of {kind.format}"
    if isinstance(kind, JsonSchema):
        each = "each line of " if kind.format is Format.JSON_LINES else ""
        return f"refuses {each}{kind.format} that its schema of {len(kind.schema):,} bytes does not allow"
    if isinstance(kind, MinGroupSize):
        return f"refuses counts less than {kind.minimum:,} in {_target(kind.target)}"
    if isinstance(kind, Rounding):
        return f"rounds {_target(kind.target)} to multiples of {kind.step:f}"
    if isinstance(kind, Padding):
        return "pads to " + " or ".join(f"{size:,}" for size in kind.sizes) + " bytes"
    return _noise(kind)


def _noise(kind: Noise) -> str:
    delta = f" and delta {kind.delta:f}" if kind.mechanism is Mechanism.GAUSSIAN else ""
    return (
        f"adds {kind.mechanism} noise to {_target(kind.target)}: epsilon {kind.epsilon:f}{delta} "
        f"for a sensitivity of {kind.sensitivity:f}, which nothing here can check"
    )


def _target(target: Target) -> str:
    return f"{', '.join(json.dumps(place, ensure_ascii=False) for place in target.places)} of {target.format}"
