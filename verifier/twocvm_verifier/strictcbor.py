r"""The little CBOR that this project reads: byte strings, text strings, arrays, and maps with text keys.

Only deterministic encoding (RFC 8949, 4.2.1) is taken: shortest lengths, sorted keys, each key once, definite lengths,
nothing after the value. Numbers, tags, simple values and floats are refused, whatever they hold; `parse_tagged` is for
strangers' formats, which have whole numbers, tags and keys that are numbers, and still no floats. A general decoder
would first build what a hostile tag asks for (patterns, dates, mail messages, cyclic values) and be judged afterwards,
so the bytes are walked here, and the one rule that the walk does not know itself is checked by encoding the result
again and comparing.

>>> parse(bytes.fromhex("a1616142ffff"), document="claims", max_bytes=64)
{'a': b'\xff\xff'}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import cbor2

from .errors import MalformedError

Cbor: TypeAlias = "bytes | str | list[Cbor] | dict[str, Cbor]"
TaggedCbor: TypeAlias = "int | bool | bytes | str | list[TaggedCbor] | dict[int | str, TaggedCbor] | Tag"

MAX_DEPTH: Final = 4
MAX_TAGGED_DEPTH: Final = 16
# A value may be one byte, and the walk takes about a microsecond for each.
MAX_TAGGED_VALUES: Final = 131_072
# RFC 8949, 3.1: the major types that are read, and how many bytes of argument follow each additional information.
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_FALSE, _TRUE = 20, 21
_ARGUMENT_BYTES: Final = {24: 1, 25: 2, 26: 4, 27: 8}


def parse(raw: bytes, *, document: str, max_bytes: int) -> Cbor:
    """Return the value that `raw` writes, as bytes, str, list and dict.

    Args:
        raw: The whole document and nothing after it.
        document: The format's name, for the error.
        max_bytes: The most that is read at all.

    Raises:
        MalformedError: Anything that the module docstring lists.
    """
    if len(raw) > max_bytes:
        raise MalformedError(document, "length", f"got {len(raw)} bytes, want at most {max_bytes}")
    reader = _Reader(raw, document)
    value = reader.value(MAX_DEPTH)
    if reader.offset != len(raw):
        raise MalformedError(document, "length", f"{len(raw) - reader.offset} bytes follow the value")
    if encode(value) != raw:
        raise MalformedError(document, "", "not deterministic CBOR (RFC 8949, 4.2.1)")
    return value


def encode(value: Cbor) -> bytes:
    """Return the deterministic encoding of a value of our own making."""
    # For keys that are all text, the library's length-first order is the bytewise order of RFC 8949, 4.2.1.
    return cbor2.dumps(value, canonical=True)


@dataclass(frozen=True, slots=True)
class Tag:
    """A value with a number that says what it is (RFC 8949, 3.4)."""

    number: int
    value: TaggedCbor


def parse_tagged(raw: bytes, *, document: str, max_bytes: int) -> TaggedCbor:
    """Return the value that `raw` writes, where whole numbers, booleans and tags are used too.

    Lengths and numbers are of their shortest form, and no key stands twice; keys may stand in any order.

    Args:
        raw: As `parse`.
        document: As `parse`.
        max_bytes: As `parse`.

    Raises:
        MalformedError: Anything else; floats, null, what is nested deeper than `MAX_TAGGED_DEPTH` levels, and more
            values than `MAX_TAGGED_VALUES`.
    """
    if len(raw) > max_bytes:
        raise MalformedError(document, "length", f"got {len(raw)} bytes, want at most {max_bytes}")
    reader = _TaggedReader(raw, document)
    value = reader.tagged(MAX_TAGGED_DEPTH)
    if reader.offset != len(raw):
        raise MalformedError(document, "length", f"{len(raw) - reader.offset} bytes follow the value")
    return value


class _Reader:
    """Walks the bytes once; every length is compared with what is left before anything is sliced or repeated."""

    majors = frozenset({_BYTES, _TEXT, _ARRAY, _MAP})

    def __init__(self, raw: bytes, document: str) -> None:
        self._raw = raw
        self._document = document
        self.offset = 0

    def value(self, depth: int) -> Cbor:
        major, length = self._head()
        if major == _BYTES:
            return self._take(length)
        if major == _TEXT:
            return self._text(length)
        if depth == 0:
            raise self._malformed(f"nested deeper than {MAX_DEPTH} levels")
        if major == _ARRAY:
            return [self.value(depth - 1) for _ in range(self._count(length))]
        return self._map(length, depth - 1)

    def _map(self, length: int, depth: int) -> dict[str, Cbor]:
        result: dict[str, Cbor] = {}
        for _ in range(self._count(length)):
            major, key_length = self._head()
            if major != _TEXT:
                raise self._malformed("a map key is not text")
            key = self._text(key_length)
            if key in result:
                raise self._malformed("a map has the same key twice")
            result[key] = self.value(depth)
        return result

    def _head(self) -> tuple[int, int]:
        initial = self._take(1)[0]
        major, information = initial >> 5, initial & 0x1F
        if major not in self.majors:
            raise self._malformed(f"major type {major} is never used here")
        if information < min(_ARGUMENT_BYTES):
            return major, information
        if information not in _ARGUMENT_BYTES:
            raise self._malformed("a length is indefinite or reserved")
        return major, int.from_bytes(self._take(_ARGUMENT_BYTES[information]), "big")

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._malformed("text is not UTF-8") from error

    def _take(self, length: int) -> bytes:
        end = self.offset + self._count(length)
        part = self._raw[self.offset : end]
        self.offset = end
        return part

    def _count(self, length: int) -> int:
        # A member takes at least one byte, so the same bound holds for bytes and for members.
        if length > len(self._raw) - self.offset:
            raise self._malformed("a length goes beyond the end")
        return length

    def _malformed(self, detail: str) -> MalformedError:
        return MalformedError(self._document, f"byte {self.offset}", detail)


class _TaggedReader(_Reader):
    """The same walk, for more kinds of values."""

    majors = frozenset(range(8))

    def __init__(self, raw: bytes, document: str) -> None:
        super().__init__(raw, document)
        self._left = MAX_TAGGED_VALUES

    def tagged(self, depth: int) -> TaggedCbor:
        if not self._left:
            raise self._malformed(f"more than {MAX_TAGGED_VALUES} values")
        self._left -= 1
        major, argument = self._shortest_head()
        if major in (_UNSIGNED, _NEGATIVE):
            return argument if major == _UNSIGNED else -1 - argument
        if major == _BYTES:
            return self._take(argument)
        if major == _TEXT:
            return self._text(argument)
        if major == _SIMPLE:
            if argument not in (_FALSE, _TRUE):
                raise self._malformed("a simple value or a float is never used here")
            return argument == _TRUE
        if depth == 0:
            raise self._malformed(f"nested deeper than {MAX_TAGGED_DEPTH} levels")
        if major == _TAG:
            return Tag(argument, self.tagged(depth - 1))
        if major == _ARRAY:
            return [self.tagged(depth - 1) for _ in range(self._count(argument))]
        return self._tagged_map(argument, depth - 1)

    def _tagged_map(self, length: int, depth: int) -> dict[int | str, TaggedCbor]:
        result: dict[int | str, TaggedCbor] = {}
        for _ in range(self._count(length)):
            key = self.tagged(0)
            if isinstance(key, bool) or not isinstance(key, (int, str)):
                raise self._malformed("a map key is neither a number nor text")
            if key in result:
                raise self._malformed("a map has the same key twice")
            result[key] = self.tagged(depth)
        return result

    def _shortest_head(self) -> tuple[int, int]:
        before = self.offset
        major, argument = self._head()
        taken = self.offset - before - 1
        if taken and argument < (min(_ARGUMENT_BYTES) if taken == 1 else 1 << 4 * taken):
            raise self._malformed("a number or a length is longer than it has to be")
        return major, argument
