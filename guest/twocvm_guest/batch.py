"""One report for many connections: the Merkle tree over a batch's leaves, and each leaf's path to its root.

Leaves stand in the order in which they are given; a node without a sibling moves up unchanged. What follows a path is
`twocvm_verifier.ratls.batch`.

>>> root, paths = tree_of([b"a" * 32, b"b" * 32, b"c" * 32])
>>> root == batch_node(batch_node(b"a" * 32, b"b" * 32), b"c" * 32), [len(path) for path in paths]
(True, [66, 66, 33])

Spec: docs/spec/claims.md, 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twocvm_verifier.evidence import MAX_PATH_BYTES, PATH_STEP_BYTES
from twocvm_verifier.framing import batch_node

MAX_LEAVES: Final = 1 << MAX_PATH_BYTES // PATH_STEP_BYTES
"""As many as the longest path can tell apart: 65536."""

_SIBLING_LEFT: Final = b"\x00"
_SIBLING_RIGHT: Final = b"\x01"


def tree_of(leaves: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """Return the root over `leaves`, and the path of each of them, in their order.

    Args:
        leaves: `framing.batch_leaf` of each connection (32 bytes), from one to `MAX_LEAVES`.

    Raises:
        ValueError: None, or too many.
    """
    if not 1 <= len(leaves) <= MAX_LEAVES:
        raise ValueError(f"leaves: got {len(leaves)}, want 1 to {MAX_LEAVES}")
    levels = [list(leaves)]
    while len(level := levels[-1]) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        alone = level[-1:] if len(level) % 2 else []
        levels.append([batch_node(left, right) for left, right in pairs] + alone)
    return levels[-1][0], [_path(levels, number) for number in range(len(leaves))]


def _path(levels: list[list[bytes]], place: int) -> bytes:
    steps: list[bytes] = []
    for level in levels[:-1]:
        # The neighbour with which `place` is a pair; at the end of an odd level there is none.
        sibling = place ^ 1
        if sibling < len(level):
            steps += (_SIBLING_LEFT if sibling < place else _SIBLING_RIGHT, level[sibling])
        place //= 2
    return b"".join(steps)
