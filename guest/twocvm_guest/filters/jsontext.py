"""JSON as `docs/spec/filters.md` has it: read strictly, written as RFC 8785 says.

>>> write(parse(b'{"b": 1.50, "a": [true, null]}'))
b'{"a":[true,null],"b":1.5}'
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import rfc8785

from twocvm_guest.runtime.messages import Outcome

from .lengths import at_most, lines
from .refusal import Refused, Stream

MAX_DOCUMENT_BYTES: Final = 1 << 24
MAX_LINE_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32
MAX_NUMBER_CHARACTERS: Final = 64
# RFC 7493, 2.2. A larger one with an exponent could be written back as an integer that nobody would read.
_MAX_NUMBER: Final = 2**53 - 1
_BRACKETS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)


class Written(float):
    """A number with a fraction or an exponent, and how it was written.

    Attributes:
        text: The characters.
    """

    __slots__ = ("text",)

    text: str


def read(stream: Stream, *, by_line: bool, as_written: bool = False) -> Iterator[Any]:
    """Yield every record: the one value, or each line's. `as_written` is that of `parse`.

    Raises:
        Refused: It is not JSON of this kind.
    """
    if by_line:
        for line in lines(stream, max_bytes=MAX_LINE_BYTES):
            yield parse(line, as_written=as_written)
        return
    try:
        raw = b"".join(at_most(MAX_DOCUMENT_BYTES)(stream))
    except Refused as error:
        raise _malformed() from error
    yield parse(raw, as_written=as_written)


def parse(raw: bytes, *, as_written: bool = False) -> Any:  # noqa: ANN401 - whatever JSON has
    """Return the value that `raw` writes.

    Args:
        raw: The bytes.
        as_written: Whether numbers with a fraction or an exponent are `Written` and not plain.

    Raises:
        Refused: It is not JSON of this kind.
    """
    _bound_depth(raw)
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_members,
            parse_int=_integer,
            parse_float=_written if as_written else _fraction,
            parse_constant=_constant,
        )
    except ValueError as error:
        raise _malformed() from error


def write(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON has
    """Return a value in its one way."""
    try:
        return rfc8785.dumps(value)
    except ValueError as error:
        # A lone surrogate, which only an escape can write.
        raise _malformed() from error


def _bound_depth(raw: bytes) -> None:
    # Before the parser recurses: brackets outside strings, counted on the bytes.
    depth = 0
    for found in _BRACKETS.finditer(raw):
        part = found.group()
        if part in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise _malformed()
        elif part in b"]}":
            depth -= 1


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _malformed()
    return result


def _integer(text: str) -> int:
    if len(text) > len(str(_MAX_NUMBER)) + 1 or abs(int(text)) > _MAX_NUMBER:
        raise _malformed()
    return int(text)


def _fraction(text: str) -> float:
    number = float(text)
    if len(text) > MAX_NUMBER_CHARACTERS or not abs(number) <= _MAX_NUMBER:
        raise _malformed()
    return number


def _written(text: str) -> Written:
    number = Written(_fraction(text))
    number.text = text
    return number


def _constant(_: str) -> NoReturn:
    raise _malformed()


def _malformed() -> Refused:
    return Refused(Outcome.NOT_OF_FORMAT)


# Members are sorted as UTF-16, and Python imports that codec when it is first used; a worker imports nothing any more.
write({"a": 1.5})
