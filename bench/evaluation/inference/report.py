"""What the report says of inference."""

from __future__ import annotations

from typing import Final

from bench.evaluation.chapter import (
    Bar,
    Bars,
    Cell,
    Chapter,
    Table,
    across_cell,
    across_table,
    ratio_table,
    seconds_table,
    told_cell,
)
from bench.evaluation.chapter import told as told_of
from bench.evaluation.judge import MOST_OTHERS, column_summary, refused
from bench.evaluation.runs import Run, Runs
from bench.evaluation.standard import FAST, OVER_FAST, OVER_PAPERS, PAPER, STRICT, WASM

PROCESS: Final = "inference/mnist-process"
# Table 3 of the paper.
_LAYERS: Final = (
    ("bare engine over native as the paper's, outside SEV-SNP", "1.121 (P)"),
    ("bare engine over fast-math native, outside", "2.10 (P)"),
    ("bare engine in SEV-SNP over outside", "1.020 (P)"),
    ("native as the paper's in SEV-SNP over outside", "1.204 (P)"),
    ("bare engine in SEV-SNP over native outside", "1.144 (P)"),
)


def chapter(runs: Runs) -> Chapter:
    """Return the class's part of the report."""
    first = runs.each[0]
    return Chapter(
        title="Inference",
        paragraphs=(
            "A network of exactly mnist-8's geometry (two convolutions of 5 x 5, two of MaxPool, a product), f32, one "
            "image after the other on one thread. An ONNX model is made with random weights of a fixed seed, and C of "
            "it; the engine is this project's own C for the six operators, the same source everywhere. Every "
            "score of every image is held to onnxruntime's, to 1e-4, or nothing is timed.",
            "Whole processes are timed by hyperfine where it is at hand, as the paper did; both sides start a Python "
            "that loads the compiled form, and that is in both of their times.",
        ),
        parts=(
            _layers(runs),
            _times(first),
            ratio_table(runs, "inference", "All ratios"),
            *across_table(runs, "inference"),
            *(seconds_table(run, "inference", f"Times of one image ({run.label})") for run in runs.each),
        ),
        conclusions=(
            "What a component costs here is mostly what 128-bit vectors cost against 256-bit ones, which native code "
            "for x86-64-v3 has; against x86-64 as the paper compiled it, vectors are equally long. The rest is "
            "registers: what the engine cannot keep in sixteen of them goes through memory.",
            "The innermost loop goes along rows, so that strict floating point can be vectorised. Textbook loops are "
            "several times slower everywhere, and the ratio is another one: the paper's 1.12 is of an engine and a "
            "compiler that it does not name.",
            "onnxruntime is shown for scale. It computes with code made for each processor, natively.",
        ),
    )


def _layers(runs: Runs) -> Table:
    """Table 3 of the paper beside what was measured."""
    cells = (
        *(told_cell(told_of(runs.plain, PROCESS, name, "process")) for name in (OVER_PAPERS, OVER_FAST)),
        across_cell(runs, PROCESS, "process", of=(WASM.name,), over=(WASM.name,)),
        across_cell(runs, PROCESS, "process", of=PAPER, over=PAPER),
        across_cell(runs, PROCESS, "process", of=(WASM.name,), over=PAPER),
    )
    return Table(
        caption="The layers, whole processes, beside table 3 of the paper",
        head=("layers", "here", "paper"),
        rows=tuple(
            (Cell(text=layer), cell, Cell(text=paper)) for (layer, paper), cell in zip(_LAYERS, cells, strict=True)
        ),
    )


def _times(run: Run) -> Bars:
    groups = (*STRICT, *FAST, WASM.name, "onnxruntime")
    kinds = (("the call alone", "inference/mnist"), ("the whole process", PROCESS))
    return Bars(
        caption="Microseconds an image",
        y_label="µs",
        groups=groups,
        series=tuple((title, tuple(_bar(run, name, group) for group in groups)) for title, name in kinds),
        level=0,
    )


def _bar(run: Run, name: str, configuration: str) -> Bar | None:
    measured = run.workload(name)
    column = measured.column(configuration) if measured else None
    if measured is None or column is None or not column.samples:
        return None
    # What no table tells, no bar shows.
    if refused(measured, column, 0) or measured.others > MOST_OTHERS:
        return None
    found = column_summary(measured, column, 0)
    micro = 1e6 / measured.steps[0].units
    return Bar(height=found.median * micro, deviation=found.deviation * micro)
