"""The network is what it says, and nothing is timed that onnxruntime does not agree with."""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from bench.evaluation import build, extras, inference
from bench.evaluation.inference import chapter, process, workloads
from bench.evaluation.inference.report import PROCESS
from bench.evaluation.judge import unsound
from bench.evaluation.model import Configuration, FailedError, MissingError, Opened, Plan, Step
from bench.evaluation.process import Request
from bench.evaluation.runs import Column
from bench.evaluation.standard import Kernel, native_library
from bench.evaluation.whole import Once
from tests.support.evaluations import column, measured, runs

SHAPES = {"conv1": 200, "bias1": 8, "conv2": 3200, "bias2": 16, "dense": 2560, "bias3": 10}


def _weights(path: Path, **values: float) -> Path:
    lines = [
        f"const float {name}[{size}] = {{[0 ... {size - 1}] = {values.get(name, 0.0)}f}};"
        for name, size in SHAPES.items()
    ]
    path.write_text("\n".join(lines))
    return path


def _library(weights: Path) -> ctypes.CDLL:
    it = inference._kernel((weights,), Plan(reduced=True))
    library = ctypes.CDLL(str(native_library(it, build.PAPER[0])))
    library.prepare.restype = library.work.restype = ctypes.c_uint64
    library.prepare.argtypes = library.work.argtypes = (ctypes.c_uint64, ctypes.c_uint64)
    library.images.restype = library.scores.restype = ctypes.POINTER(ctypes.c_float)
    assert library.prepare(2, 1) == 1
    library.work(0, 2)
    return library


def test_biases_alone_go_through_every_layer(tmp_path: Path) -> None:
    """With no weight but the last, each score is 256 times the second layer's bias, and the last bias."""
    library = _library(_weights(tmp_path / "w.c", bias2=0.5, dense=1.0, bias3=3.0))
    assert list(library.scores()[:20]) == [256 * 0.5 + 3.0] * 20


def test_negative_sums_are_cut_off(tmp_path: Path) -> None:
    """Relu leaves nothing of them."""
    library = _library(_weights(tmp_path / "w.c", bias2=-0.5, dense=1.0, bias3=3.0))
    assert list(library.scores()[:10]) == [3.0] * 10


def test_convolution_has_zeros_around(tmp_path: Path) -> None:
    """All weights 1: each score is the sum over windows of windows, as written out here."""
    library = _library(_weights(tmp_path / "w.c", conv1=1.0, conv2=1.0, dense=1.0))
    image = [[library.images()[y * 28 + x] for x in range(28)] for y in range(28)]
    pooled = _pooled(_windows(image), 2)
    want = 16 * sum(map(sum, _pooled(_windows([[8 * each for each in row] for row in pooled]), 3)))
    assert library.scores()[0] == pytest.approx(want, rel=1e-4)


def _windows(of: list[list[float]]) -> list[list[float]]:
    side = range(len(of))
    return [
        [
            sum(of[j][i] for j in range(y - 2, y + 3) for i in range(x - 2, x + 3) if j in side and i in side)
            for x in side
        ]
        for y in side
    ]


def _pooled(of: list[list[float]], pool: int) -> list[list[float]]:
    side = range(len(of) // pool)
    return [[max(of[y * pool + j][x * pool + i] for j in range(pool) for i in range(pool)) for x in side] for y in side]


def test_without_the_packages_there_are_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model: every configuration is offered, and says why it is empty."""
    monkeypatch.setattr(extras, "BUILT", tmp_path)
    for workload in workloads(Plan(reduced=True, fetches=False)):
        assert workload.name.startswith("inference/")
        for offer in workload.offers:
            offer.build()
            with pytest.raises(MissingError, match="not fetched yet"):
                offer.open()


@pytest.mark.parametrize("error", [MissingError("it is not here"), FailedError("score 3 of image 7 is 0.5 from it")])
def test_nothing_is_timed_that_was_not_judged(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the judge is missing or says no, no configuration is opened; it is asked once for all."""
    asked: list[int] = []

    def refuse(_: object) -> Opened:
        asked.append(1)
        raise error

    monkeypatch.setattr(inference._Judged, "onnxruntime", refuse)
    judged = inference._Judged(None, None, Plan(reduced=True))  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(type(error), match=str(error)):
            judged.open(lambda: pytest.fail("it was opened"))
    assert asked == [1]


def test_hyperfine_times_the_same_process() -> None:
    """It runs it once for each sample, the result is what it is without it, and the clocks can be judged."""
    if shutil.which("hyperfine") is None:
        pytest.skip("no hyperfine here")
    it = Kernel(
        name="a", title="", sources=(build.KERNELS / "sort.c",), request=Request(size=100, times=(1,)), steps=()
    )
    library = native_library(it, build.PAPER[0])
    made = [kind("native", library, it.request) for kind in (Once, process.ByHyperfine)]
    (own,), (theirs,) = (each.sample() for each in made)
    for each in made:
        each.close()
    assert own.digest == theirs.digest
    column = Column(configuration=Configuration(name="a", title="a"), samples=((theirs,),))
    assert unsound(column, Step(name="process", units=1, unit="runs", least_seconds=1e-4), 0) == ()


def test_without_hyperfine_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each configuration of whole processes names the clock that it was timed by."""
    monkeypatch.setenv("PATH", "/nowhere")
    offers = process.workload(inference._kernel((), Plan(reduced=True)), lambda opening: opening()).offers
    assert all(offer.configuration.flags.endswith("for hyperfine is not here") for offer in offers)


def test_chapter_has_the_papers_layers() -> None:
    """Table 3 stands beside what was measured, and what was not."""
    whole = replace(measured({"gcc": [1.0], "wasm": [1.2]}), name=PROCESS, comparisons=())
    parts = chapter(runs(whole)).parts
    assert len(parts[0].rows) == 5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("digest", "others", "bars"), [("aa", 0.0, 2), ("bb", 0.0, 0), ("aa", 0.5, 0)], ids=["sound", "other", "busy"]
)
def test_no_bar_shows_what_no_table_tells(digest: str, others: float, bars: int) -> None:
    """Where a result differs, or the machine was busy, there is none."""
    wasm = column("wasm", [1.2], digest=digest)
    whole = replace(measured({"gcc": [1.0]}, columns=(wasm,), others=others), name=PROCESS, comparisons=())
    (_, drawn, *_) = chapter(runs(whole)).parts
    shown = [bar for _, heights in drawn.series for bar in heights if bar]  # type: ignore[union-attr]
    assert len(shown) == bars
