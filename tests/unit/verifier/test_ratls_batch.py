"""Merkle trees over batches of any size, built the other way round than they are verified."""

from __future__ import annotations

import pytest

from twocvm_verifier.evidence import MAX_PATH_BYTES
from twocvm_verifier.framing import batch_leaf, batch_node
from twocvm_verifier.ratls.batch import root_of


def tree(leaves: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Return root and paths as docs/spec/ratls.md, 4 has them: level by level, a node without a sibling moves up."""
    level = [(leaf, [number]) for number, leaf in enumerate(leaves)]
    paths = [b""] * len(leaves)
    while len(level) > 1:
        above = []
        for index in range(0, len(level) - 1, 2):
            (left, under_left), (right, under_right) = level[index], level[index + 1]
            for number in under_left:
                paths[number] += b"\x01" + right
            for number in under_right:
                paths[number] += b"\x00" + left
            above.append((batch_node(left, right), under_left + under_right))
        level = above + (level[-1:] if len(level) % 2 else [])
    return level[0][0], paths


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 100])
def test_every_leaf_reaches_the_root_by_its_own_path_alone(size: int) -> None:
    """Each connection of a batch finds the root by its path, and by nobody else's."""
    leaves = [batch_leaf(nonce=bytes([number]) * 32, binder=bytes([255 - number]) * 32) for number in range(size)]
    root, paths = tree(leaves)
    for number, leaf in enumerate(leaves):
        reached = [other for other, path in enumerate(paths) if root_of(leaf=leaf, path=path) == root]
        assert reached == [number]


def test_longest_path_is_for_65536_connections() -> None:
    """Sixteen steps are enough for every batch that a guest can have."""
    assert MAX_PATH_BYTES == 16 * 33
    path = b"".join(bytes([step % 2]) + bytes([step]) * 32 for step in range(16))
    assert len(root_of(leaf=b"l" * 32, path=path)) == 32
