"""Which ratios are told, and what is said instead of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench.evaluation import classes
from bench.evaluation.judge import Verdict, disturbed, merged, verdict
from bench.evaluation.model import Plan
from bench.evaluation.runs import Column, Measured
from bench.evaluation.statistic import ratio, summary
from bench.evaluation.whole import OVER_NATIVE
from tests.support.evaluations import COMPARISON, absent, column, measured, timing

NATIVE = column("gcc", [1.0, 1.0, 1.0])


def _judged(it: Measured) -> Verdict:
    return verdict(it, COMPARISON)


def _with_wasm(wasm: Column, **options: float) -> Verdict:
    return _judged(measured(columns=(NATIVE, wasm), **options))


def test_a_ratio_has_what_follows_from_both_sides() -> None:
    """The mean's deviation is propagated, median and minimum are of the samples, and the faster native one counts."""
    found = _judged(measured({"gcc": [9, 9, 9], "clang": [1.0, 2.0, 3.0], "wasm": [2.0, 3.0, 7.0]}))
    assert found.figure is not None
    assert (found.of, found.over) == ("wasm", "clang")
    assert found.figure.mean == pytest.approx(2.0)
    # Deviations of 2.6458 on 4 and 1 on 2.
    assert found.figure.deviation == pytest.approx(2.0 * ((2.6458 / 4) ** 2 + 0.25) ** 0.5, rel=1e-4)
    assert (found.figure.median, found.figure.least) == (1.5, 2.0)
    assert found.holds is True
    assert not found.reasons


def test_a_bound_is_of_the_medians() -> None:
    """A median above the bound is missed, whatever the mean."""
    assert _with_wasm(column("wasm", [1.6, 1.6, 0.1])).holds is False


def test_one_sample_has_no_deviation() -> None:
    """A single sample can be summarised."""
    assert ratio(summary([3.0]), summary([2.0])).deviation == 0


def test_another_result_gives_no_ratio() -> None:
    """A configuration that computes something else is named."""
    found = _with_wasm(column("wasm", [1.0, 1.0, 1.0], digest="bb"))
    assert found.figure is None
    assert found.reasons == ("by wasm: its result differs from that of by gcc",)


def test_another_result_of_a_third_gives_no_ratio_either() -> None:
    """All configurations must agree, those too that a ratio is not of; and one must agree with itself."""
    fast = column("gcc-fast", [1.0], exact=False, digest="cc", value=1.1)
    assert _judged(measured(columns=(NATIVE, column("wasm", [1.0]), fast))).figure is None
    moody = Column(configuration=NATIVE.configuration, samples=((timing(1.0),), (timing(1.0, digest="bb"),)))
    assert _judged(measured(columns=(moody, column("wasm", [1.0])))).figure is None


def test_floating_point_that_was_reordered_must_be_near() -> None:
    """Where another order of sums is asked for, other bits are no other result."""
    fast = column("gcc-fast", [1.0], exact=False, digest="cc", value=1.0 + 1e-9)
    assert _judged(measured(columns=(NATIVE, column("wasm", [1.0]), fast))).figure is not None


def test_a_removed_loop_gives_no_ratio() -> None:
    """What takes less than it can was not computed: here ten things in 5 ns, where one takes 1 ns."""
    native = column("gcc", [5e-9])
    found = _judged(measured(columns=(native, column("wasm", [1.0])), least_seconds=1e-9))
    assert found.figure is None
    assert found.reasons == ("by gcc: the loop was removed: one of its things took less than 1 ns",)


def test_everything_that_computes_has_a_least_time() -> None:
    """A removed loop is noticed in any kernel; of a chase natively in L1 it is what takes less than 1 ns."""
    found = {
        (each.name, step.name): step
        for name in ("arithmetic", "memory", "inference", "replaces")
        for each in classes.load(name).workloads(Plan(reduced=False, fetches=False))
        for step in each.steps
        if not each.name.endswith(("-whole", "-process"))
    }
    assert not [name for name, step in found.items() if step.least_seconds <= 0]
    chases = {step.least_seconds for name, step in found.items() if name[1] in ("follow", "walk")}
    assert chases == {1e-9}


def test_a_chase_in_l1_under_a_nanosecond_gives_no_ratio() -> None:
    """Natively half a nanosecond a step is named, whatever the component took."""
    there = classes.load("arithmetic").workloads(Plan(reduced=True, fetches=False))
    (step,) = next(each for each in there if each.name == "arithmetic/chase-l1").steps
    seconds = step.units * 0.5e-9
    it = measured({"gcc": [seconds] * 3, "wasm": [seconds * 3] * 3})
    found = _judged(replace(it, steps=(replace(step, name="work"),)))
    assert found.figure is None
    assert found.reasons == ("by gcc: the loop was removed: one of its steps took less than 1 ns",)


def test_a_whole_run_may_wait() -> None:
    """What the runtime waits for is its own, so that no run of it is left out for that, as no other configuration's.

    And each is held against the faster of two compilers.
    """
    wholes = [
        each
        for name in ("arithmetic", "memory", "inference")
        for each in classes.load(name).workloads(Plan(reduced=False, fetches=False))
        if each.name.endswith("-whole")
    ]
    assert len(wholes) == 10
    assert not any(each.busy for each in wholes)
    for each in wholes:
        over_native = next(comparison.over for comparison in each.comparisons if comparison.name == OVER_NATIVE)
        assert over_native == ("native-gcc", "native")
        assert {*over_native, "runtime"} <= {offer.configuration.name for offer in each.offers}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"end_ns": 9}, "a clock went back"),
        ({"end_ns": 10}, "a clock went back"),
        ({"wall_end_ns": 49}, "a clock went back"),
        ({"wall_end_ns": 50 + 1_200_000_000}, "the monotonic and the wall clock disagree"),
    ],
)
def test_clocks_that_cannot_be_believed_give_no_ratio(changes: dict[str, int], reason: str) -> None:
    """A clock that stood still, went back, or ran otherwise than the other one is named."""
    wasm = Column(configuration=column("wasm", []).configuration, samples=((timing(1.0, **changes),),) * 3)
    found = _with_wasm(wasm)
    assert found.figure is None
    assert any(reason in each for each in found.reasons)


def test_a_busy_machine_gives_no_ratio() -> None:
    """Cores that something else keeps busy are named, and nothing is told of what was measured meanwhile."""
    found = _with_wasm(column("wasm", [1.0]), others=0.9)
    assert found.figure is None
    assert found.reasons == ("the machine was under load: 0.90 cores were busy with something else",)
    assert disturbed(measured({"gcc": [1.0], "wasm": [1.0]}, others=0.9))
    assert not disturbed(measured({"gcc": [1.0]}))


def test_samples_without_their_core_do_not_count() -> None:
    """One disturbed sample is left out; where half of them are, there is no ratio."""
    calm, disturbed = timing(1.2), timing(5.0, cpu_ns=10**9)
    configuration = column("wasm", []).configuration
    some = Column(configuration=configuration, samples=((calm,), (disturbed,), (calm,)))
    found = _with_wasm(some)
    assert found.figure is not None
    assert found.figure.mean == pytest.approx(1.2)
    most = Column(configuration=configuration, samples=((calm,), (disturbed,)))
    assert "it had its core in only 1 of 2 samples" in _with_wasm(most).reasons[0]


def test_what_waits_needs_no_core() -> None:
    """A workload that waits for a device is not disturbed by using no processor."""
    idle = {"cpu_ns": 0}
    columns = (column("gcc", [1.0], **idle), column("wasm", [2.0], **idle))
    assert _judged(measured(columns=columns)).figure is None
    assert _judged(measured(columns=columns, busy=False)).figure is not None


def test_what_is_missing_is_said_with_its_reason() -> None:
    """A side without samples leaves the reasons of its configurations; one of several is enough."""
    gone = absent("clang", "clang is not installed")
    assert _judged(measured({"wasm": [1.0]}, columns=(gone,))).reasons == ("by clang: clang is not installed",)
    assert _judged(measured({"gcc": [1.0]})).reasons == ("no wasm",)
    assert _with_wasm(column("wasm", [1.0])).figure is not None


def test_inside_over_outside_is_judged_as_everything_is() -> None:
    """Two runs of one workload can be held together, and their results must agree too."""
    outside, inside = measured({"gcc": [1.0], "wasm": [1.5]}), measured({"gcc": [1.1], "wasm": [3.0]})
    wanted = type(COMPARISON)(name="", step="work", of=("snp-wasm",), over=("wasm",))
    found = verdict(merged(outside=outside, inside=inside), wanted)
    assert found.figure is not None
    assert found.figure.median == 2.0
    other = measured(columns=(column("wasm", [3.0], digest="bb"),))
    assert verdict(merged(outside=outside, inside=other), wanted).figure is None
