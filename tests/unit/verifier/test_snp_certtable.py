"""The host's certificate table: read in both byte orders, and refused in every way it can lie about its layout."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.amd import AT, borrowed_names, fake_amd, pem
from tests.support.certtables import ENTRY, GUIDS, OTHER, entry, table

from twocvm_verifier import SnpVerifier
from twocvm_verifier.errors import MalformedError, NotFoundError, VerificationError
from twocvm_verifier.snp.certtable import MAX_ENTRIES, MAX_TABLE_BYTES, CertTable, parse_cert_table
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import parse_report

AMD = fake_amd(Product.MILAN)


def refused(raw: bytes) -> str:
    """Return the detail with which a table is refused as malformed."""
    with pytest.raises(MalformedError) as caught:
        parse_cert_table(raw)
    assert caught.value.code == "MALFORMED_CERT_TABLE"
    return caught.value.detail


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 4096])
def test_every_blob_is_found_in_both_byte_orders(big_endian, padding):
    """All five of AMD's blobs come back as they were put in, page padding or not."""
    blobs = {name: name.encode() for name in GUIDS}
    raw = table({GUIDS[name]: blob for name, blob in blobs.items()}, big_endian=big_endian, padding=padding)
    assert parse_cert_table(raw) == CertTable(blobs=blobs, unknown=0)


def test_a_table_is_enough_to_verify_a_report():
    """VEK and chain of a table verify a report as if they had come apart, in DER and in PEM."""
    report = AMD.report()
    for wrap in (bytes, pem):
        blobs = {"vcek": AMD.vcek(), "intermediate": wrap(AMD.ask()), "ark": wrap(AMD.ark())}
        found = parse_cert_table(table({GUIDS[name]: blob for name, blob in blobs.items()}))
        verifier = SnpVerifier(roots=AMD.roots())
        vek = found.vek_of(parse_report(report))
        assert verifier.verify(report, vek=vek, chain=found.chain, at=AT).report.raw == report


def test_the_report_says_which_kind_is_wanted():
    """A report that a VLEK signed gets the VLEK, and one that a VCEK signed never does."""
    by_vlek = parse_report(AMD.report(flags=1 << 2, chip_id=bytes(64)))
    both = parse_cert_table(table({GUIDS["vcek"]: b"c", GUIDS["vlek"]: b"l"}))
    assert (both.vek_of(parse_report(AMD.report())), both.vek_of(by_vlek)) == (b"c", b"l")
    only = parse_cert_table(table({GUIDS["vlek"]: AMD.vlek()}))
    with pytest.raises(NotFoundError) as caught:
        only.vek_of(parse_report(AMD.report()))
    assert caught.value.code == "VEK_MISSING"


@pytest.mark.parametrize("names", [(), ("intermediate",), ("ark",)])
def test_half_a_chain_is_none(names):
    """A chain is compared whole or not at all."""
    assert parse_cert_table(table({GUIDS[name]: b"x" for name in names})).chain is None


def test_a_table_never_brings_trust():
    """A whole hierarchy with AMD's names in the table is refused: it is not the accepted one."""
    forger = borrowed_names(Product.MILAN)
    blobs = {"vcek": forger.vcek(), "intermediate": forger.ask(VekKind.VCEK), "ark": forger.ark()}
    found = parse_cert_table(table({GUIDS[name]: blob for name, blob in blobs.items()}))
    report = forger.report()
    with pytest.raises(VerificationError) as caught:
        SnpVerifier(roots=AMD.roots()).verify(report, vek=found.vek_of(parse_report(report)), chain=found.chain, at=AT)
    assert caught.value.code == "CHAIN_ROOT_UNKNOWN"


def test_entries_of_others_are_passed_over():
    """A host's own entries are counted and otherwise nothing."""
    found = parse_cert_table(table({OTHER: b"endorsement", GUIDS["vcek"]: b"v"}))
    assert (found.unknown, dict(found.blobs)) == (1, {"vcek": b"v"})


def test_an_empty_table_is_a_table():
    """The entry of zeros alone is what a host without certificates sends."""
    assert parse_cert_table(bytes(ENTRY.size)) == CertTable(blobs={}, unknown=0)


def test_too_long_a_table():
    """One byte over the limit is refused before anything is looked at."""
    assert parse_cert_table(bytes(MAX_TABLE_BYTES)).unknown == 0
    assert "length" in refused(bytes(MAX_TABLE_BYTES + 1))


@pytest.mark.parametrize("raw", [b"", bytes(23), entry(GUIDS["vcek"], 48, 1), entry(GUIDS["vcek"], 48, 1) + bytes(23)])
def test_entries_without_an_end(raw):
    """A table whose entries never end is refused, not read into its blobs."""
    assert "missing" in refused(raw)


def test_an_end_must_be_all_zeros():
    """A zero GUID with a place is no end: what stands behind would be read differently by others."""
    assert "missing" in refused(entry(UUID(int=0), 24, 0))


def test_too_many_entries():
    """Entries beyond the limit are refused; as many as it allows are not."""

    def many(count: int) -> bytes:
        return table({UUID(int=number + 1): b"x" for number in range(count)})

    assert parse_cert_table(many(MAX_ENTRIES)).unknown == MAX_ENTRIES
    assert f"more than {MAX_ENTRIES}" in refused(many(MAX_ENTRIES + 1))


def test_a_blob_outside_the_table():
    """An end behind the table is refused, also where the sum does not fit 32 bits."""
    assert "behind the table" in refused(entry(GUIDS["vcek"], 48, 2) + bytes(24) + b"x")
    assert "behind the table" in refused(entry(GUIDS["vcek"], 0xFFFFFFFF, 0xFFFFFFFF) + bytes(24) + b"x")


def test_a_blob_in_the_entries():
    """A blob that begins in the list of entries, its end included, is refused."""
    for offset in (0, 24, 47):
        assert "in another or in the list" in refused(entry(GUIDS["vcek"], offset, 1) + bytes(24) + b"x")


def test_blobs_that_overlap():
    """Two blobs that share one byte are refused in either order; neighbours are not."""
    first, second = GUIDS["vcek"], GUIDS["ark"]
    for entries in ((entry(first, 72, 4) + entry(second, 75, 4)), (entry(first, 75, 4) + entry(second, 72, 4))):
        assert "in another" in refused(entries + bytes(24) + bytes(8))
    neighbours = entry(first, 76, 4) + entry(second, 72, 4) + bytes(24) + b"aaaavvvv"
    assert dict(parse_cert_table(neighbours).blobs) == {"vcek": b"vvvv", "ark": b"aaaa"}


def test_a_blob_without_bytes():
    """An entry of no bytes is refused."""
    assert "no bytes" in refused(entry(GUIDS["vcek"], 48, 0) + bytes(24))


@pytest.mark.parametrize(
    ("guid", "orders"),
    [
        (GUIDS["vcek"], (False, False)),
        (GUIDS["vcek"], (True, True)),
        (GUIDS["vcek"], (False, True)),
        (OTHER, (False, False)),
        (OTHER, (True, True)),
    ],
)
def test_a_guid_that_stands_twice(guid, orders):
    """Nothing of AMD's stands twice, in whichever order, and nobody else's GUID does either."""
    entries = b"".join(entry(guid, 72 + n, 1, big_endian=order) for n, order in enumerate(orders))
    assert "twice" in refused(entries + bytes(24) + b"xy")


@given(st.binary(max_size=400))
def test_the_parser_is_total(raw):
    """Any bytes give a table or MalformedError."""
    try:
        found = parse_cert_table(raw)
    except MalformedError:
        return
    assert all(found.blobs.values())


@given(
    st.dictionaries(st.sampled_from(sorted(GUIDS)), st.binary(min_size=1, max_size=64)),
    st.booleans(),
    st.integers(0, 64),
)
def test_tables_round_trip(blobs, big_endian, padding):
    """Whatever is put into a table is read back."""
    raw = table({GUIDS[name]: blob for name, blob in blobs.items()}, big_endian=big_endian, padding=padding)
    assert parse_cert_table(raw) == CertTable(blobs=blobs, unknown=0)
