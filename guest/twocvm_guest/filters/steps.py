"""From what a worker is told to the filter itself; a library is imported only by the filter that needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from twocvm_guest.runtime.messages import Outcome

from . import jsontext, table
from .changes import digits_of, groups, rounded
from .lengths import at_most, pad
from .numbers import Change, in_json, in_table
from .refusal import Refused, Step, Stream

# As `orders.make_order` makes it.
_Order: TypeAlias = Mapping[str, Any]


def make_step(order: _Order) -> Step:
    """Return the filter that an order asks for; what it leaves is bounded by the order's `max_bytes`."""
    step, bounded = _STEPS[order["filter"]](order), at_most(order["max_bytes"])
    return lambda stream: bounded(step(stream))


def _max_bytes(order: _Order) -> Step:
    return at_most(order["most"])


def _padding(order: _Order) -> Step:
    return pad(order["sizes"])


def _max_rows(order: _Order) -> Step:
    most = order["max_rows"]

    def of_table(stream: Stream) -> Stream:
        for count, row in enumerate(table.read(stream)):
            yield _counted(count, most, table.write(row))

    def of_lines(stream: Stream) -> Stream:
        for count, value in enumerate(jsontext.read(stream, by_line=True), start=1):
            yield _counted(count, most, jsontext.write(value) + b"\n")

    return of_table if order["format"] == "csv" else of_lines


def _counted(count: int, most: int, written: bytes) -> bytes:
    if count > most:
        raise Refused(Outcome.ROWS)
    return written


def _json_schema(order: _Order) -> Step:
    from .schema import allowed_by

    return allowed_by(order["schema"], by_line=order["format"] == "json-lines")


def _min_group_size(order: _Order) -> Step:
    return _on_numbers(order, groups(order["minimum"]), digits=0)


def _rounding(order: _Order) -> Step:
    step = Decimal(order["step"])
    return _on_numbers(order, rounded(step), digits=digits_of(step))


def _noise(order: _Order) -> Step:
    from .noise import noised

    exact = {key: Decimal(order[key]) for key in ("epsilon", "delta", "sensitivity", "lowest", "highest")}
    change = noised(mechanism=order["mechanism"], digits=order["digits"], **exact)
    return _on_numbers(order, change, digits=order["digits"])


def _on_numbers(order: _Order, change: Change, *, digits: int) -> Step:
    if order["format"] == "csv":
        return in_table(order["places"], change, digits=digits)
    return in_json(order["places"], change, by_line=order["format"] == "json-lines")


_STEPS: Final[Mapping[str, Callable[[_Order], Step]]] = MappingProxyType(
    {
        "json_schema": _json_schema,
        "max_bytes": _max_bytes,
        "max_rows": _max_rows,
        "min_group_size": _min_group_size,
        "noise": _noise,
        "padding": _padding,
        "rounding": _rounding,
    }
)
