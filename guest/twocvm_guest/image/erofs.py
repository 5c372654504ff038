"""A file system with one folder of files, in the form of EROFS that has neither compression nor attributes.

The same files give the same bytes: no time, no owner and no random number is in it. The first blocks have what the
files are called and where they lie; then come the files, each at the beginning of a block.

Spec: Linux, fs/erofs/erofs_fs.h; Documentation/filesystems/erofs.rst.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from .verity import BLOCK_BYTES

_MAGIC: Final = 0xE0F5_E1E2
_SUPER_OFFSET: Final = 1024
# Magic, checksum, features, size of a block as a power of two, the root's number, files in all, blocks in all.
_SUPER: Final = struct.Struct("<IIIBBHQQIIII16s16s48x")
_BLOCKS: Final = struct.Struct("<I")
_BLOCKS_OFFSET: Final = _SUPER_OFFSET + 36
# Form, attributes, mode, size, first block, number for stat(2), owner, group, time, links.
_INODE: Final = struct.Struct("<HHHxxQIIIIQII16x")
_EXTENDED_PLAIN: Final = 1
_SLOT_BYTES: Final = 32
_FIRST_SLOT: Final = BLOCK_BYTES // _SLOT_BYTES
_NAME: Final = struct.Struct("<QHBx")
_REGULAR, _FOLDER = 1, 2
_MODE_OF_FOLDER: Final = stat.S_IFDIR | 0o555
_MODE_OF_FILE: Final = stat.S_IFREG | 0o444


def head(sizes: Mapping[str, int]) -> bytes:
    """Return what comes before the files: they follow in the order of their names, each filled up to whole blocks.

    Args:
        sizes: The files' lengths in bytes, by name: ASCII, no longer than 255.
    """
    names = sorted(sizes)
    numbers = {name: _FIRST_SLOT + 2 * position for position, name in enumerate(names, 1)}
    listed = _folder((".", ".."), _FIRST_SLOT, numbers)
    inode_blocks = blocks_of(_INODE.size * (len(names) + 1))
    position = 1 + inode_blocks + blocks_of(len(listed))
    inodes = [_INODE.pack(_EXTENDED_PLAIN, 0, _MODE_OF_FOLDER, len(listed), 1 + inode_blocks, 1, 0, 0, 0, 0, 2)]
    for number, name in enumerate(names, 2):
        inodes.append(_INODE.pack(_EXTENDED_PLAIN, 0, _MODE_OF_FILE, sizes[name], position, number, 0, 0, 0, 0, 1))
        position += blocks_of(sizes[name])
    super_block = _SUPER.pack(_MAGIC, 0, 0, 12, 0, _FIRST_SLOT, len(inodes), 0, 0, position, 0, 0, b"", b"")
    return _filled(bytes(_SUPER_OFFSET) + super_block) + _filled(b"".join(inodes)) + listed


def blocks_in(first: bytes) -> int:
    """Return how many blocks a file system has, by its first one.

    Raises:
        ValueError: It is not one that `head` made.
    """
    if len(first) < BLOCK_BYTES or int.from_bytes(first[_SUPER_OFFSET : _SUPER_OFFSET + 4], "little") != _MAGIC:
        raise ValueError("disk: has no file system of this kind")
    return int(_BLOCKS.unpack_from(first, _BLOCKS_OFFSET)[0])


def blocks_of(size_bytes: int) -> int:
    """Return how many blocks hold so many bytes."""
    return -(-size_bytes // BLOCK_BYTES)


def _folder(own: tuple[str, ...], root: int, numbers: Mapping[str, int]) -> bytes:
    rows = [*((name, root, _FOLDER) for name in own), *((name, number, _REGULAR) for name, number in numbers.items())]
    return b"".join(map(_names, _by_block(rows)))


def _by_block(rows: Iterable[tuple[str, int, int]]) -> Iterator[list[tuple[str, int, int]]]:
    block: list[tuple[str, int, int]] = []
    used = 0
    for row in rows:
        size = _NAME.size + len(row[0])
        if used + size > BLOCK_BYTES:
            yield block
            block, used = [], 0
        block.append(row)
        used += size
    yield block


def _names(rows: list[tuple[str, int, int]]) -> bytes:
    # A block begins with its rows, the first of which says by where its name lies how many there are; then the names.
    position, table = _NAME.size * len(rows), []
    for name, number, kind in rows:
        table.append(_NAME.pack(number, position, kind))
        position += len(name)
    return _filled(b"".join(table) + "".join(name for name, *_ in rows).encode("ascii"))


def _filled(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % BLOCK_BYTES)
