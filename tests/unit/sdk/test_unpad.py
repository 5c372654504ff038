"""Outputs that were padded in the guest, as their recipients have them again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twocvm_guest.filters.lengths import pad
from twocvm_sdk import unpad
from twocvm_verifier.errors import MalformedError


@given(content=st.binary(max_size=64))
def test_what_was_padded_comes_back(content: bytes) -> None:
    """Whatever a guest pads is as before, content that ends like padding included."""
    padded = b"".join(pad([128])(iter([content])))
    assert len(padded) == 128
    assert unpad(padded) == content


@pytest.mark.parametrize("content", [b"", bytes(128), b"model", b"model" + bytes(8)])
def test_what_was_not_padded_is_refused(content: bytes) -> None:
    """Nothing is cut from an output that has no mark."""
    with pytest.raises(MalformedError) as caught:
        unpad(content)
    assert caught.value.code == "MALFORMED_PADDING"
