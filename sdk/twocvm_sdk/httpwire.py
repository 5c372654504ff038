"""HTTP/1.1 as a guest speaks it, and nothing that it does not speak.

An answer has one status line, fields, exactly one Content-Length, and that many bytes. No other framing is understood,
so that there is one way only to read what comes. Rules of an answer's head:
1. At most `MAX_HEAD_BYTES`, each line ended by CR LF; no folded line.
2. HTTP/1.1, and a status from 200 to 299 or from 400 to 599: nothing interim, no redirection.
3. Exactly one Content-Length, in plain decimal; no Transfer-Encoding, no Content-Encoding.

Spec: docs/spec/ratls.md, 4.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from twocvm_verifier.errors import MalformedError

from .tlssocket import lost

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from .tlssocket import TlsSocket

MAX_HEAD_BYTES: Final = 16384

Reader: TypeAlias = "io.BufferedReader[TlsSocket]"

_STATUS_LINE: Final = re.compile(r"HTTP/1\.1 ([2-5][0-9]{2})(?: ([\t\x20-\x7e]*))?\r\n", re.ASCII)
# RFC 9110, 5.1 and 5.5: a token, a colon, and printable text.
_FIELD: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e]*?)[ \t]*\r\n", re.ASCII)
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_TARGET: Final = re.compile(r"/[\x21-\x7e]*", re.ASCII)
_METHOD: Final = re.compile(r"[A-Z]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of an answer.

    Attributes:
        status: 200 to 299, or 400 to 599.
        reason: What follows the status on its line.
        fields: Names in lower case and values, in order.
        content_length: How many bytes follow.
    """

    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    content_length: int


class Body(io.BufferedIOBase):
    """The bytes of an answer, exactly as many as were announced.

    Args:
        reader: Where they come from.
        size_bytes: How many there are.
        abandon: Called when this is closed before its end: what follows on the connection is no head then.
    """

    def __init__(self, reader: Reader, *, size_bytes: int, abandon: Callable[[], None]) -> None:
        super().__init__()
        self.remaining_bytes = size_bytes
        self._reader = reader
        self._abandon = abandon

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next `size` bytes, or all that remain; empty at the end.

        Raises:
            FetchError: The connection was lost, or took too long.
        """
        wanted = self.remaining_bytes if size is None or size < 0 else min(size, self.remaining_bytes)
        return self._count(self._reader.read(wanted), wanted)

    def read1(self, size: int = -1, /) -> bytes:
        """Return some of the next `size` bytes, at least one; empty at the end. Errors as `read`."""
        wanted = self.remaining_bytes if size < 0 else min(size, self.remaining_bytes)
        return self._count(self._reader.read1(wanted), min(wanted, 1))

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` as far as the answer goes and return how many bytes that was. Errors as `read`."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """End reading; before the end of the answer, that ends the connection."""
        if not self.closed and self.remaining_bytes:
            self._abandon()
        super().close()

    def _count(self, data: bytes, least: int) -> bytes:
        self.remaining_bytes -= len(data)
        if len(data) < least:
            raise lost(f"an answer ended {self.remaining_bytes} bytes before its end")
        return data


def request_head(
    method: str, target: str, *, host: str, fields: Iterable[tuple[str, str]], content_length: int
) -> bytes:
    """Return the head of a request.

    Args:
        method: Such as `POST`.
        target: The path with its query, percent-encoded.
        host: `HOST:PORT`.
        fields: Names and values; Host and Content-Length are added here.
        content_length: How many bytes follow.

    Raises:
        ValueError: Something in it would break a line.
    """
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
        raise ValueError(f"request: got {method!r:.40} {target!r:.200}, want a method and a path")
    lines = [f"{method} {target} HTTP/1.1\r\n", f"Host: {host}\r\n"]
    for name, value in fields:
        line = f"{name}: {value}\r\n"
        if not _FIELD.fullmatch(line):
            raise ValueError(f"request: field {name!r:.80} has a character that it cannot have")
        lines.append(line)
    lines.append(f"Content-Length: {content_length}\r\n\r\n")
    return "".join(lines).encode("ascii")


def read_head(reader: Reader) -> Head:
    """Return the next answer's head; its bytes follow in `reader`.

    Raises:
        MalformedError: A rule of the module is broken.
        FetchError: The connection was lost, or took too long.
    """
    room = MAX_HEAD_BYTES
    first, room = _line(reader, room)
    status_line = _STATUS_LINE.fullmatch(first)
    if status_line is None or status_line[1].startswith("3"):
        raise _malformed("status", f"got {first!r:.80}, want HTTP/1.1 with a status that ends the exchange")
    fields: list[tuple[str, str]] = []
    while True:
        line, room = _line(reader, room)
        if line == "\r\n":
            break
        field = _FIELD.fullmatch(line)
        if field is None:
            raise _malformed("head", f"got line {line!r:.80}")
        fields.append((field[1].lower(), field[2]))
    return Head(
        status=int(status_line[1]),
        reason=status_line[2] or "",
        fields=tuple(fields),
        content_length=_content_length(fields),
    )


def _content_length(fields: list[tuple[str, str]]) -> int:
    lengths = [value for name, value in fields if name == "content-length"]
    if any(name in ("transfer-encoding", "content-encoding") for name, _ in fields):
        raise _malformed("head", "the answer is encoded")
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise _malformed("content-length", f"got {lengths!r:.80}, want one decimal number")
    return int(lengths[0])


def _line(reader: Reader, room: int) -> tuple[str, int]:
    line = reader.readline(room)
    if line.endswith(b"\r\n"):
        return line.decode("latin-1"), room - len(line)
    if len(line) == room:
        raise _malformed("head", f"longer than {MAX_HEAD_BYTES} bytes")
    if line.endswith(b"\n"):
        raise _malformed("head", "a line ends without CR")
    raise lost("ended within an answer's head")


def _malformed(field: str, detail: str) -> MalformedError:
    return MalformedError("http", field, detail)
