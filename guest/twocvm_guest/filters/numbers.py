r"""The numbers of an output that a filter looks at: found by column or by pointer, read exactly, put back.

Records are taken in batches, so that what is done to their numbers is done to many at once; memory is bounded by a
batch, whatever the output's length.

>>> double = lambda numbers: [2 * number for number in numbers]
>>> b"".join(in_table(["n"], double, digits=1)(iter([b"n,x\n1,a\n2.5,b\n"])))
b'n,x\n2.0,a\n5.0,b\n'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, Final, TypeAlias, TypeVar

from twocvm_guest.runtime.messages import Outcome

from . import jsontext, table
from .refusal import Refused, Step, Stream

# The numbers of some records, in their order, and what becomes of each.
Change: TypeAlias = Callable[[list[Decimal]], list[Decimal]]
# A container of a JSON value and what a member of it is called there.
_Cell: TypeAlias = tuple[Any, Any]

MAX_NUMBER: Final = 10**15
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_EVERY: Final = "*"
_BATCH_RECORDS: Final = 256

_T = TypeVar("_T")


def in_table(columns: Sequence[str], change: Change, *, digits: int) -> Step:
    """Return a filter that changes the numbers in some columns, and writes them with so many decimals."""

    def step(stream: Stream) -> Stream:
        rows = table.read(stream)
        header = next(rows)
        try:
            chosen = [header.index(column) for column in columns]
        except ValueError as error:
            raise _no_number() from error
        yield table.write(header)
        for batch in _batches(rows):
            changed = iter(change([number(row[index]) for row in batch for index in chosen]))
            for row in batch:
                for index in chosen:
                    row[index] = f"{next(changed):.{digits}f}"
                yield table.write(row)

    return step


def in_json(pointers: Sequence[str], change: Change, *, by_line: bool) -> Step:
    """Return a filter that changes the numbers that some pointers point at in every record."""
    paths = [_tokens(pointer) for pointer in pointers]

    def step(stream: Stream) -> Stream:
        for batch in _batches(jsontext.read(stream, by_line=by_line, as_written=True)):
            cells = [cell for value in batch for cell in _cells(value, paths)]
            changed = change([_number_at(cell) for cell in cells])
            for (container, key), value in zip(cells, changed, strict=True):
                container[key] = float(value)
            for value in batch:
                yield jsontext.write(value) + (b"\n" if by_line else b"")

    return step


def number(text: str) -> Decimal:
    """Return the number that `text` writes, exactly.

    Raises:
        Refused: It is none, or none that a filter takes.
    """
    if len(text) > jsontext.MAX_NUMBER_CHARACTERS or not _NUMBER.fullmatch(text):
        raise _no_number()
    value = Decimal(text)
    if not -MAX_NUMBER < value < MAX_NUMBER:
        raise _no_number()
    return value


def _batches(records: Iterable[_T]) -> Iterator[list[_T]]:
    records = iter(records)
    while batch := list(islice(records, _BATCH_RECORDS)):
        yield batch


def _tokens(pointer: str) -> tuple[str, ...]:
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def _cells(value: Any, paths: Iterable[tuple[str, ...]]) -> list[_Cell]:  # noqa: ANN401 - whatever JSON has
    """Return where the numbers are, each once, however many pointers point at it."""
    found = {}
    for path in paths:
        for container, key in _leaves(value, path):
            found[id(container), key] = (container, key)
    return list(found.values())


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[_Cell]:  # noqa: ANN401 - whatever JSON has
    first, *rest = path
    for key in _keys(value, first):
        if rest:
            yield from _leaves(value[key], tuple(rest))
        else:
            yield value, key


def _keys(value: Any, token: str) -> Iterable[Any]:  # noqa: ANN401 - whatever JSON has
    if isinstance(value, dict):
        if token == _EVERY:
            return tuple(value)
        if token in value:
            return (token,)
    if isinstance(value, list):
        if token == _EVERY:
            return range(len(value))
        if _INDEX.fullmatch(token) and int(token) < len(value):
            return (int(token),)
    raise _no_number()


def _number_at(cell: _Cell) -> Decimal:
    container, key = cell
    value = container[key]
    if isinstance(value, jsontext.Written):
        return number(value.text)
    if isinstance(value, int) and not isinstance(value, bool):
        return number(str(value))
    raise _no_number()


def _no_number() -> Refused:
    return Refused(Outcome.VALUE)
