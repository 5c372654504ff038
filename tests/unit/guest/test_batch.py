"""Merkle trees of batches, against a second way to build them that knows nothing of the first."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twocvm_guest.batch import MAX_LEAVES, tree_of
from twocvm_verifier.evidence import MAX_PATH_BYTES
from twocvm_verifier.ratls.batch import root_of

hashes = st.binary(min_size=32, max_size=32)


def root_by_halves(leaves: list[bytes]) -> bytes:
    """Return the root as RFC 6962, 2.1 would: split at the greatest power of two below the number of leaves."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root_by_halves(leaves[:split]) + root_by_halves(leaves[split:])).digest()


def path_by_halves(leaves: list[bytes], place: int) -> bytes:
    """Return the path of one leaf in the same way (RFC 6962, 2.1.1), each step with its side."""
    if len(leaves) == 1:
        return b""
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if place < split:
        return path_by_halves(leaves[:split], place) + b"\x01" + root_by_halves(leaves[split:])
    return path_by_halves(leaves[split:], place - split) + b"\x00" + root_by_halves(leaves[:split])


@given(st.lists(hashes, min_size=1, max_size=70))
def test_tree_is_what_others_build(leaves: list[bytes]) -> None:
    """Root and paths are those of an implementation that goes down instead of up."""
    root, paths = tree_of(leaves)
    assert root == root_by_halves(leaves)
    assert paths == [path_by_halves(leaves, place) for place in range(len(leaves))]


@given(st.lists(hashes, min_size=1, max_size=70, unique=True), st.data())
def test_no_path_leads_from_a_leaf_of_another(leaves: list[bytes], data: st.DataObject) -> None:
    """A path leads to the root from its own leaf, and from no other leaf, node or stranger."""
    root, paths = tree_of(leaves)
    place = data.draw(st.integers(0, len(leaves) - 1))
    other = data.draw(st.one_of(st.sampled_from(leaves), hashes).filter(lambda leaf: leaf != leaves[place]))
    assert root_of(leaf=leaves[place], path=paths[place]) == root
    assert root_of(leaf=other, path=paths[place]) != root


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 300])
def test_sizes_around_a_power_of_two(size: int) -> None:
    """Every leaf of a batch of any size reaches the root, in no more steps than the tree has levels."""
    leaves = [hashlib.sha256(number.to_bytes(2, "big")).digest() for number in range(size)]
    root, paths = tree_of(leaves)
    assert {root_of(leaf=leaf, path=path) for leaf, path in zip(leaves, paths, strict=True)} == {root}
    assert max(map(len, paths)) == 33 * (size - 1).bit_length()


def test_largest_batch_has_the_longest_path_that_is_read() -> None:
    """65536 leaves take 16 steps; nobody and more than that are no batch."""
    leaves = [number.to_bytes(32, "big") for number in range(MAX_LEAVES)]
    _, paths = tree_of(leaves)
    assert MAX_LEAVES == 65536
    assert {len(path) for path in paths} == {MAX_PATH_BYTES}
    for wrong in ([], [*leaves, bytes(32)]):
        with pytest.raises(ValueError, match="leaves"):
            tree_of(wrong)
