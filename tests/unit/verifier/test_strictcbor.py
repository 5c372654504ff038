"""The little CBOR that is read at all."""

from __future__ import annotations

import tracemalloc

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.hostile_cbor import tricks

from twocvm_verifier import strictcbor
from twocvm_verifier.errors import MalformedError

VALUES = st.recursive(
    st.binary(max_size=300) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=30), inner, max_size=4),
    max_leaves=12,
)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _refused(raw: bytes) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        strictcbor.parse(raw, document="claims", max_bytes=16384)
    return caught.value


MEMBERS: dict[str, object] = {"ctx": b"a", "log": b"b" * 32, "pair": ["text", b"c"]}
# What is wrong with the form; that a member is missing, further or of another type, the formats themselves refuse.
FORM = {
    name: raw
    for name, raw in tricks(MEMBERS).items()
    if name not in {"not a map", "empty map", "text for bytes", "missing member", "further member"}
}


@given(VALUES)
def test_what_is_written_is_read_again(value: strictcbor.Cbor) -> None:
    """Any value within the depth limit survives writing and reading; a deeper one is refused."""
    raw = strictcbor.encode(value)
    if _depth(value) <= strictcbor.MAX_DEPTH:
        assert strictcbor.parse(raw, document="claims", max_bytes=len(raw)) == value
    else:
        assert "deeper" in str(_refused(raw))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_malformed(raw: bytes) -> None:
    """Reading is total, and what is read is what a general decoder reads, written in its deterministic form."""
    try:
        value = strictcbor.parse(raw, document="claims", max_bytes=200)
    except MalformedError:
        return
    assert cbor2.loads(raw) == value
    assert cbor2.dumps(value, canonical=True) == raw


@pytest.mark.parametrize("raw", FORM.values(), ids=FORM)
def test_no_trick_is_read(raw: bytes) -> None:
    """What is not the deterministic spelling of bytes, text, arrays and maps is refused with the format's code."""
    assert _refused(raw).code == "MALFORMED_CLAIMS"


def test_one_byte_too_many_is_not_looked_at() -> None:
    """The limit of bytes is inclusive, and what is longer is refused before anything is read."""
    raw = strictcbor.encode(b"x" * 30)
    assert strictcbor.parse(raw, document="claims", max_bytes=len(raw)) == b"x" * 30
    with pytest.raises(MalformedError, match="at most"):
        strictcbor.parse(raw, document="claims", max_bytes=len(raw) - 1)


@pytest.mark.parametrize("head", [b"\x5b", b"\x7b", b"\x9b", b"\xbb"])
def test_a_length_that_lies_takes_no_memory(head: bytes) -> None:
    """A string or container that says to be gigantic is refused without room being made for it."""
    tracemalloc.start()
    _refused(head + b"\x00\x00\x00\x00\xff\xff\xff\xff")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 100_000


def test_more_values_than_anybody_means_are_not_walked() -> None:
    """A value may be one byte: what is many is refused when the walk gets there, and no more of it is read."""
    many = 2_000_000
    raw = b"\x9a" + many.to_bytes(4, "big") + b"\x80" * many
    with pytest.raises(MalformedError, match="more than 131072 values"):
        strictcbor.parse_tagged(raw, document="corim", max_bytes=1 << 21)
    few = b"\x9a" + (131_071).to_bytes(4, "big") + b"\x80" * 131_071
    assert strictcbor.parse_tagged(few, document="corim", max_bytes=1 << 21) == [[]] * 131_071
