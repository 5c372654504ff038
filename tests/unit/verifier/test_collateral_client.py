"""Finding collateral against a real server that behaves as badly as KDS does, and worse."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.amd import AT, VEK_END, borrowed_names, extension, fake_amd
from tests.support.crls import NEXT_UPDATE, crl_of
from tests.support.fake_kds import FakeKds, Mode, collateral_of, source_of

from twocvm_verifier import SnpVerifier, strictjson
from twocvm_verifier.collateral import CrlName, Store, vcek_names
from twocvm_verifier.collateral.archive import (
    MAX_ARCHIVE_BYTES,
    SCHEMA,
    encode_archive,
    import_pieces,
    parse_archive,
)
from twocvm_verifier.errors import CollateralError, FetchError, MalformedError, NotFoundError, StaleError
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import parse_report
from twocvm_verifier.snp.revocation import CrlMode, Crls, FoundCrl
from twocvm_verifier.snp.roots import verify_roots

MILAN, GENOA = fake_amd(Product.MILAN), fake_amd(Product.GENOA)
ROOTS = verify_roots((MILAN.hierarchy(), GENOA.hierarchy()), revoked=frozenset())
REPORT = parse_report(MILAN.report())
NAME = vcek_names(REPORT)[0]
LIST = CrlName(product=Product.MILAN, kind=VekKind.VCEK)
OLD_LIST, NEW_LIST = crl_of(MILAN, number=3), crl_of(MILAN, number=4)
DAY_SECONDS = 86_400.0
THREADS = 64


@pytest.fixture
def kds():
    """A service that has Milan's VCEK and list."""
    with FakeKds.serving({NAME.kds_path: MILAN.vcek(), LIST.kds_path: OLD_LIST}) as serving:
        yield serving


@pytest.fixture
def mirror():
    """Another one, with the same."""
    with FakeKds.serving({NAME.kds_path: MILAN.vcek(), LIST.kds_path: OLD_LIST}) as serving:
        yield serving


def test_a_vcek_is_fetched_once_and_kept(kds, tmp_path):
    """The second time, and in another process, the store answers; what came verifies the report."""
    collateral = collateral_of(tmp_path, ROOTS, source_of(kds))
    first, second = (collateral.vek_of(REPORT, at=AT) for _ in range(2))
    assert (first.source, second.source, first.der) == ("kds", "store", second.der)
    offline = collateral_of(tmp_path, ROOTS)
    assert offline.vek_of(REPORT, at=AT).der == first.der
    assert kds.asked == [NAME.kds_path]
    assert SnpVerifier(roots=ROOTS).verify(REPORT.raw, vek=first.der, at=AT).report == REPORT


BAD = {
    Mode.MISSING: "COLLATERAL_NOT_FOUND",
    Mode.BROKEN: "FETCH_FAILED",
    Mode.UNAVAILABLE: "FETCH_FAILED",
    Mode.OUTAGE: "FETCH_FAILED",
    Mode.ENCODED: "FETCH_FAILED",
    Mode.STALLED: "FETCH_FAILED",
    Mode.SLOW: "FETCH_FAILED",
    Mode.REDIRECT: "FETCH_REDIRECTED",
    Mode.OVERSIZE: "FETCH_TOO_LARGE",
    Mode.HTML: "FETCH_WRONG",
    Mode.WRONG: "FETCH_WRONG",
}


@pytest.mark.parametrize("mode", BAD)
def test_a_source_that_fails(kds, tmp_path, mode):
    """It cannot be judged now, with the code that says why; one request, and nothing is kept."""
    kds.mode, kds.wrong = mode, MILAN.vcek(changed={"4": extension("4", bytes(64))})
    collateral = collateral_of(tmp_path, ROOTS, source_of(kds, request_seconds=0.3))
    for _ in range(2):
        with pytest.raises(CollateralError) as caught:
            collateral.vek_of(REPORT, at=AT)
        assert (caught.value.code, caught.value.exit_status) == (BAD[mode], 40)
    assert kds.asked == [NAME.kds_path]
    assert list(collateral.store.pieces()) == []


@pytest.mark.parametrize("mode", BAD)
def test_the_next_source_is_asked(kds, mirror, tmp_path, mode):
    """A mirror that fails in whatever way costs a request, and KDS answers."""
    mirror.mode, mirror.wrong = mode, borrowed_names(Product.MILAN).vcek()
    sources = source_of(mirror, name="mirror", request_seconds=0.3), source_of(kds)
    found = collateral_of(tmp_path, ROOTS, *sources).vek_of(REPORT, at=AT)
    assert (found.source, len(mirror.asked), len(kds.asked)) == ("kds", 1, 1)


def test_a_mirror_that_answers_spares_kds(kds, mirror, tmp_path):
    """Sources are asked in order."""
    sources = source_of(mirror, name="mirror"), source_of(kds)
    assert collateral_of(tmp_path, ROOTS, *sources).vek_of(REPORT, at=AT).source == "mirror"
    assert kds.asked == []


def test_that_a_source_failed_is_told_rather_than_that_another_has_nothing(kds, mirror, tmp_path):
    """Only when every source says that it has nothing is it known that there is nothing."""
    sources = source_of(mirror, name="mirror"), source_of(kds)
    for modes, code in (((Mode.BROKEN, Mode.MISSING), "FETCH_FAILED"), ((Mode.MISSING,) * 2, "COLLATERAL_NOT_FOUND")):
        mirror.mode, kds.mode = modes
        with pytest.raises(CollateralError) as caught:
            collateral_of(tmp_path, ROOTS, *sources).vek_of(REPORT, at=AT)
        assert caught.value.code == code


def test_a_busy_source_is_waited_for(kds, tmp_path):
    """429 with Retry-After is waited out, by everybody who wants anything there, and then asked once more."""
    kds.mode, kds.retry_after = Mode.BUSY_ONCE, "1"
    collateral = collateral_of(tmp_path, ROOTS, source_of(kds))
    began = time.monotonic()
    assert collateral.vek_of(REPORT, at=AT).source == "kds"
    assert time.monotonic() - began >= 1
    assert kds.asked == [NAME.kds_path] * 2


def test_who_cannot_wait_is_told_for_how_long(kds, tmp_path):
    """A caller without patience gets FETCH_BUSY with the time, and the source is left alone meanwhile."""
    kds.mode, kds.retry_after = Mode.BUSY, "60"
    collateral = collateral_of(tmp_path, ROOTS, source_of(kds), patience_seconds=2.0)
    with pytest.raises(FetchError) as caught:
        collateral.vek_of(REPORT, at=AT)
    assert caught.value.code == "FETCH_BUSY"
    assert 50 < caught.value.retry_after_seconds <= 60
    with pytest.raises(FetchError):
        collateral.crl(LIST, at=AT, max_age_seconds=0)
    assert kds.asked == [NAME.kds_path]


def test_vceks_are_fetched_no_faster_than_the_source_bears(tmp_path):
    """Different chips wait for their turns; nobody is turned away."""
    chips = [bytes([number]) * 64 for number in range(1, 5)]
    reports = [parse_report(MILAN.report(chip_id=chip)) for chip in chips]
    documents = {
        vcek_names(report)[0].kds_path: MILAN.vcek(changed={"4": extension("4", report.chip_id)}) for report in reports
    }
    with FakeKds.serving(documents) as kds:
        collateral = collateral_of(tmp_path, ROOTS, source_of(kds, interval_seconds=0.2))
        began = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda report: collateral.vek_of(report, at=AT).source, reports))
        assert time.monotonic() - began >= 0.6
        assert (found, len(kds.asked)) == (["kds"] * 4, 4)


@pytest.mark.parametrize("mode", [Mode.RIGHT, Mode.MISSING, Mode.BROKEN, Mode.HTML, Mode.OUTAGE])
def test_a_crowd_asks_once(kds, tmp_path, mode):
    """64 threads that want one unknown chip cause one request, also when it fails, and all end alike."""
    kds.mode, kds.delay_seconds = mode, 0.2
    collateral = collateral_of(tmp_path, ROOTS, source_of(kds))
    begun = threading.Barrier(THREADS)

    def ask(_: int) -> str:
        begun.wait(10)
        try:
            return str(len(collateral.vek_of(REPORT, at=AT).der))
        except CollateralError as error:
            return error.code

    with ThreadPoolExecutor(THREADS) as pool:
        ended = Counter(pool.map(ask, range(THREADS)))
    assert ended == {str(len(MILAN.vcek())) if mode is Mode.RIGHT else BAD[mode]: THREADS}
    assert kds.asked == [NAME.kds_path]


def test_who_comes_after_the_crowd_asks_nothing(kds, tmp_path):
    """However threads are scheduled, one that looked into the store too early does not ask a second time."""
    collateral = collateral_of(tmp_path, ROOTS, source_of(kds))
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(20):
            list(pool.map(lambda _: collateral.vek_of(REPORT, at=AT), range(THREADS)))
    assert kds.asked == [NAME.kds_path]


def test_a_report_of_version_2_is_asked_for_under_both_products(tmp_path):
    """Milan has none, Genoa has: the name that was found verifies the report."""
    report = parse_report(GENOA.report(version=2, cpuid=b""))
    milan, genoa = vcek_names(report)
    with FakeKds.serving({genoa.kds_path: GENOA.vcek()}) as kds:
        collateral = collateral_of(tmp_path, ROOTS, source_of(kds))
        found = collateral.vek_of(report, at=AT)
        assert kds.asked == [milan.kds_path, genoa.kds_path]
        assert SnpVerifier(roots=ROOTS).verify(report.raw, vek=found.der, at=AT).product is Product.GENOA
        assert collateral.vek_of(report, at=AT).source == "store"
        assert len(kds.asked) == 2
        kds.documents.clear()
        with pytest.raises(NotFoundError) as caught:
            collateral_of(tmp_path / "other", ROOTS, source_of(kds)).vek_of(report, at=AT)
        assert caught.value.code == "COLLATERAL_NOT_FOUND"


def test_a_file_that_was_changed_on_disk_is_fetched_again(kds, tmp_path):
    """What is in the store is verified each time it is used."""
    collateral = collateral_of(tmp_path, ROOTS, source_of(kds))
    collateral.vek_of(REPORT, at=AT)
    place = tmp_path / NAME.file_name
    for changed in (b"", b"junk", borrowed_names(Product.MILAN).vcek()):
        place.write_bytes(changed)
        assert collateral.vek_of(REPORT, at=AT).source == "kds"
        assert place.read_bytes() == kds.documents[NAME.kds_path]


def test_a_vcek_that_has_ended_is_asked_for_again(kds, tmp_path):
    """AMD issues it again; the one that is kept stays until a later one comes."""
    collateral = collateral_of(tmp_path, ROOTS, source_of(kds))
    collateral.vek_of(REPORT, at=AT)
    collateral.vek_of(REPORT, at=VEK_END + timedelta(seconds=1))
    assert len(kds.asked) == 2


def test_nothing_is_fetched_offline(tmp_path):
    """Without sources the store is all there is."""
    collateral = collateral_of(tmp_path, ROOTS)
    for ask in (lambda: collateral.vek_of(REPORT, at=AT), lambda: collateral.crl(LIST, at=AT, max_age_seconds=9)):
        with pytest.raises(NotFoundError) as caught:
            ask()
        assert caught.value.code == "COLLATERAL_NOT_FOUND"
    assert not list(tmp_path.iterdir())


def test_lists_are_kept_until_they_age(kds, tmp_path):
    """In force and recent enough, the store answers; older than the caller likes, the source is asked."""
    collateral = collateral_of(tmp_path, ROOTS, source_of(kds))
    assert collateral.crl(LIST, at=AT, max_age_seconds=30 * DAY_SECONDS).source == "kds"
    assert collateral.crl(LIST, at=AT, max_age_seconds=30 * DAY_SECONDS).source == "store"
    kds.documents[LIST.kds_path] = NEW_LIST
    found = collateral.crl(LIST, at=AT, max_age_seconds=DAY_SECONDS)
    assert (found.source, found.der) == ("kds", NEW_LIST)
    assert kds.asked == [LIST.kds_path] * 2


def test_a_list_in_force_is_better_than_none(kds, tmp_path):
    """Where no source answers, a list that is older than the caller likes is used, and one that has ended is not."""
    collateral_of(tmp_path, ROOTS, source_of(kds)).crl(LIST, at=AT, max_age_seconds=0)
    kds.mode = Mode.BROKEN
    collateral = collateral_of(tmp_path, ROOTS, source_of(kds))
    found = collateral.crl(LIST, at=AT, max_age_seconds=DAY_SECONDS)
    assert (found.source, found.der) == ("store", OLD_LIST)
    for seconds, code in ((1, "CRL_STALE"), (-400 * DAY_SECONDS, "CRL_NOT_YET_VALID")):
        with pytest.raises(StaleError) as caught:
            collateral.crl(LIST, at=NEXT_UPDATE + timedelta(seconds=seconds), max_age_seconds=1e9)
        assert caught.value.code == code
    with pytest.raises(FetchError):
        collateral_of(tmp_path / "empty", ROOTS, source_of(kds)).crl(LIST, at=AT, max_age_seconds=0)


def test_a_source_that_rolls_back(kds, mirror, tmp_path):
    """A mirror with an older list than was seen has failed: the store's stands, or KDS has a newer one still."""
    mirror.documents[LIST.kds_path] = NEW_LIST
    collateral_of(tmp_path, ROOTS, source_of(mirror)).crl(LIST, at=AT, max_age_seconds=0)
    found = collateral_of(tmp_path, ROOTS, source_of(kds)).crl(LIST, at=AT, max_age_seconds=0)
    assert (found.source, found.der) == ("store", NEW_LIST)
    newest = kds.documents[LIST.kds_path] = crl_of(MILAN, number=5)
    mirror.documents[LIST.kds_path] = OLD_LIST
    sources = source_of(mirror, name="mirror"), source_of(kds)
    found = collateral_of(tmp_path, ROOTS, *sources).crl(LIST, at=AT, max_age_seconds=0)
    assert (found.source, found.der) == ("kds", newest)


def test_what_the_store_holds_a_verifier_can_require(kds, tmp_path):
    """The lists of a store are those that `Crls.held` takes."""
    collateral = collateral_of(tmp_path, ROOTS, source_of(kds))
    collateral.crl(LIST, at=AT, max_age_seconds=0)
    crls = Crls(mode=CrlMode.REQUIRE, held=collateral.store.crls())
    verified = SnpVerifier(roots=ROOTS, crls=crls).verify(REPORT.raw, vek=MILAN.vcek(), at=AT)
    assert isinstance(verified.revocation, FoundCrl)


def test_a_store_that_cannot_be_written(kds, tmp_path):
    """What came and cannot be kept is a problem that is told."""
    (tmp_path / "vcek").write_bytes(b"a file where a folder should be")
    with pytest.raises(FetchError) as caught:
        collateral_of(tmp_path, ROOTS, source_of(kds)).vek_of(REPORT, at=AT)
    assert caught.value.code == "STORE_UNWRITABLE"


def filled(folder) -> Store:
    """Return a store with one of everything."""
    store = Store(folder, roots=ROOTS)
    store.put_vcek(NAME, MILAN.vcek())
    store.put_vcek(vcek_names(parse_report(GENOA.report()))[0], GENOA.vcek())
    store.put_crl(LIST, NEW_LIST)
    store.put_crl(CrlName(product=Product.GENOA, kind=VekKind.VLEK), crl_of(GENOA))
    return store


def test_a_store_is_carried_to_another_site(tmp_path):
    """Everything arrives, the file is the same for the same store, and lists that are known to be older stay out."""
    store, other = filled(tmp_path / "here"), Store(tmp_path / "there", roots=ROOTS)
    raw = encode_archive(store.pieces())
    assert raw == encode_archive(store.pieces())
    kept, older = import_pieces(parse_archive(raw, roots=ROOTS), store=other)
    assert (set(kept), older) == (set(store.pieces()), ())
    assert list(other.pieces()) == list(store.pieces())
    other.put_crl(LIST, crl_of(MILAN, number=9))
    kept, older = import_pieces(parse_archive(raw, roots=ROOTS), store=other)
    assert ([error.code for error in older], len(kept)) == (["CRL_ROLLED_BACK"], 3)


def test_an_archive_of_forgeries(tmp_path):
    """A file with one piece that is not genuine under the reader's roots is refused whole."""
    raw = encode_archive(filled(tmp_path).pieces())
    document = json.loads(raw)
    wrong = {
        "vceks": strictjson.base64url(borrowed_names(Product.MILAN).vcek()),
        "vcek_crls": strictjson.base64url(crl_of(borrowed_names(Product.MILAN))),
        "vlek_crls": strictjson.base64url(b"junk"),
    }
    cases = [{**document, member: [*document[member], piece]} for member, piece in wrong.items()]
    cases += [{**document, "vceks": [piece]} for piece in (7, "=", "", strictjson.base64url(MILAN.vlek()))]
    cases += [{**document, "schema": "x"}, {**document, "more": 1}, {"schema": SCHEMA}, {**document, "vceks": {}}]
    for case in cases:
        with pytest.raises(MalformedError) as caught:
            parse_archive(strictjson.canonical(case), roots=ROOTS)
        assert caught.value.code == "MALFORMED_COLLATERAL"
    with pytest.raises(MalformedError):
        parse_archive(raw, roots=GENOA.roots())


def test_an_archive_has_a_limit(tmp_path):
    """More than 16 MiB are neither written nor read."""
    (piece, *_) = filled(tmp_path).pieces()
    count = MAX_ARCHIVE_BYTES // len(piece.der)
    with pytest.raises(ValueError, match="archive"):
        encode_archive([piece] * count)
    with pytest.raises(MalformedError):
        parse_archive(b" " * (MAX_ARCHIVE_BYTES + 1), roots=ROOTS)


@given(st.binary(max_size=200))
def test_reading_an_archive_is_total(raw):
    """Any bytes give pieces or MalformedError."""
    with suppress(MalformedError):
        assert parse_archive(raw, roots=ROOTS) == ()
