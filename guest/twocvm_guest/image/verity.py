"""The tree of hashes of a disk, as the kernel's dm-verity reads it: form 1, SHA-256, blocks of 4 KiB, without a salt.

Every hash block has the hashes of 128 blocks below it; the highest level comes first, and the hash of its one block is
the root. Who holds the root and the number of blocks can tell any other byte.

Spec: Linux, Documentation/admin-guide/device-mapper/verity.rst; cryptsetup, DMVerity.
"""

from __future__ import annotations

import hashlib
from typing import Final

BLOCK_BYTES: Final = 4096
_HASH_BYTES: Final = 32


def hash_tree(hashes: bytes) -> tuple[bytes, bytes]:
    """Return the root (32 bytes), and the tree as it follows its data on the disk.

    Args:
        hashes: SHA-256 of each of the data's blocks, one after the other; of two at least.

    Raises:
        ValueError: There are fewer than two blocks, which have no tree.
    """
    if len(hashes) < 2 * _HASH_BYTES:
        raise ValueError("disk: want at least two blocks")
    levels = []
    while len(hashes) > _HASH_BYTES:
        level = hashes + bytes(-len(hashes) % BLOCK_BYTES)
        levels.append(level)
        hashes = b"".join(
            hashlib.sha256(level[start : start + BLOCK_BYTES]).digest() for start in range(0, len(level), BLOCK_BYTES)
        )
    return hashes, b"".join(reversed(levels))


def root_of(highest: bytes) -> bytes:
    """Return the root (32 bytes) of a tree whose first block this is."""
    return hashlib.sha256(highest).digest()
