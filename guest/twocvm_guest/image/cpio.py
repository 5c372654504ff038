"""The archive that the kernel unpacks as its first root: "newc", with no time, owner or number in it to chance.

Spec: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from typing import Final

from .tree import Entry

_MAGIC: Final = b"070701"
_END: Final = "TRAILER!!!"
_BLOCK_BYTES: Final = 512


def archive(entries: Iterable[Entry]) -> bytes:
    """Return the archive of these entries, in the order given; everything is root's and from 1970."""
    parts = [_record(number, entry.path, entry.mode, entry.content) for number, entry in enumerate(entries, 1)]
    whole = b"".join((*parts, _record(0, _END, 0, b"")))
    return whole + bytes(-len(whole) % _BLOCK_BYTES)


def _record(inode: int, name: str, mode: int, content: bytes) -> bytes:
    links = 2 if stat.S_ISDIR(mode) else 1
    named = name.encode() + b"\0"
    owner = group = time = device = 0
    fields = (inode, mode, owner, group, links, time, len(content), device, device, device, device, len(named), 0)
    head = _MAGIC + b"".join(b"%08X" % field for field in fields) + named
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
