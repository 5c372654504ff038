"""Components that cost whoever compiles them, and the one that costs nothing."""

from __future__ import annotations

import struct

from tests.support.actor import RUN, wat

# What a component's text needs to be a command that ends well at once.
RUN_OK = f"""
    (core module $main (func (export "run") (result i32) i32.const 0))
    (core instance $i (instantiate $main))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $interface (export "run" (func $run)))
    (export "{RUN}" (instance $interface))
"""


def compile_bomb(count: int) -> bytes:
    """A component with one function that loads `count` values and needs all of them at the end."""
    loads = b"".join(b"\x20\x00\x28\x02" + _unsigned(4 * index) for index in range(count))
    code = b"\x00" + loads + b"\x6a" * (count - 1) + b"\x0b"
    sections = (
        (1, b"\x01\x60\x01\x7f\x01\x7f"),  # the type i32 -> i32
        (3, b"\x01\x00"),  # one function of it
        (5, b"\x01\x00\x01"),  # one memory
        (10, b"\x01" + _unsigned(len(code)) + code),
    )
    module = b"\0asm\x01\0\0\0" + b"".join(_section(kind, content) for kind, content in sections)
    return wat(f"(component {RUN_OK})") + _section(1, module)


def _section(kind: int, content: bytes) -> bytes:
    return struct.pack("B", kind) + _unsigned(len(content)) + content


def _unsigned(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
