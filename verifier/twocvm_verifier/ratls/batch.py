"""One report for many connections: the way from a connection's leaf to the root that the report binds.

A path goes from the leaf up; each step is one byte (0: the sibling stands left, 1: right) and the sibling's 32 bytes,
at most 16 of them, none for a batch of one. A node without a sibling moves up unchanged, which takes no step.

>>> root_of(leaf=bytes(32), path=b"") == bytes(32)
True

Spec: docs/spec/claims.md, docs/spec/ratls.md, 4.
"""

from __future__ import annotations

from twocvm_verifier import framing
from twocvm_verifier.evidence import PATH_STEP_BYTES


def root_of(*, leaf: bytes, path: bytes) -> bytes:
    """Return the Merkle root that `path` leads to.

    Args:
        leaf: `framing.batch_leaf` of this connection's nonce and binder (32 bytes).
        path: Whole steps, as `evidence` has checked them.
    """
    node = leaf
    for start in range(0, len(path), PATH_STEP_BYTES):
        side, sibling = path[start], path[start + 1 : start + PATH_STEP_BYTES]
        node = framing.batch_node(node, sibling) if side else framing.batch_node(sibling, node)
    return node
