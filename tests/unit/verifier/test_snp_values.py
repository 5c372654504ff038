"""DER, products and TCBs: the small values that reports and certificates are made of."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.snp import der
from twocvm_verifier.snp.product import Product, product_of_cpuid, product_of_name
from twocvm_verifier.snp.tcb import Tcb, layout, parse_tcb


@pytest.mark.parametrize(
    ("family", "model", "product"),
    [
        (0x19, 0x00, Product.MILAN),
        (0x19, 0x0F, Product.MILAN),
        (0x19, 0x10, Product.GENOA),
        (0x19, 0x1F, Product.GENOA),
        (0x19, 0xA0, Product.GENOA),
        (0x19, 0xAF, Product.GENOA),
        (0x1A, 0x00, Product.TURIN),
        (0x1A, 0x1F, Product.TURIN),
        (0x00, 0x00, Product.SIMULATED),
        (0x19, 0x20, None),
        (0x19, 0x9F, None),
        (0x19, 0xB0, None),
        (0x1A, 0x20, None),
        (0x17, 0x01, None),
        (0x00, 0x01, None),
    ],
)
def test_product_of_cpuid(family, model, product):
    """Bergamo and Siena are Genoa; what is not known is no product, never a default."""
    assert product_of_cpuid(family, model) is product


@pytest.mark.parametrize(
    ("text", "product"),
    [
        ("Milan-B0", Product.MILAN),
        ("Milan", Product.MILAN),
        ("Genoa", Product.GENOA),
        ("Turin", Product.TURIN),
        ("Simulated", Product.SIMULATED),
        ("Simulated-B0", None),
        ("milan", None),
        ("Milan-", None),
        ("Milan-B0x", None),
        ("Milan\n", None),
        ("", None),
    ],
)
def test_product_of_name(text, product):
    """A stepping may follow; nothing else may."""
    assert product_of_name(text) is product


def test_tcb_layouts_differ_by_product():
    """The same bytes mean other components on Turin."""
    raw = bytes([1, 2, 0, 0, 0, 0, 0, 7])
    assert parse_tcb(raw, product=Product.MILAN) == Tcb(fmc=0, bootloader=1, tee=2, snp=0, microcode=7)
    assert parse_tcb(raw, product=Product.TURIN) == Tcb(fmc=1, bootloader=2, tee=0, snp=0, microcode=7)


@pytest.mark.parametrize("product", list(Product))
@pytest.mark.parametrize("offset", range(8))
def test_reserved_tcb_bytes_are_refused(product, offset):
    """A byte is a component of the product, or zero."""
    raw = bytes(offset) + b"\x01" + bytes(7 - offset)
    if offset in layout(product).values():
        assert parse_tcb(raw, product=product)
    else:
        with pytest.raises(MalformedError):
            parse_tcb(raw, product=product)


def test_tcb_is_compared_component_by_component():
    """A higher component never makes up for a lower one."""
    tcb = Tcb(fmc=0, bootloader=9, tee=0, snp=20, microcode=70)
    assert tcb.below({"bootloader": 9, "snp": 20, "microcode": 70}) == ()
    assert tcb.below({"bootloader": 1, "snp": 21, "microcode": 71}) == ("microcode", "snp")
    assert tcb.below({}) == ()


def test_tcb_names_fmc_where_there_is_one():
    """People see every component that the chip has."""
    assert str(Tcb(fmc=1, bootloader=2, tee=3, snp=4, microcode=5)).startswith("fmc 1, ")
    assert "fmc" not in str(Tcb(fmc=0, bootloader=2, tee=3, snp=4, microcode=5))


@pytest.mark.parametrize("value", [0, 1, 0x7F, 0x80, 0xDB, 0xFF, 0x100, 0x7FFF, 0x8000, 2**64])
def test_integers_round_trip(value):
    """An INTEGER is written as it is read."""
    reader = der.DerReader(der.encode_integer(value), "vek")
    assert reader.integer("x") == value
    reader.end("x")


@pytest.mark.parametrize(
    "raw",
    ["", "02", "0200", "0201", "020180", "02020001", "0202007f", "0281010a", "03010a", "020a01"],
)
def test_integers_have_one_spelling(raw):
    """Negative, padded, empty, overlong and short ones are refused."""
    with pytest.raises(MalformedError):
        der.DerReader(bytes.fromhex(raw), "vek").integer("x")


@pytest.mark.parametrize(
    "raw",
    [
        "3080",  # indefinite length
        "308100",  # long form for a short length
        "30820001aa",  # leading zero
        "3083000001aa",  # more length bytes than anything here needs
        "3082",  # the length itself is cut
        "30820100",  # the content is missing
        "3f8100",  # high tag number
    ],
)
def test_lengths_have_one_spelling(raw):
    """Only definite, minimal lengths of data that is there are read."""
    with pytest.raises(MalformedError):
        der.DerReader(bytes.fromhex(raw), "vek").value(der.SEQUENCE, "x")


def test_leftover_bytes_are_refused():
    """A run ends where its last value ends."""
    reader = der.DerReader(b"\x30\x00\x00", "vek")
    reader.value(der.SEQUENCE, "x")
    assert not reader.exhausted
    with pytest.raises(MalformedError):
        reader.end("x")


@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 65535])
def test_lengths_round_trip(size):
    """Every form of length is written minimally."""
    assert der.DerReader(der.encode(der.OCTET_STRING, bytes(size)), "vek").value(der.OCTET_STRING, "x") == bytes(size)


@pytest.mark.parametrize(
    ("tag", "text", "want"),
    [
        (der.UTC_TIME, "250128210227Z", datetime(2025, 1, 28, 21, 2, 27, tzinfo=UTC)),
        (der.UTC_TIME, "491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (der.UTC_TIME, "500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        (der.GENERALIZED_TIME, "20500101000000Z", datetime(2050, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_read(tag, text, want):
    """UTCTime turns over at 50, as RFC 5280 has it."""
    assert der.DerReader(der.encode(tag, text.encode()), "vek").time("x") == want


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (der.UTC_TIME, "2501282102Z"),
        (der.UTC_TIME, "250128210227"),
        (der.UTC_TIME, "250128210227+0000"),
        (der.UTC_TIME, "25012821022xZ"),
        (der.UTC_TIME, "250230000000Z"),
        (der.UTC_TIME, "250101000060Z"),
        (der.GENERALIZED_TIME, "20490101000000Z"),
        (der.GENERALIZED_TIME, "20500101000000.5Z"),
        (der.OCTET_STRING, "250128210227Z"),
    ],
)
def test_other_times_are_refused(tag, text):
    """A time has one spelling, and exists."""
    with pytest.raises(MalformedError):
        der.DerReader(der.encode(tag, text.encode()), "vek").time("x")


def test_object_identifiers_are_encoded():
    """Arcs above 127 take more than one byte."""
    assert der.encode_oid("1.3.6.1.4.1.3704.1").hex() == "06082b060104019c7801"
    assert der.encode_oid("2.5.4.3").hex() == "0603550403"
