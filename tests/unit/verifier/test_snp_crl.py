"""A revocation list: read strictly, and believed only under the root that signed it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.amd import PSS_WITH_TRAILER, borrowed_names, fake_amd, raw_extension
from tests.support.crls import (
    AUTHORITY_KEY,
    DELTA,
    DISTRIBUTION_POINT,
    HOLD,
    NEXT_UPDATE,
    NUMBER,
    REASON,
    THIS_UPDATE,
    crl_of,
    entries_of,
    entry_of,
    fields_of,
    time_of,
)
from tests.support.vectors import require_vectors

from twocvm_verifier import amd_roots
from twocvm_verifier.errors import ChainError, MalformedError, SignatureError
from twocvm_verifier.snp.crl import MAX_CRL_BYTES, parse_crl, verify_crl
from twocvm_verifier.snp.der import SEQUENCE, UTC_TIME, encode, encode_integer
from twocvm_verifier.snp.product import Product

MILAN, GENOA = fake_amd(Product.MILAN), fake_amd(Product.GENOA)
RIGHT = fields_of(MILAN)
PUBLISHED = {
    "ARK-Genoa-2022-10-31-2023-10-31.crl.der": (
        Product.GENOA,
        2,
        {0x020001},
        datetime(2022, 10, 31, 13, 34, 46, tzinfo=UTC),
    ),
    "ARK-Milan-2022-05-09-2023-05-09.crl.der": (Product.MILAN, 3, set(), datetime(2022, 5, 9, 17, 7, 45, tzinfo=UTC)),
}


def refused(raw: bytes) -> str:
    """Return the detail with which a list is refused as malformed."""
    with pytest.raises(MalformedError) as caught:
        parse_crl(raw)
    assert caught.value.code == "MALFORMED_CRL"
    return caught.value.detail


def test_a_list_says_what_it_was_made_with():
    """Number, times, issuer and serial numbers are read back."""
    crl = parse_crl(crl_of(MILAN, number=1 << 100, revoked=(0x10001, 0xDB, 0)))
    assert (crl.number, crl.revoked) == (1 << 100, {0x10001, 0xDB, 0})
    assert (crl.this_update, crl.next_update) == (THIS_UPDATE, NEXT_UPDATE)
    verified = verify_crl(crl, roots=MILAN.roots())
    assert (verified.product, verified.crl) == (Product.MILAN, crl)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_lists_that_amd_published(name):
    """Both genuine lists verify under AMD's roots and are read as the library reads them."""
    raw = (require_vectors() / "snp" / "_crl" / name).read_bytes()
    product, number, revoked, this_update = PUBLISHED[name]
    verified = verify_crl(parse_crl(raw), roots=amd_roots())
    assert (verified.product, verified.crl.number, verified.crl.revoked) == (product, number, revoked)
    assert verified.crl.this_update == this_update
    theirs = x509.load_der_x509_crl(raw)
    assert (theirs.last_update_utc, theirs.next_update_utc) == (verified.crl.this_update, verified.crl.next_update)
    assert {entry.serial_number for entry in theirs} == revoked
    assert theirs.tbs_certlist_bytes == verified.crl.tbs


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_flipped_bit_of_a_published_list_is_refused(name):
    """A bit anywhere in a genuine list makes it no list of AMD's."""
    raw = (require_vectors() / "snp" / "_crl" / name).read_bytes()
    roots = amd_roots()
    for position in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises((MalformedError, SignatureError, ChainError)):
            verify_crl(parse_crl(bytes(changed)), roots=roots)


def test_both_spellings_of_the_algorithm():
    """The trailer field may be written out, as in some of AMD's certificates."""
    fields = replace(RIGHT, algorithm=PSS_WITH_TRAILER)
    assert verify_crl(parse_crl(fields.der()), roots=MILAN.roots()).crl.number == 3


def test_the_critical_bit_of_known_extensions_is_no_problem():
    """What is understood may be critical."""
    extensions = (
        raw_extension(AUTHORITY_KEY, b"x", critical=True),
        raw_extension(NUMBER, encode_integer(9), critical=True),
    )
    assert parse_crl(replace(RIGHT, extensions=extensions).der()).number == 9


def test_a_time_after_2049():
    """RFC 5280 writes it as GeneralizedTime."""
    late = datetime(2051, 1, 1, tzinfo=UTC)
    assert parse_crl(crl_of(MILAN, next_update=late)).next_update == late


def test_another_signer_with_the_same_name():
    """A list in AMD's name under another key is refused."""
    with pytest.raises(SignatureError) as caught:
        verify_crl(parse_crl(crl_of(borrowed_names(Product.MILAN))), roots=MILAN.roots())
    assert caught.value.code == "CRL_SIGNATURE"


@pytest.mark.parametrize("signer", ["ask", "asvk"])
def test_an_intermediate_signs_no_list(signer):
    """Only the root revokes."""
    with pytest.raises(SignatureError) as caught:
        verify_crl(parse_crl(crl_of(MILAN, signer=getattr(MILAN.keys, signer))), roots=MILAN.roots())
    assert caught.value.code == "CRL_SIGNATURE"


def test_another_salt():
    """PSS parameters are exact: a signature made with a salt of 32 bytes is none."""
    with pytest.raises(SignatureError):
        verify_crl(parse_crl(replace(RIGHT, salt_bytes=32).der()), roots=MILAN.roots())


def test_an_issuer_that_is_no_accepted_root():
    """Another product's list, and a simulated platform's, are unknown to roots that do not have them."""
    for stranger in (GENOA, fake_amd(Product.SIMULATED)):
        with pytest.raises(ChainError) as caught:
            verify_crl(parse_crl(crl_of(stranger)), roots=MILAN.roots())
        assert caught.value.code == "CRL_ISSUER_UNKNOWN"


def _extended(*extensions: bytes) -> bytes:
    return replace(RIGHT, extensions=(*RIGHT.extensions, *extensions)).der()


def _entered(*extensions: bytes) -> bytes:
    return replace(RIGHT, revoked=entries_of(entry_of(7, *extensions))).der()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "missing"),
        (b"\x30\x80", "length"),
        (bytes(MAX_CRL_BYTES + 1), "length"),
        (replace(RIGHT, trailing=b"\x00").der(), "too many"),
        (replace(RIGHT, unused_bits=4).der(), "unused bits"),
        (replace(RIGHT, outer_algorithm=PSS_WITH_TRAILER).der(), "signature_algorithm"),
        (replace(RIGHT, algorithm=encode(SEQUENCE)).der(), "signature_algorithm"),
        (replace(RIGHT, version=encode_integer(0)).der(), "version"),
        (replace(RIGHT, version=b"").der(), "version"),
        (replace(RIGHT, next_update=b"").der(), "next_update"),
        (replace(RIGHT, next_update=RIGHT.this_update).der(), "not after"),
        (crl_of(MILAN, next_update=THIS_UPDATE - timedelta(seconds=1)), "not after"),
        (replace(RIGHT, this_update=encode(UTC_TIME, b"261301000000Z")).der(), "this_update"),
        (replace(RIGHT, revoked=entries_of()).der(), "revoked"),
        (replace(RIGHT, revoked=entries_of(entry_of(7), entry_of(7))).der(), "twice"),
        (replace(RIGHT, revoked=entries_of(encode(SEQUENCE, b"\x02\x01\xff", time_of(THIS_UPDATE)))).der(), "INTEGER"),
        (replace(RIGHT, revoked=entries_of(encode(SEQUENCE, encode_integer(7)))).der(), "revoked"),
        (replace(RIGHT, revoked=entries_of(entry_of(7) + b"\x05\x00")).der(), "tag"),
        (_entered(raw_extension(HOLD, b"", critical=True)), "critical"),
        (_entered(raw_extension(REASON, b"x"), raw_extension(REASON, b"y")), "twice"),
        (replace(RIGHT, extensions=RIGHT.extensions[:1]).der(), "number"),
        (replace(RIGHT, extensions=()).der(), "extensions"),
        (replace(RIGHT, extensions_tail=b"\x05\x00").der(), "too many"),
        (replace(RIGHT, tbs_tail=b"\x05\x00").der(), "too many"),
        (replace(RIGHT, extensions=(raw_extension(NUMBER, b"\x02\x01\xff"),)).der(), "number"),
        (replace(RIGHT, extensions=(raw_extension(NUMBER, encode_integer(3) + b"\x00"),)).der(), "number"),
        (crl_of(MILAN, number=1 << 160), "20 bytes"),
        (_extended(raw_extension(NUMBER, encode_integer(4))), "twice"),
        (_extended(raw_extension("1.3.6.1.4.1.3704.9", b"x", critical=True)), "critical and unknown"),
        (_extended(raw_extension(DELTA, encode_integer(1))), "a delta or a part"),
        (_extended(raw_extension(DISTRIBUTION_POINT, b"x", critical=True)), "a delta or a part"),
        (_extended(raw_extension("1.3.6.1.4.1.3704.9", b"x", critical=True).replace(b"\xff", b"\x01")), "criticality"),
    ],
)
def test_lists_that_are_none(raw, said):
    """Every rule of the format, broken alone, refuses: signed or not."""
    assert said in refused(raw)


def test_what_is_not_critical_and_unknown_is_passed_over():
    """AMD may say more than is understood here, in the list and in its entries."""
    assert parse_crl(_extended(raw_extension("1.3.6.1.4.1.3704.9", b"x"))).number == 3
    assert parse_crl(_entered(raw_extension(REASON, b"\x0a\x01\x02"))).revoked == {7}


@given(st.binary(max_size=300))
def test_the_parser_is_total(raw):
    """Any bytes give a list or MalformedError."""
    with pytest.raises(MalformedError):
        parse_crl(raw)


@given(st.data())
@settings(deadline=None)
def test_the_parser_is_total_near_the_truth(data):
    """A list with some bytes changed gives a list or MalformedError, and verifies only unchanged."""
    raw = bytearray(data.draw(st.sampled_from([RIGHT_RAW, REVOKING_RAW])))
    original = bytes(raw)
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        verify_crl(parse_crl(bytes(raw)), roots=MILAN.roots())
    except (MalformedError, SignatureError, ChainError):
        return
    assert bytes(raw) == original


RIGHT_RAW = RIGHT.der()
REVOKING_RAW = crl_of(MILAN, revoked=(0x10000, 0x10001))


@given(st.integers(0, (1 << 160) - 1), st.frozensets(st.integers(0, 1 << 64), max_size=5))
@settings(deadline=None, max_examples=20)
def test_lists_round_trip(number, revoked):
    """Whatever numbers a list has are read back."""
    crl = parse_crl(crl_of(MILAN, number=number, revoked=tuple(revoked)))
    assert (crl.number, crl.revoked) == (number, revoked)
