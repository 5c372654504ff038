"""The outermost structure of a WebAssembly binary: a header and sections, each a kind and a body.

For binaries that the engine or our own tools made; what a participant sends is taken apart by the engine alone.

>>> [*sections(bytes(8) + section(1, b"body"))]
[(1, b'body')]

Spec: WebAssembly core binary format 5.2.2 (LEB128) and 5.5; component model binary format, "Component Definitions".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

HEADER_BYTES: Final = 8


def section(kind: int, body: bytes) -> bytes:
    """Return one section as it stands in a binary."""
    return bytes([kind]) + _encode_unsigned(len(body)) + body


def sections(binary: bytes) -> Iterator[tuple[int, bytes]]:
    """Give each section behind the header: its kind and its body."""
    position = HEADER_BYTES
    while position < len(binary):
        kind = binary[position]
        size, start = _decode_unsigned(binary, position + 1)
        position = start + size
        yield kind, binary[start:position]


def _decode_unsigned(binary: bytes, position: int) -> tuple[int, int]:
    """Return the LEB128 number at `position` and the position after it."""
    value = shift = 0
    while True:
        byte = binary[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _encode_unsigned(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
