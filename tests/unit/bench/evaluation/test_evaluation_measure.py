"""Candidates are sampled in turn, on one core, and given back."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from bench.evaluation import build, engine, load
from bench.evaluation.arithmetic import crossing
from bench.evaluation.judge import differing
from bench.evaluation.measure import build as build_all
from bench.evaluation.measure import measure, pinned
from bench.evaluation.model import Configuration, FailedError, MissingError, Offer, Opened, Plan, Step, Timing, Workload
from bench.evaluation.process import Hosted, Request
from bench.evaluation.standard import called_component, native_library
from tests.support.evaluations import timing

PLAN = Plan(reduced=True, fetches=False)
CROSSING = replace(crossing(16, PLAN), request=Request(size=16, times=(5, 5)))
STEP = Step(name="work", units=1, unit="things")


class Noted:
    """Notes when it is sampled and closed."""

    def __init__(self, name: str, notes: list[str], *, count: int = 1) -> None:
        self._name, self._notes, self._count = name, notes, count

    def sample(self) -> tuple[Timing, ...]:
        self._notes.append(self._name)
        return (timing(1.0),) * self._count

    def close(self) -> None:
        self._notes.append(f"{self._name} closed")


class Broken(Noted):
    """Can be sampled once."""

    def sample(self) -> tuple[Timing, ...]:
        if self._name in self._notes:
            raise FailedError("it broke")
        return super().sample()


def _offer(name: str, notes: list[str], *, count: int = 1) -> Offer:
    opened = Opened(candidate=Noted(name, notes, count=count), files={})
    return Offer(configuration=Configuration(name=name, title=name), open=lambda: opened)


def _missing(name: str) -> Offer:
    def refuse() -> Opened:
        raise MissingError("not here")

    return Offer(configuration=Configuration(name=name, title=name), open=refuse, build=refuse)


def _workload(*offers: Offer) -> Workload:
    return Workload(name="arithmetic/thing", title="a thing", steps=(STEP,), offers=offers)


def test_each_round_samples_all_in_turn() -> None:
    """ABCABC, and each is closed; what cannot be had has an empty column with the reason, and stops nothing."""
    notes: list[str] = []
    it = _workload(_offer("a", notes), _missing("b"), _offer("c", notes))
    build_all([it])
    found = measure(it, PLAN)
    assert notes == ["a", "c"] * 3 + ["c closed", "a closed"]
    assert [(each.configuration.name, each.empty, len(each.samples)) for each in found.columns] == [
        ("a", "", 3),
        ("b", "not here", 0),
        ("c", "", 3),
    ]


def test_a_candidate_that_forgets_a_step_is_a_mistake() -> None:
    """One timing for each step; and all are closed in any case."""
    notes: list[str] = []
    with pytest.raises(RuntimeError, match="got 2 timings, want 1"):
        measure(_workload(_offer("a", notes, count=2)), PLAN)
    assert notes[-1] == "a closed"


def test_a_candidate_that_fails_leaves_an_empty_column() -> None:
    """What it did before it failed does not count, what it said is kept, and the others go on."""
    notes: list[str] = []
    broken = Opened(candidate=Broken("b", notes), files={})
    offer = Offer(configuration=Configuration(name="b", title="b"), open=lambda: broken)
    found = measure(_workload(_offer("a", notes), offer), PLAN)
    assert notes == ["a", "b", "a", "a", "b closed", "a closed"]
    assert [(each.empty, each.failed, len(each.samples)) for each in found.columns] == [
        ("", False, 3),
        ("it broke", True, 0),
    ]


def test_one_core_is_kept_to_and_given_back() -> None:
    """Inside there is one core; afterwards all that there were."""
    before = os.sched_getaffinity(0)
    with pinned() as core:
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before


def test_our_own_work_is_no_load() -> None:
    """What this process does is not what others do, and the difference is never negative."""
    before = load.moment()
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass
    after = load.moment()
    assert after.ours - before.ours >= 0.05
    assert load.others(before, after) >= 0
    assert load.others(after, after) == 0


def test_a_kernel_computes_the_same_natively_and_as_a_component() -> None:
    """The real thing, small: compiled, called in a process of its own, timed by clocks that went on."""
    files = [partial(native_library, CROSSING, each) for each in (*build.PAPER, *build.BEST)]
    ways = [("engine", lambda: engine.compiled(called_component(CROSSING))), *(("native", each) for each in files)]
    with ExitStack() as closing:
        hosted = []
        for kind, path in ways:
            with suppress(MissingError):
                hosted.append(Hosted(kind, path(), CROSSING.request))
                closing.callback(hosted[-1].close)
        if len(hosted) < 2:
            pytest.skip("no two compilers are installed here")
        samples = [each.sample() for each in hosted for _ in range(2)]
    assert len({each.digest for sample in samples for each in sample}) == 1
    assert all(each.end_ns > each.start_ns and each.cpu_ns > 0 for sample in samples for each in sample)
    # Each row of the matrix adds up to 1, so that 16 numbers stay between the least and the most of 1 to 16.
    assert 16 < samples[0][0].value < 256


def test_a_kernel_that_fails_says_so() -> None:
    """A process that ends before it answers is an error with what it said."""
    with pytest.raises(FailedError, match="ended with"):
        Hosted("native", Path("/nowhere.so"), Request(size=1, times=(1,)))


def test_a_digest_is_of_every_sample() -> None:
    """A measured workload whose candidates agree has nothing that differs."""
    assert differing(measure(_workload(_offer("a", []), _offer("b", [])), PLAN), 0) == ()
