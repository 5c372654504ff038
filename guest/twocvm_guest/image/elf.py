"""Leaves out of a library what only debuggers and linkers read: the names of its functions, and the list of sections.

A wheel's libraries come with it; it would be a fifth of what has to be loaded, hashed and held. What the machine's own
loader uses is described by the program headers, which stay as they are, and so does every byte that is mapped.

Spec: Tool Interface Standard, Executable and Linking Format 1.2; elf(5).
"""

from __future__ import annotations

import struct
from typing import Final

_MAGIC: Final = b"\x7fELF\x02\x01\x01"
_SHARED: Final = 3  # ET_DYN
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")


def without_sections(raw: bytes) -> bytes:
    """Return a 64-bit library up to the end of its last segment; anything else as it is.

    Args:
        raw: A file's bytes. Kernel modules are found by their sections, and are signed: they stay as they are.
    """
    if not raw.startswith(_MAGIC) or len(raw) < _HEADER.size:
        return raw
    fields = list(_HEADER.unpack_from(raw))
    kind, first, count = fields[1], fields[5], fields[10]
    if kind != _SHARED or first + count * _SEGMENT.size > len(raw):
        return raw
    segments = (_SEGMENT.unpack_from(raw, first + number * _SEGMENT.size) for number in range(count))
    end = max((offset + size for _, _, offset, _, _, size, _, _ in segments), default=0)
    # Where sections are, how many there are, and which of them has their names: there are none.
    fields[6] = fields[12] = fields[13] = 0
    head = _HEADER.pack(*fields)
    return head + raw[len(head) : end] if end >= len(head) else raw
