"""Drop every custom section (names, producers) of a WebAssembly binary and of the modules and components inside it.

Custom sections mean nothing to an engine. What they say, symbols of the source and versions of tools, would only add
bytes to audit and text that ends up in error messages.

Spec: WebAssembly core binary format 5.5; component model binary format, "Component Definitions".
"""

from __future__ import annotations

from collections.abc import Iterator

HEADER_BYTES = 8
CUSTOM_SECTION = 0
# In a component, section 1 holds a core module and section 4 a component, each a whole binary of its own.
NESTED_SECTIONS = (1, 4)
COMPONENT_HEADER = b"\0asm\x0d\x00\x01\x00"


def strip(binary: bytes) -> bytes:
    """The same binary without custom sections, at every depth."""
    is_component = binary[:HEADER_BYTES] == COMPONENT_HEADER
    parts = [binary[:HEADER_BYTES]]
    for kind, body in _sections(binary):
        if kind != CUSTOM_SECTION:
            kept = strip(body) if is_component and kind in NESTED_SECTIONS else body
            parts += (bytes([kind]), _encode_unsigned(len(kept)), kept)
    return b"".join(parts)


def _sections(binary: bytes) -> Iterator[tuple[int, bytes]]:
    position = HEADER_BYTES
    while position < len(binary):
        kind = binary[position]
        size, start = _decode_unsigned(binary, position + 1)
        position = start + size
        yield kind, binary[start:position]


def _decode_unsigned(binary: bytes, position: int) -> tuple[int, int]:
    """The LEB128 number at `position` and the position after it."""
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
