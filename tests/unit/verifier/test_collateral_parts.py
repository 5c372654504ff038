"""What collateral is called, whose turn it is, and work that is done once: the parts below the client."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from tests.support.amd import CHIP_ID, TURIN_CHIP_ID, fake_amd

from twocvm_verifier.collateral.flight import MAX_FLIGHTS, Flights
from twocvm_verifier.collateral.names import CrlName, VcekName, vcek_names
from twocvm_verifier.collateral.pace import Pace
from twocvm_verifier.collateral.sources import Source
from twocvm_verifier.errors import FetchError, NotFoundError, StaleError
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import parse_report

MILAN, GENOA, TURIN = (fake_amd(product) for product in (Product.MILAN, Product.GENOA, Product.TURIN))


class ManualClock:
    """A clock that goes as far as somebody pauses."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.pauses: list[float] = []

    def now(self) -> datetime:
        """Return a date."""
        return datetime(2026, 6, 1, tzinfo=UTC)

    def monotonic_seconds(self) -> float:
        """Return how far it went."""
        return self.seconds

    def pause(self, seconds: float) -> None:
        """Go on."""
        self.pauses.append(seconds)
        self.seconds += seconds


def test_names_of_milan_and_genoa():
    """128 hex digits of the chip, and the four components in decimal; the file's name has the raw TCB."""
    (name,) = vcek_names(parse_report(MILAN.report()))
    assert name.kds_path == f"/vcek/v1/Milan/{CHIP_ID.hex()}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"
    assert name.file_name == f"vcek/Milan/{CHIP_ID.hex()}/04000000000018db.der"
    (genoa,) = vcek_names(parse_report(GENOA.report()))
    assert genoa.kds_path.startswith("/vcek/v1/Genoa/")
    assert "TCB 04000000000018db" in str(name)


def test_names_of_turin():
    """16 hex digits, and the first mutable code is part of the name."""
    (name,) = vcek_names(parse_report(TURIN.report()))
    chip = TURIN_CHIP_ID[:8].hex()
    assert name.kds_path == f"/vcek/v1/Turin/{chip}?fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=219"
    other = VcekName(product=Product.TURIN, chip_id=TURIN_CHIP_ID, tcb=b"\x02" + name.tcb[1:])
    assert other.kds_path != name.kds_path
    assert other.file_name != name.file_name


def test_a_report_of_version_2_does_not_say_its_product():
    """Both products that made such reports are asked for, none is assumed."""
    names = vcek_names(parse_report(GENOA.report(version=2, cpuid=b"")))
    assert [name.product for name in names] == [Product.MILAN, Product.GENOA]


@pytest.mark.parametrize(
    "report",
    [
        MILAN.report(flags=1 << 2),
        MILAN.report(flags=7 << 2),
        MILAN.report(chip_id=bytes(64)),
        MILAN.report(cpuid=b"\x19\x7f\x00"),
        fake_amd(Product.SIMULATED).report(),
        MILAN.report(reported_tcb=b"\x01" * 8),
        TURIN.report(chip_id=bytes(range(64))),
    ],
    ids=["VLEK", "unsigned", "masked", "unknown CPU", "simulated", "reserved TCB bytes", "long Turin id"],
)
def test_reports_whose_vcek_cannot_be_asked_for(report):
    """Nothing is asked that AMD could not answer."""
    with pytest.raises(NotFoundError) as caught:
        vcek_names(parse_report(report))
    assert caught.value.code == "VEK_MISSING"


def test_names_of_lists():
    """One list for the issuers of VCEKs, one for those of VLEKs."""
    assert CrlName(product=Product.TURIN, kind=VekKind.VLEK).kds_path == "/vlek/v1/Turin/crl"
    assert CrlName(product=Product.TURIN, kind=VekKind.VLEK).file_name == "crl/Turin-vlek.crl"
    assert str(CrlName(product=Product.GENOA, kind=VekKind.VCEK)) == "CRL of Genoa for VCEKs"


def test_turns_come_no_faster_than_the_source_bears():
    """The first turn is at once, the next an interval later; one that is not paced keeps nobody waiting."""
    clock = ManualClock()
    pace = Pace(clock=clock, interval_seconds=10.0, pause=clock.pause)
    pace.wait_turn(most_seconds=0, paced=False)
    for _ in range(3):
        pace.wait_turn(most_seconds=60, paced=True)
    assert clock.pauses == [10.0, 10.0]


def test_a_turn_that_comes_too_late():
    """Who cannot wait that long is told for how long, at once."""
    clock = ManualClock()
    pace = Pace(clock=clock, interval_seconds=10.0, pause=clock.pause)
    pace.wait_turn(most_seconds=0, paced=True)
    with pytest.raises(FetchError) as caught:
        pace.wait_turn(most_seconds=9.0, paced=True)
    assert (caught.value.code, caught.value.retry_after_seconds, clock.pauses) == ("FETCH_BUSY", 10.0, [])


def test_a_source_that_asks_to_be_left_alone_is():
    """Nobody gets a turn before then, and a shorter wish does not shorten a longer one."""
    clock = ManualClock()
    pace = Pace(clock=clock, interval_seconds=1.0, pause=clock.pause)
    pace.hold(30.0)
    pace.hold(5.0)
    pace.wait_turn(most_seconds=60, paced=True)
    assert clock.pauses == [30.0]


def test_turns_of_many_threads_are_apart():
    """However many wait, each turn is an interval after the one before."""
    clock, lock = ManualClock(), threading.Lock()
    taken: list[float] = []

    def pause(seconds: float) -> None:
        with lock:
            clock.seconds += seconds / 4 + 0.1

    pace = Pace(clock=clock, interval_seconds=8.0, pause=pause)

    def turn(_: int) -> None:
        pace.wait_turn(most_seconds=1e9, paced=True)
        taken.append(clock.seconds)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(turn, range(8)))
    assert clock.seconds - 100.0 >= 7 * 8.0
    assert len(taken) == 8


def test_work_is_done_once_for_all_who_ask():
    """64 threads, one run, one value."""
    runs: list[int] = []
    begun = threading.Barrier(64)
    go = threading.Event()
    flights: Flights[str, str] = Flights(clock=ManualClock(), failure_seconds=10.0)

    def work() -> str:
        runs.append(1)
        go.wait(5)
        return "value"

    def ask(_: int) -> str:
        if begun.wait(5) == 0:
            threading.Timer(0.2, go.set).start()
        return flights.run("key", work, wait_seconds=10)

    with ThreadPoolExecutor(64) as pool:
        assert set(pool.map(ask, range(64))) == {"value"}
    assert len(runs) == 1


def test_a_failure_is_shared_and_then_forgotten():
    """Who asks within ten seconds gets the same failure without any work; later the work is tried again."""
    clock, runs = ManualClock(), []
    flights: Flights[str, str] = Flights(clock=clock, failure_seconds=10.0)

    def work() -> str:
        runs.append(1)
        raise FetchError("FETCH_FAILED", "no", retry_after_seconds=3.0)

    failures = []
    for seconds in (0.0, 9.0, 2.0):
        clock.seconds += seconds
        with pytest.raises(FetchError) as caught:
            flights.run("key", work, wait_seconds=5)
        failures.append(caught.value)
    assert len(runs) == 2
    assert {(failure.code, failure.retry_after_seconds) for failure in failures} == {("FETCH_FAILED", 3.0)}
    assert len({id(failure) for failure in failures}) == 3


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (NotFoundError("COLLATERAL_NOT_FOUND", "none"), NotFoundError),
        (StaleError("CRL_STALE", "old"), StaleError),
        (ValueError("a mistake"), RuntimeError),
    ],
)
def test_failures_keep_their_kind(failure, raised):
    """Each of our errors is raised as itself, and a mistake of ours as one, with the cause."""

    def work() -> str:
        raise failure

    with pytest.raises(raised) as caught:
        Flights(clock=ManualClock(), failure_seconds=1.0).run("key", work, wait_seconds=5)
    assert caught.value.__cause__ is failure


def test_who_waits_too_long_is_told_and_the_work_goes_on():
    """Giving up is not failing: whoever asks next joins what is under way."""
    go, runs = threading.Event(), []
    flights: Flights[str, str] = Flights(clock=ManualClock(), failure_seconds=10.0)

    def work() -> str:
        runs.append(1)
        go.wait(5)
        return "value"

    with pytest.raises(FetchError) as caught:
        flights.run("key", work, wait_seconds=0.01)
    assert caught.value.code == "FETCH_BUSY"
    go.set()
    assert flights.run("key", work, wait_seconds=5) == "value"
    assert len(runs) in (1, 2)


def test_a_crowd_of_keys_is_bounded():
    """More different pieces at once than there may be threads: the next one is told to come back."""
    go = threading.Event()
    flights: Flights[int, bool] = Flights(clock=ManualClock(), failure_seconds=10.0)
    for key in range(MAX_FLIGHTS):
        with pytest.raises(FetchError):
            flights.run(key, lambda: go.wait(5), wait_seconds=0)
    with pytest.raises(FetchError) as caught:
        flights.run(-1, lambda: True, wait_seconds=5)
    assert (caught.value.code, caught.value.retry_after_seconds) == ("FETCH_BUSY", 10.0)
    go.set()


class Scripted:
    """A fetcher that answers what it was told to, in order."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    def get(self, url: str, *, max_bytes: int, timeout_seconds: float) -> bytes:
        """Answer the next."""
        self.asked.append((url, max_bytes))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def source(fetcher: Scripted, clock: ManualClock, base_url: str = "https://kds.example.test") -> Source:
    """Return a source on a clock of its own."""
    pace = Pace(clock=clock, interval_seconds=10.0, pause=clock.pause)
    return Source(name="kds", base_url=base_url, fetcher=fetcher, pace=pace, clock=clock, request_seconds=5.0)


def busy(seconds: float) -> FetchError:
    """Return what a busy source raises."""
    return FetchError("FETCH_BUSY", "busy", retry_after_seconds=seconds)


NAME = vcek_names(parse_report(MILAN.report()))[0]


def test_a_busy_source_is_asked_again_when_it_says():
    """429 is waited out, not handed to the caller."""
    clock, fetcher = ManualClock(), Scripted(busy(7.0), busy(30.0), b"vcek")
    assert source(fetcher, clock).get(NAME, max_bytes=9, patience_seconds=60) == b"vcek"
    assert fetcher.asked == [("https://kds.example.test" + NAME.kds_path, 9)] * 3
    assert clock.pauses == [10.0, 30.0]


def test_a_source_that_stays_busy():
    """Patience ends, and so do tries; the source is left alone until then by everybody."""
    clock = ManualClock()
    asked = source(Scripted(busy(100.0), b"never"), clock)
    for _ in range(2):
        with pytest.raises(FetchError) as caught:
            asked.get(NAME, max_bytes=9, patience_seconds=60)
        assert (caught.value.code, caught.value.retry_after_seconds) == ("FETCH_BUSY", 100.0)
    clock = ManualClock()
    fetcher = Scripted(*[busy(0.0)] * 9)
    with pytest.raises(FetchError):
        source(fetcher, clock).get(NAME, max_bytes=9, patience_seconds=600)
    assert len(fetcher.asked) == 4


@pytest.mark.parametrize("error", [FetchError("FETCH_FAILED", "no"), NotFoundError("COLLATERAL_NOT_FOUND", "none")])
def test_other_failures_are_told_at_once(error):
    """One request, whatever comes of it."""
    fetcher = Scripted(error)
    with pytest.raises(type(error)):
        source(fetcher, ManualClock()).get(NAME, max_bytes=9, patience_seconds=60)
    assert len(fetcher.asked) == 1


@pytest.mark.parametrize(
    "base_url", ["", "kds", "ftp://a", "http://", "http://a/", "http://u@a", "http://a?q", "http://a#f"]
)
def test_sources_that_are_none(base_url):
    """A base is a scheme, a host, perhaps a path, and nothing more."""
    with pytest.raises(ValueError, match="source"):
        source(Scripted(), ManualClock(), base_url)
    assert source(Scripted(), ManualClock(), "http://127.0.0.1:8/kds").base_url.endswith("/kds")
