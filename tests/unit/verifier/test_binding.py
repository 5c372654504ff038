"""Claims and REPORT_DATA."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.hostile_cbor import tricks

from twocvm_verifier import binding
from twocvm_verifier.binding import Claims, Context, LogPosition
from twocvm_verifier.errors import BindingError, MalformedError

HASHES = st.binary(min_size=32, max_size=32)
POSITIONS = st.builds(LogPosition, head=HASHES, events=st.integers(0, 2**64 - 1))
OWN = {
    Context.CERT: (),
    Context.CHANNEL: ("nonce", "binder"),
    Context.BATCH: ("root",),
    Context.RECEIPT: ("statement",),
}

KEY, MANIFEST, HEAD, A, B = (bytes([fill]) * 32 for fill in (1, 2, 3, 4, 5))
LOG = LogPosition(head=HEAD, events=7)


@st.composite
def _claims_of_any_kind(draw: st.DrawFn) -> Claims:
    context = draw(st.sampled_from(Context))
    return Claims(
        context=context,
        spki_sha256=draw(HASHES),
        manifest=draw(HASHES),
        log=draw(POSITIONS),
        own={key: draw(HASHES) for key in OWN[context]},
    )


def _channel() -> Claims:
    return binding.channel_claims(spki_sha256=KEY, manifest=MANIFEST, log=LOG, nonce=A, binder=B)


@given(_claims_of_any_kind())
def test_claims_are_read_as_they_were_written(claims: Claims) -> None:
    """Claims of every context survive writing and reading."""
    assert binding.parse_claims(claims.encode()) == claims


@given(st.binary(max_size=400))
def test_any_bytes_give_claims_or_malformed(raw: bytes) -> None:
    """Reading is total, and claims have one spelling."""
    try:
        claims = binding.parse_claims(raw)
    except MalformedError:
        return
    assert claims.encode() == raw


@given(_claims_of_any_kind(), st.data())
def test_one_bit_makes_other_claims(claims: Claims, data: st.DataObject) -> None:
    """Claims with any bit turned are malformed or say something else, so never the same REPORT_DATA."""
    raw = bytearray(claims.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        other = binding.parse_claims(bytes(raw))
    except MalformedError:
        return
    assert other != claims
    assert other.report_data() != claims.report_data()


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        (
            binding.cert_claims(spki_sha256=KEY, manifest=MANIFEST, log=LOG),
            {"ctx": b"2cvm/ratls-cert/v1"},
        ),
        (_channel(), {"ctx": b"2cvm/channel/v1", "nonce": A, "binder": B}),
        (
            binding.batch_claims(spki_sha256=KEY, manifest=MANIFEST, log=LOG, root=A),
            {"ctx": b"2cvm/batch/v1", "root": A},
        ),
        (
            binding.receipt_claims(spki_sha256=KEY, manifest=MANIFEST, log=LOG, statement=A),
            {"ctx": b"2cvm/receipt/v1", "statement": A},
        ),
    ],
    ids=lambda value: value.context.name if isinstance(value, Claims) else "",
)
def test_a_general_decoder_reads_the_table_of_the_specification(claims: Claims, expected: dict[str, bytes]) -> None:
    """Each context writes exactly its keys, each a byte string, and REPORT_DATA is their hash and the manifest's."""
    shared = {
        "pubkey-hash": cbor2.dumps([1, KEY]),
        "role": b"server",
        "manifest": MANIFEST,
        "log": HEAD,
        "events": (7).to_bytes(8, "big"),
    }
    assert cbor2.loads(claims.encode()) == {**shared, **expected}
    assert claims.report_data() == hashlib.sha256(claims.encode()).digest() + MANIFEST


MEMBERS: dict[str, object] = dict(cbor2.loads(_channel().encode()))
TRICKS = tricks(MEMBERS) | {
    "role client": cbor2.dumps({**MEMBERS, "role": b"client"}, canonical=True),
    "unknown context": cbor2.dumps({**MEMBERS, "ctx": b"2cvm/channel/v2"}, canonical=True),
    "context not ASCII": cbor2.dumps({**MEMBERS, "ctx": b"\xff"}, canonical=True),
    "members of another context": cbor2.dumps({**MEMBERS, "ctx": b"2cvm/ratls-cert/v1"}, canonical=True),
    "other hash algorithm": cbor2.dumps({**MEMBERS, "pubkey-hash": cbor2.dumps([2, KEY])}, canonical=True),
    "key hash as it is": cbor2.dumps({**MEMBERS, "pubkey-hash": KEY}, canonical=True),
    "key hash as an array": cbor2.dumps({**MEMBERS, "pubkey-hash": [1, KEY]}, canonical=True),
    "short key hash": cbor2.dumps({**MEMBERS, "pubkey-hash": cbor2.dumps([1, KEY])[:-1]}, canonical=True),
    "long key hash": cbor2.dumps({**MEMBERS, "pubkey-hash": cbor2.dumps([1, KEY]) + b"\x00"}, canonical=True),
    "short manifest": cbor2.dumps({**MEMBERS, "manifest": MANIFEST[:-1]}, canonical=True),
    "no nonce": cbor2.dumps({**MEMBERS, "nonce": b""}, canonical=True),
    "long nonce": cbor2.dumps({**MEMBERS, "nonce": A + b"\x00"}, canonical=True),
    "short head": cbor2.dumps({**MEMBERS, "log": HEAD[:-1]}, canonical=True),
    "events in four bytes": cbor2.dumps({**MEMBERS, "events": bytes(4)}, canonical=True),
    "oversize": cbor2.dumps({**MEMBERS, "nonce": bytes(1024)}, canonical=True),
}


@pytest.mark.parametrize("raw", TRICKS.values(), ids=TRICKS)
def test_no_trick_is_taken_for_claims(raw: bytes) -> None:
    """Whatever is not the one spelling of the table is refused with one code."""
    with pytest.raises(MalformedError) as caught:
        binding.parse_claims(raw)
    assert caught.value.code == "MALFORMED_CLAIMS"


@pytest.mark.parametrize("key", ["spki_sha256", "manifest", "nonce", "binder"])
@pytest.mark.parametrize("value", [b"", bytes(31), bytes(33)])
def test_no_expected_value_is_optional(key: str, value: bytes) -> None:
    """An empty, short or long value from our own side is our own mistake, never a check left out."""
    values = {"spki_sha256": KEY, "manifest": MANIFEST, "nonce": A, "binder": B} | {key: value}
    with pytest.raises(ValueError, match=key):
        binding.channel_claims(log=LOG, **values)


def test_claims_of_a_context_have_its_own_members_alone() -> None:
    """Claims cannot be made with a member that is missing or belongs elsewhere."""
    for own in ({}, {"nonce": A}, {"nonce": A, "binder": B, "root": A}):
        with pytest.raises(ValueError, match="own"):
            Claims(context=Context.CHANNEL, spki_sha256=KEY, manifest=MANIFEST, log=LOG, own=own)


@pytest.mark.parametrize("events", [-1, 2**64])
def test_a_log_cannot_be_that_long(events: int) -> None:
    """The number of events fits its eight bytes."""
    with pytest.raises(ValueError, match="events"):
        LogPosition(head=HEAD, events=events)


def test_claims_do_not_change_after_they_were_made() -> None:
    """The caller's own mapping is copied, and the copy is read-only."""
    own = {"root": A}
    claims = Claims(context=Context.BATCH, spki_sha256=KEY, manifest=MANIFEST, log=LOG, own=own)
    own["root"] = B
    assert claims.own["root"] == A
    with pytest.raises(TypeError):
        claims.own["root"] = B  # type: ignore[index]


OTHER: dict[str, Callable[[], Claims]] = {
    "pubkey-hash": lambda: binding.channel_claims(spki_sha256=A, manifest=MANIFEST, log=LOG, nonce=A, binder=B),
    "manifest": lambda: binding.channel_claims(spki_sha256=KEY, manifest=A, log=LOG, nonce=A, binder=B),
    "nonce": lambda: binding.channel_claims(spki_sha256=KEY, manifest=MANIFEST, log=LOG, nonce=B, binder=B),
    "binder": lambda: binding.channel_claims(spki_sha256=KEY, manifest=MANIFEST, log=LOG, nonce=A, binder=A),
    "log": lambda: binding.channel_claims(
        spki_sha256=KEY, manifest=MANIFEST, log=LogPosition(head=A, events=7), nonce=A, binder=B
    ),
    "events": lambda: binding.channel_claims(
        spki_sha256=KEY, manifest=MANIFEST, log=LogPosition(head=HEAD, events=8), nonce=A, binder=B
    ),
    "ctx": lambda: binding.cert_claims(spki_sha256=KEY, manifest=MANIFEST, log=LOG),
}


@pytest.mark.parametrize("member", OTHER)
def test_the_member_that_differs_is_named(member: str) -> None:
    """Claims rebuilt on this side refuse every other claims, and say in which member they differ."""
    _channel().require_equal(_channel().encode())
    with pytest.raises(BindingError) as caught:
        _channel().require_equal(OTHER[member]().encode())
    assert caught.value.code == "CLAIMS_MISMATCH"
    assert repr(member) in caught.value.detail


def test_what_are_no_claims_are_malformed_where_they_are_compared() -> None:
    """Bytes that are not claims at all are said to be malformed, not to differ."""
    with pytest.raises(MalformedError):
        _channel().require_equal(b"\xff")
