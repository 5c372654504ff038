"""What the layers replace computes the same product, or is not told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench.evaluation import build
from bench.evaluation.build import KERNELS
from bench.evaluation.elsewhere.product import numbers, product, require_near, told
from bench.evaluation.judge import column_summary, unsound, verdict
from bench.evaluation.model import Plan, Step
from bench.evaluation.process import Hosted, Request
from bench.evaluation.replaces import REPLACED, chapter, workloads
from bench.evaluation.replaces.report import NAME, over_native, over_runtime
from bench.evaluation.standard import STRICT, Kernel, native_library
from tests.support.evaluations import COMPARISON, absent, column, measured, runs


def test_other_pythons_have_the_kernels_numbers() -> None:
    """The same matrix and vector from the same seed, and the same digest of the product."""
    it = Kernel(
        name="a", title="", sources=(KERNELS / "whole_numbers.c",), request=Request(size=128, times=(3,)), steps=()
    )
    native = Hosted("native", native_library(it, build.PAPER[0]), it.request)
    (timing,) = native.sample()
    native.close()
    assert (timing.digest, timing.value) == told(product(*numbers(128, 1)))


def test_whole_numbers_fit_every_way() -> None:
    """No number of the product is beyond BFV's modulus or a 32-bit integer."""
    assert max(product(*numbers(128, 1))) < 65537


@pytest.mark.parametrize("off", [11.0, -11.0, float("nan")])
def test_result_further_off_is_refused(off: float) -> None:
    """A number may be off by the tolerance of the largest one, and one that is none is refused too."""
    want = [1.0, 1e7]
    require_near([10.0, 1e7], want, 1e-6)
    with pytest.raises(ValueError, match="of the largest off"):
        require_near([1.0 + off, 1e7], want, 1e-6)


def test_one_product_is_told_of_many() -> None:
    """A configuration whose samples have more products is told, and judged, by one of them."""
    fast = column("gcc", [1.0])
    fast = replace(fast, configuration=replace(fast.configuration, repeats=100))
    it = measured(columns=(fast, column("wasm", [1.0])))
    assert column_summary(it, fast, 0).median == 0.01
    assert verdict(it, COMPARISON).figure.median == pytest.approx(100)  # type: ignore[union-attr]
    assert unsound(fast, Step(name="work", units=1, unit="products", least_seconds=0.02), 0)


def test_each_way_is_compared_twice() -> None:
    """Over native and over the whole runtime; the reduced run has those that take seconds."""
    (whole,), (small,) = (tuple(workloads(Plan(reduced=each, fetches=False))) for each in (False, True))
    names = {each.name for each in whole.comparisons}
    assert {f(each.configuration.title) for f in (over_native, over_runtime) for each in REPLACED} <= names
    assert {offer.configuration.name for offer in small.offers} >= {*STRICT, "wasm", "runtime", "tenseal", "mpyc"}
    assert not any("openfhe" in offer.configuration.name for offer in small.offers)
    assert all(offer.configuration.repeats > 1 for offer in whole.offers if offer.configuration.name in STRICT)


def test_chapter_says_why_a_way_is_missing() -> None:
    """A way without a figure has its reason in its row."""
    it = measured({"gcc": [1.0]}, name=NAME, columns=(absent("tenseal", "it is not here"),))
    ways, *_ = chapter(runs(replace(it, comparisons=()))).parts
    (row,) = ways.rows  # type: ignore[union-attr]
    assert (row[1].text, row[1].note) == ("not measured", "it is not here")


@pytest.mark.parametrize(
    ("wrong", "why"), [({"digest": "bb"}, "its result differs"), ({"wall_end_ns": 0}, "a clock went back")]
)
def test_no_time_is_told_of_what_is_wrong(wrong: dict[str, object], why: str) -> None:
    """Where a result differs nobody's time is told, and where a clock went back not its own; nor in any other table."""
    it = measured({"gcc": [1.0]}, name=NAME, columns=(column("mpyc", [1.0], **wrong),))
    ways, *_, times = chapter(runs(replace(it, comparisons=()))).parts
    (way,), seconds = ways.rows, times.rows  # type: ignore[union-attr]
    assert way[1].text == seconds[1][2].text == "no figure"
    assert why in way[1].note
    assert why in seconds[1][2].note
    assert (seconds[0][2].text == "no figure") == ("digest" in wrong)


def test_chapter_says_what_links_were_measured() -> None:
    """A figure over links has their round trip beside it, as it was measured."""
    over = replace(column("mpyc-10ms", [1.0]), conditions={"round_trip_ms": 20.3456, "packets": 1234.0})
    ways, *_ = chapter(runs(replace(measured({"gcc": [1.0]}, name=NAME, columns=(over,)), comparisons=()))).parts
    (row,) = ways.rows  # type: ignore[union-attr]
    assert row[0].note.endswith("; round trip 20.3 ms; 1234 packets")
