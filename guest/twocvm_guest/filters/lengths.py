r"""Filters that look at nothing but an output's length, and lines of bounded length.

>>> b"".join(pad([4, 8])(iter([b"abcd"])))
b'abcd\x80\x00\x00\x00'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twocvm_guest.runtime.messages import Outcome

from .refusal import Refused, Step, Stream

# ISO/IEC 7816-4: one bit, and then none.
_MARK: Final = b"\x80"
_ZEROS: Final = bytes(1 << 16)


def at_most(max_bytes: int) -> Step:
    """Return a filter that lets so many bytes pass, and refuses at the first one more."""

    def step(stream: Stream) -> Stream:
        size = 0
        for piece in stream:
            size += len(piece)
            if size > max_bytes:
                raise Refused(Outcome.LENGTH)
            yield piece

    return step


def pad(sizes: Sequence[int]) -> Step:
    """Return a filter that fills up to the least of the sizes (ascending) that is enough."""

    def step(stream: Stream) -> Stream:
        size = 0
        for piece in at_most(sizes[-1] - 1)(stream):
            size += len(piece)
            yield piece
        yield _MARK
        missing = next(each for each in sizes if each > size) - size - 1
        while missing:
            piece = _ZEROS[:missing]
            missing -= len(piece)
            yield piece

    return step


def lines(stream: Stream, *, max_bytes: int) -> Stream:
    """Yield each line without its end, which is LF or CRLF; the last line may have none.

    Raises:
        Refused: A line is longer than `max_bytes`.
    """
    rest = b""
    for piece in stream:
        parts = (rest + piece).split(b"\n")
        rest = parts.pop()
        if len(rest) > max_bytes + 1:
            raise Refused(Outcome.NOT_OF_FORMAT)
        for part in parts:
            yield _without_end(part, max_bytes)
    if rest:
        # No LF, so a CR belongs to the line.
        yield _bounded(rest, max_bytes)


def _without_end(line: bytes, max_bytes: int) -> bytes:
    return _bounded(line.removesuffix(b"\r"), max_bytes)


def _bounded(line: bytes, max_bytes: int) -> bytes:
    if len(line) > max_bytes:
        raise Refused(Outcome.NOT_OF_FORMAT)
    return line
