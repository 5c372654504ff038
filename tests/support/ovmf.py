"""A firmware of a few pages with the tables that a measured launch needs, each of which may be wrong or missing.

footer, 32 bytes before the end:  ... entries ... | length u16 | GUID
each entry:                       data | length u16 of all three | GUID
"""

from __future__ import annotations

import struct
from uuid import UUID

PAGE = 4096
FOOTER = UUID("96b582de-1fb2-45f7-baea-a366c55a082d")
HASH_TABLE = UUID("7255371f-3a3b-4b04-927b-1da6efa8d454")
RESET_BLOCK = UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e")
METADATA = UUID("dc886566-984a-4798-a75e-5585a7bf67cc")

MEMORY, SECRETS, CPUID, CALLING_AREA, KERNEL_HASHES = 1, 2, 3, 4, 0x10
SECTIONS = (
    (0x800000, 0x2000, MEMORY),
    (0x80D000, PAGE, SECRETS),
    (0x80E000, PAGE, CPUID),
    (0x80F000, PAGE, CALLING_AREA),
    (0x810000, PAGE, KERNEL_HASHES),
)
RESET_EIP = 0x80B004


def ovmf(
    *,
    pages: int = 4,
    sections: tuple[tuple[int, int, int], ...] = SECTIONS,
    reset_eip: int | None = RESET_EIP,
    signature: bytes = b"ASEV",
    version: int = 1,
) -> bytes:
    """Return the bytes of a firmware."""
    items = b"".join(struct.pack("<III", *section) for section in sections)
    header = struct.pack("<4sIII", signature, 16 + len(items), version, len(sections))
    metadata_at = 512
    entries = _entry(METADATA, struct.pack("<I", pages * PAGE - metadata_at))
    if reset_eip is not None:
        entries += _entry(RESET_BLOCK, struct.pack("<I", reset_eip))
    entries += _entry(HASH_TABLE, struct.pack("<II", 0x810C00, 0x400))
    table = entries + struct.pack("<H", len(entries) + 18) + FOOTER.bytes_le
    body = bytes(range(256)) * (pages * PAGE // 256)
    body = body[:metadata_at] + header + items + body[metadata_at + len(header + items) :]
    return body[: -32 - len(table)] + table + body[-32:]


def _entry(guid: UUID, data: bytes) -> bytes:
    return data + struct.pack("<H", len(data) + 18) + guid.bytes_le
