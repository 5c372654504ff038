"""Candidates are sampled in turn, on one core, and given back."""

from __future__ import annotations

import os
import platform
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from bench.evaluation import build, engine, load
from bench.evaluation.arithmetic import crossing
from bench.evaluation.ended import ended
from bench.evaluation.judge import differing
from bench.evaluation.limit import OverrunError, within
from bench.evaluation.measure import build as build_all
from bench.evaluation.measure import measure, pinned
from bench.evaluation.model import Configuration, FailedError, MissingError, Offer, Opened, Plan, Step, Timing, Workload
from bench.evaluation.process import Hosted, Request, Served
from bench.evaluation.standard import called_component, native_library
from tests.support.evaluations import timing

from twocvm_verifier.errors import UnsupportedError

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


class Hasty(Plan):
    """Waits for nothing."""

    @property
    def limit_seconds(self) -> float:
        return 0.2


class Endless:
    """Hangs in one of the things that it is asked."""

    def __init__(self, where: str) -> None:
        self._where = where

    def sample(self) -> tuple[Timing, ...]:
        self._hang("sample")
        return (timing(1.0),)

    def close(self) -> None:
        self._hang("close")

    def _hang(self, where: str) -> None:
        if where == self._where:
            time.sleep(60)


class Broken(Noted):
    """Can be sampled once."""

    def sample(self) -> tuple[Timing, ...]:
        if self._name in self._notes:
            raise FailedError("it broke")
        return super().sample()

    def close(self) -> None:
        super().close()
        raise MissingError("it was late, too")


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
    """What it did before it failed does not count, what it said first is kept, and the others go on."""
    notes: list[str] = []
    broken = Opened(candidate=Broken("b", notes), conditions=lambda: {"notes": len(notes)})
    offer = Offer(configuration=Configuration(name="b", title="b"), open=lambda: broken)
    found = measure(_workload(_offer("a", notes), offer), PLAN)
    assert notes == ["a", "b", "a", "a", "b closed", "a closed"]
    assert [(each.empty, each.failed, len(each.samples)) for each in found.columns] == [
        ("", False, 3),
        ("it broke", True, 0),
    ]
    # What it ran on is told by whoever knows, once it is over.
    assert [each.conditions for each in found.columns] == [{}, {"notes": 6}]


@pytest.mark.parametrize("where", ["open", "sample", "close"])
def test_one_that_hangs_is_named(where: str) -> None:
    """Its column is empty with the reason, wherever it hangs, it is not asked again, and the others go on."""

    def opened() -> Opened:
        if where == "open":
            time.sleep(60)
        return Opened(candidate=Endless(where))

    endless = Offer(configuration=Configuration(name="b", title="b"), open=opened)
    began = time.monotonic()
    found = measure(_workload(_offer("a", []), endless), Hasty(reduced=True, fetches=False))
    assert time.monotonic() - began < 30
    assert [(each.empty, each.failed, len(each.samples)) for each in found.columns] == [
        ("", False, 3),
        ("it took more than 0.2 s", True, 0),
    ]


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    """A process that answers no more is gone afterwards, and so is what it has started."""
    child = tmp_path / "child"
    hanging = ["sh", "-c", f"read first; echo '{{}}'; sleep 60 & echo $! > {child}; trap '' HUP TERM; wait; sleep 60"]
    served = Served(hanging, {})
    with pytest.raises(OverrunError, match="more than"), within(0.5):
        served.sample()
    served.close(patience_seconds=0.1)
    _require_gone(child)
    with pytest.raises(FailedError, match=r"sh took more than 0\.5 s"):
        ended(["sh", "-c", f"sleep 60 & echo $! > {child}; sleep 60"], seconds=0.5)
    _require_gone(child)


def _require_gone(pid: Path) -> None:
    number = int(pid.read_text())
    for _ in range(100):
        # One that nobody has waited for yet is no process any more.
        stat = Path(f"/proc/{number}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail(f"{number} is still there")


def test_another_alarm_goes_on() -> None:
    """Whoever had set one before has it afterwards, with what is left of it."""
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(OverrunError), within(0.1):
            time.sleep(60)
        time.sleep(0.5)
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, left)
    assert rung == [1]


def test_whatever_one_raises_the_others_go_on() -> None:
    """An error that nobody thought of leaves an empty column with its name, when it is opened or sampled."""

    def broken() -> Opened:
        raise KeyError("it")

    class Odd(Noted):
        def sample(self) -> tuple[Timing, ...]:
            raise ZeroDivisionError("by what")

    offers = (
        Offer(configuration=Configuration(name="a", title="a"), open=broken, build=broken),
        Offer(configuration=Configuration(name="b", title="b"), open=lambda: Opened(candidate=Odd("b", []))),
        _offer("c", []),
    )
    build_all([_workload(*offers)])
    columns = measure(_workload(*offers), PLAN).columns
    assert [(each.empty, each.failed) for each in columns] == [
        ("KeyError: 'it'", True),
        ("ZeroDivisionError: by what", True),
        ("", False),
    ]


def test_a_result_that_is_no_number_is_named() -> None:
    """It cannot be near anything, nor be kept as JSON."""

    class Lost(Noted):
        def sample(self) -> tuple[Timing, ...]:
            return (timing(1.0, value=float("nan")),)

    lost = Offer(configuration=Configuration(name="a", title="a"), open=lambda: Opened(candidate=Lost("a", [])))
    (found,) = measure(_workload(lost), PLAN).columns
    assert (found.empty, found.failed, found.samples) == ("its result is no number", True, ())


def test_compilers_that_are_not_here_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gcc, without the compiler of components, on another processor: each column says which."""

    def refuse(*_: object) -> None:
        raise UnsupportedError("TOOLCHAIN_MISSING", "no compiler of components here")

    monkeypatch.setattr(build, "_cpu_flags", lambda: {"sse2"})
    with pytest.raises(MissingError, match="has not all of x86-64-v3"):
        native_library(CROSSING, build.BEST[0])
    monkeypatch.setattr(build, "require_tool", refuse)
    for compiled in (partial(native_library, CROSSING, build.PAPER[1]), partial(called_component, CROSSING)):
        with pytest.raises(MissingError, match="no compiler of components"):
            compiled()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingError, match="gcc is not installed"):
        native_library(CROSSING, build.PAPER[0])
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(MissingError, match="is riscv64"):
        native_library(CROSSING, build.PAPER[0])


def test_a_compiler_that_fails_is_named(tmp_path: Path) -> None:
    """What it said is the reason; nothing of it is kept."""
    source = tmp_path / "no.c"
    source.write_text("this is no C")
    it = replace(CROSSING, sources=(source,), callee=None)
    try:
        with pytest.raises(FailedError, match="gcc ended with 1"):
            native_library(it, build.PAPER[0])
    except MissingError as missing:
        pytest.skip(str(missing))


def test_native_baselines_are_what_they_are_called() -> None:
    """Both compilers get -O3 and keep no frame pointers, and strict ones have no licence with floating point."""
    for native in (*build.PAPER, *build.BEST, *build.FAST):
        assert native.configuration.flags.startswith("-O3 ")
        assert ("-Xclang -O3 -fomit-frame-pointer" in native.configuration.flags) is (native.compiler == "clang")
        assert ("-ffast-math" in native.flags) is not ("-ffp-contract=off" in native.flags)
        assert native.configuration.exact is ("-ffast-math" not in native.flags)
    assert {each.machine for each in build.PAPER} == {"x86-64"}
    assert {each.machine for each in (*build.BEST, *build.FAST)} == {"x86-64-v3"}


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
