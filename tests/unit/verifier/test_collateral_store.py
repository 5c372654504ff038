"""The store: what it gives is genuine each time, and a revocation list never goes back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.amd import AT, BEGIN, VEK_END, borrowed_names, extension, fake_amd, validity
from tests.support.crls import NEXT_UPDATE, THIS_UPDATE, crl_of

from twocvm_verifier.collateral import CrlName, Store, vcek_names
from twocvm_verifier.errors import BindingError, FetchError, MalformedError, SignatureError, StaleError
from twocvm_verifier.snp.crl import MAX_CRL_BYTES
from twocvm_verifier.snp.der import encode_integer
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import parse_report
from twocvm_verifier.snp.roots import verify_roots
from twocvm_verifier.snp.vek import MAX_VEK_BYTES

MILAN, GENOA, TURIN = (fake_amd(product) for product in (Product.MILAN, Product.GENOA, Product.TURIN))
NAME = vcek_names(parse_report(MILAN.report()))[0]
CRL = CrlName(product=Product.MILAN, kind=VekKind.VCEK)
DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path):
    """An empty store whose folder is not there yet."""
    roots = verify_roots([amd.hierarchy() for amd in (MILAN, GENOA, TURIN)], revoked=frozenset())
    return Store(tmp_path / "a" / "store", roots=roots)


def test_an_empty_store(store):
    """It has nothing, and looking makes nothing."""
    assert (store.vcek(NAME), store.crl(CRL), list(store.pieces()), store.crls()) == (None, None, [], ())
    assert not store.folder.exists()


@pytest.mark.parametrize("amd", [MILAN, GENOA, TURIN], ids=lambda amd: amd.product)
def test_a_vcek_is_kept(store, amd):
    """What was put is found again under its name, by another store of the same folder as well."""
    name, vcek = vcek_names(parse_report(amd.report()))[0], amd.vcek()
    stored = store.put_vcek(name, vcek)
    assert (stored.name, stored.der, stored.not_before, stored.not_after) == (name, vcek, BEGIN, VEK_END)
    assert Store(store.folder, roots=store.roots).vcek(name) == stored
    assert list(store.pieces()) == [stored]


def test_what_is_there_stays(store):
    """AMD re-issues certificates; the one that is kept is replaced only by one that lasts longer."""
    first, again = MILAN.vcek(), MILAN.vcek(validity=validity(BEGIN, VEK_END))
    longer = MILAN.vcek(validity=validity(BEGIN, VEK_END + DAY))
    assert first != again
    for offered, kept in ((first, first), (again, first), (longer, longer), (first, longer)):
        assert store.put_vcek(NAME, offered).der == kept
        found = store.vcek(NAME)
        assert found is not None
        assert found.der == kept


WRONG = {
    "junk": (b"<html>", MalformedError, "MALFORMED_VEK"),
    "forged": (borrowed_names(Product.MILAN).vcek(), SignatureError, "VEK_SIGNATURE"),
    "another chip": (MILAN.vcek(changed={"4": extension("4", bytes(64))}), BindingError, "CHIP_ID_MISMATCH"),
    "another TCB": (MILAN.vcek(changed={"3.3": extension("3.3", encode_integer(9))}), BindingError, "VEK_TCB_MISMATCH"),
    "another product": (GENOA.vcek(), BindingError, "VEK_TCB_MISMATCH"),
    "a VLEK": (MILAN.vlek(), BindingError, "VEK_KIND_MISMATCH"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_vcek_that_is_not_that_of_its_name(store, case):
    """It is not kept; and one that somebody put there by hand is as if it were not there."""
    der, error, code = WRONG[case]
    with pytest.raises(error) as caught:
        store.put_vcek(NAME, der)
    assert caught.value.code == code
    place = store.folder / NAME.file_name
    place.parent.mkdir(parents=True)
    place.write_bytes(der)
    assert (store.vcek(NAME), list(store.pieces())) == (None, [])
    assert store.put_vcek(NAME, MILAN.vcek()).der == place.read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "vcek/Rome/00/11.der",
        "vcek/Milan/xx/04000000000018db.der",
        "vcek/Simulated/" + "0" * 128 + "/" + "0" * 16 + ".der",
    ],
)
def test_files_of_others_are_passed_over(store, path):
    """A file whose name is none is not looked into."""
    (store.folder / path).parent.mkdir(parents=True)
    (store.folder / path).write_bytes(MILAN.vcek())
    assert list(store.pieces()) == []


def test_files_that_are_too_long_are_not_cut(store):
    """A genuine piece with bytes behind it is not genuine."""
    store.put_vcek(NAME, MILAN.vcek())
    store.put_crl(CRL, crl_of(MILAN))
    for name, limit in ((NAME, MAX_VEK_BYTES), (CRL, MAX_CRL_BYTES)):
        place = store.folder / name.file_name
        place.write_bytes(place.read_bytes().ljust(limit + 9, b"\x00"))
    assert (store.vcek(NAME), store.crl(CRL)) == (None, None)


def test_lists_go_forward_only(store):
    """A newer list takes the place of an older one, and an older one is refused, the newest ended or not."""
    older, newer = crl_of(MILAN, number=3), crl_of(MILAN, number=4, next_update=AT - DAY)
    assert store.put_crl(CRL, older).not_after == NEXT_UPDATE
    assert store.put_crl(CRL, newer).der == newer
    with pytest.raises(StaleError) as caught:
        store.put_crl(CRL, older)
    assert caught.value.code == "CRL_ROLLED_BACK"
    found = store.crl(CRL)
    assert found is not None
    assert (found.der, found.not_before) == (newer, THIS_UPDATE)


def test_the_same_number_again(store):
    """A list that was issued again under its number is kept where it is later, and else the first stays."""
    first = crl_of(MILAN)
    later = crl_of(MILAN, this_update=THIS_UPDATE + DAY)
    for offered, kept in ((first, first), (crl_of(MILAN), first), (later, later), (first, later)):
        assert store.put_crl(CRL, offered).der == kept


@pytest.mark.parametrize(
    ("der", "code"),
    [
        (b"junk", "MALFORMED_CRL"),
        (crl_of(borrowed_names(Product.MILAN)), "CRL_SIGNATURE"),
        (crl_of(GENOA), "PRODUCT_MISMATCH"),
    ],
)
def test_lists_that_are_not_those_of_their_name(store, der, code):
    """They are neither kept nor found."""
    with pytest.raises((MalformedError, SignatureError, BindingError)) as caught:
        store.put_crl(CRL, der)
    assert caught.value.code == code
    place = store.folder / CRL.file_name
    place.parent.mkdir(parents=True)
    place.write_bytes(der)
    assert (store.crl(CRL), store.crls()) == (None, ())
    store.put_crl(CRL, crl_of(MILAN))


def test_everything_that_is_there(store):
    """Certificates and lists are listed by name; the lists alone are what a verifier holds."""
    vlek_list = CrlName(product=Product.MILAN, kind=VekKind.VLEK)
    store.put_vcek(NAME, MILAN.vcek())
    store.put_vcek(vcek_names(parse_report(TURIN.report()))[0], TURIN.vcek())
    store.put_crl(vlek_list, crl_of(MILAN, number=9))
    store.put_crl(CRL, crl_of(MILAN))
    assert [str(piece.name).split(",")[0] for piece in store.pieces()] == [
        f"VCEK of Milan chip {NAME.hwid[:16]}...",
        "VCEK of Turin chip 0102030405060708...",
        "CRL of Milan for VCEKs",
        "CRL of Milan for VLEKs",
    ]
    assert set(store.crls()) == {store.crl(CRL).der, store.crl(vlek_list).der}


def test_a_folder_that_cannot_be_written(store, tmp_path):
    """It is a problem of collateral, said as one."""
    (tmp_path / "a").write_bytes(b"a file where the folder should be")
    for put in (lambda: store.put_vcek(NAME, MILAN.vcek()), lambda: store.put_crl(CRL, crl_of(MILAN))):
        with pytest.raises(FetchError) as caught:
            put()
        assert (caught.value.code, caught.value.exit_status) == ("STORE_UNWRITABLE", 40)


def test_many_writers_of_one_list(store):
    """In whichever order writers come, the newest list is what stays, and no half-written file is ever seen."""
    lists = [crl_of(MILAN, number=number) for number in range(3, 35)]
    stop = threading.Event()
    torn: list[bytes] = []

    def read() -> None:
        place = store.folder / CRL.file_name
        while not stop.is_set():
            if place.exists() and place.read_bytes() not in lists:
                torn.append(place.read_bytes())

    def put(der: bytes) -> None:
        with suppress(StaleError):
            store.put_crl(CRL, der)

    with ThreadPoolExecutor(9) as pool:
        reading = pool.submit(read)
        list(pool.map(put, lists[::2] + lists[1::2]))
        stop.set()
        reading.result()
    found = store.crl(CRL)
    assert found is not None
    assert (found.der, torn) == (lists[-1], [])
    assert [path.name for path in (store.folder / "crl").iterdir()] == ["Milan-vcek.crl"]


def test_a_certificate_that_names_another_validity(store):
    """Times of a kept piece are those of the whole chain."""
    early = replace(MILAN.vek_fields(), validity=validity(BEGIN - DAY, VEK_END)).der()
    assert store.put_vcek(NAME, early).not_before == BEGIN
