"""What concurrent attestation tells: who was answered when, with how many calls, and whether the device is one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from bench.evaluation.attestation import asking, chapter, report, told, workloads
from bench.evaluation.attestation.crowd import Crowd, places
from bench.evaluation.chapter import Cell, Plot, Table
from bench.evaluation.limit import OverrunError, within
from bench.evaluation.model import FailedError, MissingError, Plan, Step
from bench.evaluation.runs import Column, Measured, Runs
from tests.support.attested_guest import Scene
from tests.support.evaluations import measured, run, runs, timing
from tests.support.notified import device_for_thread
from tests.support.snp_firmware import Firmware

SERIAL = [0.0044 * place for place in range(1, 11)]
TOGETHER = [0.005] * 9 + [0.0103]


def _column(which: told.Configuration, seconds: Sequence[float], calls: int) -> Column:
    return Column(configuration=which, samples=(tuple(timing(each, value=calls) for each in seconds),) * 3)


def _ten(direct: Sequence[float] = SERIAL, broker: Sequence[float] = TOGETHER, *, calls: int = 2) -> Measured:
    return replace(
        measured(name=told.at_once(10), busy=False),
        title="10 at once",
        steps=tuple(Step(name=f"position {place}", units=1, unit="answers") for place in range(1, 11)),
        columns=(_column(told.DIRECT, direct, 10), _column(told.BROKER, broker, calls)),
        comparisons=(),
    )


def _table(of: Measured, caption: str) -> Table:
    parts = chapter(runs(of)).parts
    return next(each for each in parts if isinstance(each, Table) and each.caption.startswith(caption))


def _broker_cells(of: Measured) -> list[Cell]:
    return [row[2] for row in _table(of, "Ten at once").rows]


def test_answers_are_in_the_order_in_which_they_came() -> None:
    """The first answer is position 1, whichever thread had it, and all are timed from one moment."""
    turn, lock = threading.Semaphore(1), threading.Lock()
    calls = 0

    def ask() -> None:
        nonlocal calls
        with turn, lock:
            calls += 1

    crowd = Crowd([ask] * 20, calls=lambda: calls, end=lambda: None)
    for _ in range(3):
        sample = crowd.sample()
        assert len(sample) == len(places(20)) == 10
        assert [each.seconds for each in sample] == sorted(each.seconds for each in sample)
        assert {each.start_ns for each in sample} == {sample[0].start_ns}
        assert {each.value for each in sample} == {20}
    crowd.close()


def test_one_without_an_answer_fails_the_configuration() -> None:
    """Nothing is timed where somebody was refused."""

    def refused() -> None:
        raise OSError("no")

    crowd = Crowd([lambda: None, refused], calls=lambda: 0, end=lambda: None)
    with pytest.raises(FailedError, match="somebody got no answer: OSError: no"):
        crowd.sample()
    crowd.close()


@pytest.mark.parametrize("open_it", [asking.one_call_each, asking.a_receipt_each])
def test_alone_each_costs_a_call(open_it: object) -> None:
    """Directly and for a receipt, five ask and the device is called five times."""
    candidate = open_it(5).candidate  # type: ignore[operator]
    assert candidate.sample()[0].value == 5
    candidate.close()


def test_together_two_calls_are_enough() -> None:
    """However many ask the broker at once, the device makes a report for the first and one for all others."""
    candidate = asking.through_the_broker(30).candidate
    assert min(candidate.sample()[0].value for _ in range(20)) <= told.MOST_CALLS
    candidate.close()


def test_connections_are_verified() -> None:
    """Over real TLS, each connection is proven with a report that it may share."""
    candidate = asking.over_connections(3).candidate
    assert 1 <= candidate.sample()[0].value <= 3
    candidate.close()


def test_another_ones_report_is_refused() -> None:
    """What a device gives is what was asked for, or the configuration fails."""
    candidate = asking._at_devices([lambda _: bytes(1184)] * 2).candidate
    with pytest.raises(FailedError, match="somebody else's"):
        candidate.sample()
    candidate.close()


def test_real_device_is_asked_where_there_is_one() -> None:
    """Each thread opens `/dev/sev-guest` for itself and asks it once; without one, the column says so."""
    with device_for_thread(Firmware(Scene().platform)) as here:

        def ask() -> float:
            candidate = asking.at_the_real_device(3).candidate
            calls = candidate.sample()[0].value
            candidate.close()
            return calls

        assert here(ask) == 3
        assert len(here.stand_in.opened_by) == 3  # type: ignore[attr-defined]
        here.stand_in.opening = 2  # type: ignore[attr-defined]
        with pytest.raises(MissingError, match="sev-guest"):
            here(lambda: asking.at_the_real_device(3))


def test_stand_in_is_proven() -> None:
    """4.4 ms a position on a straight line, or it is no stand-in; under load nothing is said of it."""
    assert report.is_serial(_ten()) is True
    assert report.is_serial(_ten([each * 1.1 for each in SERIAL])) is False
    assert report.is_serial(_ten([*SERIAL[:9], 0.09])) is False
    assert report.is_serial(replace(_ten(), others=0.5)) is None
    assert report.is_serial(None) is None


def test_bound_holds_for_every_position() -> None:
    """Twice 4.4 ms and 2 ms is the most through the broker; what is later is marked."""
    assert [each.holds for each in _broker_cells(_ten())] == [True] * 10
    assert [each.holds for each in _broker_cells(_ten(broker=[*TOGETHER[:9], 0.0109]))] == [True] * 9 + [False]


def test_bound_is_not_judged_without_a_stand_in() -> None:
    """A device that is faster than the real one would have any broker hold."""
    assert {each.holds for each in _broker_cells(_ten([each / 10 for each in SERIAL]))} == {None}


def test_stand_in_that_is_none_is_named() -> None:
    """Faster or slower, its row says what that means; a device that is not here has its reason."""
    missing = Column(configuration=told.REAL_DEVICE, empty="there is none")
    for factor, holds in ((1.0, True), (0.9, None), (1.1, None)):
        it = _ten([each * factor for each in SERIAL])
        direct, real = _table(replace(it, columns=(*it.columns, missing)), "One at a time").rows
        assert direct[2].holds is holds
        assert ("not the device" in direct[2].note) is (holds is None)
        assert (real[2].text, real[2].note) == ("not measured", "there is none")


def test_no_figure_under_load() -> None:
    """A machine that was busy with something else tells nothing of waiting."""
    assert {each.text for each in _broker_cells(replace(_ten(), others=0.5))} == {"no figure"}


@pytest.mark.parametrize(("others", "shown"), [(0.0, {told.DIRECT.title, told.BROKER.title}), (0.5, set())])
def test_what_is_not_told_is_not_drawn(others: float, shown: set[str]) -> None:
    """A plot has no line whose figures the table refuses."""
    plots = [each for each in chapter(runs(replace(_ten(), others=others))).parts if isinstance(each, Plot)]
    assert len(plots) == 2
    for each in plots:
        assert {line.name for line in each.lines if not line.dashed} == shown


def test_third_call_is_marked() -> None:
    """More than two calls for one barrier is what the broker is there to prevent."""
    rows = {row[1].text: row[2] for row in _table(_ten(calls=3), "Calls of the device").rows}
    assert (rows[told.BROKER.title].text, rows[told.BROKER.title].holds) == ("3", False)
    assert rows[told.BROKER.title].note == "in 3 of 3 barriers"
    assert (rows[told.DIRECT.title].text, rows[told.DIRECT.title].holds) == ("10", None)


def test_a_real_device_is_told_of_beside_a_run_outside() -> None:
    """The run in an SEV-SNP guest has all tables of its own, with the device that only it has."""
    real = _column(told.REAL_DEVICE, SERIAL, 10)
    inside = replace(_ten(), columns=(*_ten().columns, real))
    both = Runs(plain=run(_ten()), snp=run(inside, label="snp", snp=True))
    tables = [each for each in chapter(both).parts if isinstance(each, Table)]
    outside_ten, inside_ten = (each for each in tables if "Ten at once" in each.caption)
    assert told.REAL_DEVICE.title not in outside_ten.head
    assert inside_ten.caption.startswith("In SEV-SNP")
    first, *_ = inside_ten.rows
    assert first[inside_ten.head.index(told.REAL_DEVICE.title)].text == "4.4 ms"


def test_one_that_is_never_answered_is_waited_for_no_longer() -> None:
    """Who was interrupted goes on; the thread that waits for an answer ends with the program."""
    never = threading.Event()
    crowd = Crowd([lambda: None, never.wait], calls=lambda: 0, end=lambda: None)
    with pytest.raises(OverrunError), within(0.2):
        crowd.sample()
    crowd.close()
    assert all(each.daemon for each in threading.enumerate() if "answered" in each.name)
    never.set()


def test_chapter_without_these_workloads() -> None:
    """A run of other classes leaves it empty, and nothing breaks."""
    assert chapter(runs(measured())).title == "Concurrent attestation"
    assert run().of_class("attestation") == ()


def test_what_is_measured_is_the_papers() -> None:
    """From one to a hundred threads, two hundred barriers each, and connections to the same number."""
    offered = {each.name: each for each in workloads(Plan(reduced=False))}
    assert set(offered) == {f(each) for f in (told.at_once, told.connecting) for each in (1, 2, 5, 10, 20, 50, 100)}
    assert {each.rounds for name, each in offered.items() if "at-once" in name} == {200}
    assert offered[told.at_once(10)].comparisons[0].at_most == pytest.approx(10.8 / 44, abs=1e-3)
