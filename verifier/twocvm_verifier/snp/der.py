"""Strict DER, as far as AMD's certificates need it: one spelling for each value, in both directions.

The reader refuses indefinite and non-minimal lengths, high tag numbers and anything left over. It exists because a
VEK must be judged byte by byte (`vek`), and because AMD's serial number 0 is one that libraries mean to refuse.

>>> encode_integer(0xDB).hex()
'020200db'
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from twocvm_verifier.errors import MalformedError

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
UTF8_STRING: Final = 0x0C
PRINTABLE_STRING: Final = 0x13
IA5_STRING: Final = 0x16
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31
CONTEXT_0: Final = 0xA0
CONTEXT_3: Final = 0xA3

_LONG_FORM: Final = 0x80
# Nothing here is longer than 65535 bytes.
_MAX_LENGTH_BYTES: Final = 2


class DerReader:
    """Reads one run of DER values in order.

    Args:
        data: The bytes of the run, and nothing after it.
        document: The format's name, for errors.
    """

    __slots__ = ("_at", "_data", "_document")

    def __init__(self, data: bytes, document: str) -> None:
        self._data = data
        self._document = document
        self._at = 0

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._data)

    def peek(self) -> int:
        """Return the next value's tag, or -1 at the end."""
        return self._data[self._at] if self._at < len(self._data) else -1

    def value(self, tag: int, field: str) -> bytes:
        """Return the content of the next value.

        Args:
            tag: The tag that it must have.
            field: What it is, for the error.

        Raises:
            MalformedError: Another tag, a length that is not DER, or too few bytes.
        """
        start, end = self._next(tag, field)
        self._at = end
        return self._data[start:end]

    def whole(self, tag: int, field: str) -> bytes:
        """Return the next value with its tag and length; else as `value`."""
        begin = self._at
        _, end = self._next(tag, field)
        self._at = end
        return self._data[begin:end]

    def inside(self, tag: int, field: str) -> DerReader:
        """Return a reader of the next value's content; else as `value`."""
        return DerReader(self.value(tag, field), self._document)

    def integer(self, field: str) -> int:
        """Return the next value, an INTEGER of 0 or more in its one spelling.

        Raises:
            MalformedError: As `value`; or it is negative, empty or padded.
        """
        content = self.value(INTEGER, field)
        negative_or_none = not content or content[0] & 0x80
        if negative_or_none or (len(content) > 1 and not content[0] and not content[1] & 0x80):
            raise MalformedError(self._document, field, "not a canonical non-negative INTEGER")
        return int.from_bytes(content, "big")

    def time(self, field: str) -> datetime:
        """Return the next value, a UTCTime or GeneralizedTime as RFC 5280 4.1.2.5 has them, in UTC."""
        general = self.peek() == GENERALIZED_TIME
        content = self.value(GENERALIZED_TIME if general else UTC_TIME, field)
        year_digits = 4 if general else 2
        digits = content[:-1]
        if len(content) != year_digits + 11 or content[-1:] != b"Z" or not digits.isdigit():
            raise MalformedError(self._document, field, "not a time of DER")
        year = int(digits[:year_digits])
        if not general:
            year += 2000 if year < 50 else 1900
        elif year < 2050:
            raise MalformedError(self._document, field, "want UTCTime before 2050")
        month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(year_digits, len(digits), 2))
        try:
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError as error:
            raise MalformedError(self._document, field, "not a real time") from error

    def end(self, field: str) -> None:
        """Refuse anything that is left."""
        if self._at != len(self._data):
            raise MalformedError(self._document, field, f"{len(self._data) - self._at} bytes too many")

    def _next(self, tag: int, field: str) -> tuple[int, int]:
        data, at = self._data, self._at
        if len(data) - at < 2:
            raise MalformedError(self._document, field, "missing")
        if data[at] != tag:
            raise MalformedError(self._document, field, f"got tag {data[at]:#04x}, want {tag:#04x}")
        length, start = data[at + 1], at + 2
        if length >= _LONG_FORM:
            size = length - _LONG_FORM
            if not 1 <= size <= _MAX_LENGTH_BYTES or len(data) - start < size:
                raise MalformedError(self._document, field, "not a length of DER")
            length = int.from_bytes(data[start : start + size], "big")
            start += size
            if length < (_LONG_FORM if size == 1 else 0x100):
                raise MalformedError(self._document, field, "length is not minimal")
        if len(data) - start < length:
            raise MalformedError(self._document, field, f"got {len(data) - start} bytes, want {length}")
        return start, start + length


def parse_signed(raw: bytes, *, document: str, field: str, signature_bytes: int) -> tuple[bytes, bytes, bytes]:
    """Return the three parts of what an authority signed: the signed bytes, the algorithm, the signature.

    A certificate and a revocation list have this frame in common (RFC 5280, 4.1.1 and 5.1.1).

    Args:
        raw: The whole document and nothing after it.
        document: The format's name, for errors.
        field: What the frame is called in an error.
        signature_bytes: How long the signature is; it has no unused bits.

    Raises:
        MalformedError: Anything else.
    """
    reader = DerReader(raw, document)
    outer = reader.inside(SEQUENCE, field)
    reader.end(field)
    tbs = outer.whole(SEQUENCE, "tbs")
    algorithm = outer.whole(SEQUENCE, "signature_algorithm")
    bits = outer.value(BIT_STRING, "signature")
    outer.end(field)
    if len(bits) != 1 + signature_bytes or bits[0]:
        raise MalformedError(document, "signature", f"want {signature_bytes} bytes and no unused bits")
    return tbs, algorithm, bits[1:]


def encode(tag: int, *contents: bytes) -> bytes:
    """Return one DER value of up to 65535 bytes: tag, length, contents."""
    content = b"".join(contents)
    size = len(content)
    if size < _LONG_FORM:
        header = bytes([tag, size])
    elif size < 0x100:
        header = bytes([tag, 0x81, size])
    else:
        header = bytes([tag, 0x82]) + size.to_bytes(2, "big")
    return header + content


def encode_integer(value: int) -> bytes:
    """Return the DER INTEGER of a value of 0 or more."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def encode_oid(dotted: str) -> bytes:
    """Return the DER OBJECT IDENTIFIER that `dotted` names."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = b""
    for arc in (first * 40 + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        content += bytes(reversed(groups))
    return encode(OBJECT_IDENTIFIER, content)
