"""Certificate tables as hosts lay them out, in either byte order.

table({GUIDS["vcek"]: der, GUIDS["ark"]: der})
"""

from __future__ import annotations

import struct
from uuid import UUID

GUIDS = {
    "vcek": UUID("63da758d-e664-4564-adc5-f4b93be8accd"),
    "vlek": UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1"),
    "intermediate": UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782"),
    "ark": UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae"),
    "crl": UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea"),
}
# Google's hosts put an endorsement of their firmware under this one.
OTHER = UUID("ecae0c0f-9502-43b1-afa2-0ae2e0d565b6")
ENTRY = struct.Struct("<16sII")


def entry(guid: UUID, offset: int, length: int, *, big_endian: bool = False) -> bytes:
    """Return one entry of a table."""
    return ENTRY.pack(guid.bytes if big_endian else guid.bytes_le, offset, length)


def table(blobs: dict[UUID, bytes], *, big_endian: bool = False, padding: int = 0) -> bytes:
    """Return a whole table, laid out as Linux does it."""
    offset = ENTRY.size * (len(blobs) + 1)
    head = b""
    for guid, blob in blobs.items():
        head += entry(guid, offset, len(blob), big_endian=big_endian)
        offset += len(blob)
    return head + bytes(ENTRY.size) + b"".join(blobs.values()) + bytes(padding)
