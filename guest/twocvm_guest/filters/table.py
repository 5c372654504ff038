r"""CSV as `docs/spec/filters.md` has it: read strictly, written in one way.

>>> list(read(iter([b'a,"b, c"\r\n"1",2'])))
[['a', 'b, c'], ['1', '2']]
>>> write(['plain', 'a,b'])
b'plain,"a,b"\n'
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from twocvm_guest.runtime.messages import Outcome

from .lengths import lines
from .refusal import Refused, Stream

MAX_LINE_BYTES: Final = 1 << 20
MAX_COLUMNS: Final = 1024
# Controls, and what some readers take for the end of a line besides.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FIELD: Final = re.compile(r'(?:"((?:[^"]|"")*)"|([^",]*))(,|$)')
_BYTE_ORDER_MARK: Final = "\ufeff"


def read(stream: Stream) -> Iterator[list[str]]:
    """Yield the header and every record.

    Raises:
        Refused: It is not such a table.
    """
    width = 0
    for line in lines(stream, max_bytes=MAX_LINE_BYTES):
        row = _fields(line)
        if not width:
            width = _width(row)
        if len(row) != width:
            raise _malformed()
        yield row
    if not width:
        raise _malformed()


def write(row: Sequence[str]) -> bytes:
    """Return a line in its one way."""
    if row == [""]:
        return b'""\n'
    return (",".join(_written(field) for field in row) + "\n").encode()


def _fields(line: bytes) -> list[str]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed() from error
    # An empty line is no record of one empty field, which is written with quotation marks.
    if not text or _CONTROL.search(text):
        raise _malformed()
    if '"' not in text:
        return text.split(",")
    fields = []
    position, comma = 0, ","
    while comma:
        match = _FIELD.match(text, position)
        if match is None:
            raise _malformed()
        quoted, bare, comma = match.groups()
        fields.append(bare if quoted is None else quoted.replace('""', '"'))
        position = match.end()
    return fields


def _width(header: Sequence[str]) -> int:
    if header[0].startswith(_BYTE_ORDER_MARK) or len(header) > MAX_COLUMNS or len(set(header)) != len(header):
        raise _malformed()
    return len(header)


def _written(field: str) -> str:
    if "," in field or '"' in field:
        return '"' + field.replace('"', '""') + '"'
    return field


def _malformed() -> Refused:
    return Refused(Outcome.NOT_OF_FORMAT)
