"""Every preimage, written out here once more by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twocvm_verifier import framing

A, B = bytes(range(32)), bytes(range(32, 64))


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_manifest_hash() -> None:
    """manifest_hash = SHA-256("2cvm.manifest.v1" || 0x00 || JCS(manifest))."""
    assert framing.manifest_hash(b'{"a":1}') == _sha256(b'2cvm.manifest.v1\x00{"a":1}')


def test_policy_digest_and_simulated_measurement() -> None:
    """A policy is named by SHA-256; the simulated MEASUREMENT is as wide as a real one, SHA-384."""
    assert framing.policy_digest(b"{}") == _sha256(b"2cvm.policy.v1\x00{}")
    assert framing.reference_values_digest(b"{}") == _sha256(b"2cvm.reference-values.v1\x00{}")
    assert framing.audit_digest(b"{}") == _sha256(b"2cvm.audit.v1\x00{}")
    assert framing.simulated_measurement(b"[]") == hashlib.sha384(b"2cvm.simulated.v1\x00[]").digest()


def test_item_commitment() -> None:
    """A commitment is the hash of label, salt, length as u64 big endian, and digest."""
    got = framing.item_commitment(salt=A, size_bytes=258, sha256=B)
    assert got == _sha256(b"2cvm.item.v1\x00" + A + b"\x00\x00\x00\x00\x00\x00\x01\x02" + B)


def test_roster_digest() -> None:
    """A roster's digest is over its label and the JCS of the goes."""
    assert framing.roster_digest(b"[]") == _sha256(b"2cvm.roster.v1\x00[]")


def test_log_heads() -> None:
    """The first head is over REPORT_ID, every later one over the head before and the event."""
    assert framing.log_start(A) == _sha256(b"2cvm.log.v1\x00" + A)
    assert framing.log_next(A, b"{}") == _sha256(b"2cvm.log.v1\x00" + A + b"{}")


def test_binder_and_batch() -> None:
    """Binder, leaf and node are as interoperable RA-TLS has them: without a label."""
    assert framing.binder(spki_der=b"key", exported=A) == _sha256(b"key" + A)
    assert framing.batch_leaf(nonce=A, binder=B) == _sha256(b"\x00" + A + B)
    assert framing.batch_node(A, B) == _sha256(b"\x01" + A + B)


@given(st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=8), st.binary(max_size=8))
def test_labels_keep_kinds_apart(label: str, data: bytes) -> None:
    """Label and data can be told apart again, because no label has a zero byte."""
    before, zero, after = framing.tagged(label, data).partition(b"\x00")
    assert (before, zero, after) == (label.encode(), b"\x00", data)


FIXED: dict[str, Callable[[bytes], bytes]] = {
    "salt": lambda wrong: framing.item_commitment(salt=wrong, size_bytes=0, sha256=B),
    "digest": lambda wrong: framing.item_commitment(salt=A, size_bytes=0, sha256=wrong),
    "report id": framing.log_start,
    "head": lambda wrong: framing.log_next(wrong, b""),
    "exporter value": lambda wrong: framing.binder(spki_der=b"", exported=wrong),
    "nonce": lambda wrong: framing.batch_leaf(nonce=wrong, binder=B),
    "leaf's binder": lambda wrong: framing.batch_leaf(nonce=A, binder=wrong),
    "left": lambda wrong: framing.batch_node(wrong, B),
    "right": lambda wrong: framing.batch_node(A, wrong),
}


@pytest.mark.parametrize("call", FIXED.values(), ids=FIXED.keys())
@pytest.mark.parametrize("size", [0, 31, 33])
def test_fixed_widths_are_fixed(call: Callable[[bytes], bytes], size: int) -> None:
    """A field of another width would let two preimages be one; it is a mistake of the caller."""
    with pytest.raises(ValueError, match="want 32"):
        call(bytes(size))
