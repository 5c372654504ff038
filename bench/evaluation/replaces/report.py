"""What the report says of what the layers replace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench.evaluation.chapter import (
    NO_FIGURE,
    NOT_MEASURED,
    Cell,
    Chapter,
    Table,
    across_table,
    duration,
    ratio_table,
    seconds_table,
    told,
    told_cell,
)
from bench.evaluation.judge import column_summary, refused
from bench.evaluation.runs import Column, Measured, Run, Runs

NAME: Final = "replaces/product-128"
ON_LOOPBACK: Final = "MPyC, three on loopback"
OVER_LINKS: Final = "MPyC, three with links of 10 ms"
_LAYERED: Final = ("gcc", "clang", "gcc-v3", "clang-v3", "wasm", "runtime")


def over_native(title: str) -> str:
    """Return the name of a comparison."""
    return f"{title}, over the best strict native"


def over_runtime(title: str) -> str:
    """Return the name of a comparison."""
    return f"{title}, over the whole runtime"


def chapter(runs: Runs) -> Chapter:
    """Return the class's part of the report."""
    first = runs.each[0]
    return Chapter(
        title="What the layers replace",
        paragraphs=(
            "The same product of a 128 x 128 matrix and a vector natively, in both layers, by homomorphic encryption "
            "and by three parties, on one machine and over links on which every packet takes 10 ms. All are of whole "
            "numbers to 15, so that every exact way gives the same bits; CKKS gives them to a millionth of the "
            "largest. Each result is decrypted or opened, and compared. Making keys, encrypting, decrypting and "
            "sharing the inputs are not timed; opening a result of several parties is. The links are measured, too; "
            "what they were stands in their row.",
        ),
        parts=(
            _ways(first),
            ratio_table(runs, "replaces", "All ratios"),
            *across_table(runs, "replaces"),
            *(seconds_table(run, "replaces", f"Times of one product ({run.label})") for run in runs.each),
        ),
        conclusions=(
            "Homomorphic encryption takes tens to hundreds of thousands of times as long. Which of these depends on "
            "library and algorithm: whether the matrix is encrypted too, and how it is laid out. So no figure of it, "
            "the paper's 4.1e5 included, says anything without its algorithm.",
            "Several parties take some hundred to a thousand times as long on one machine. With distances between "
            "them it is the rounds that count: a product has two here, one to share it anew and one to open it, and "
            "each waits for one way over a link.",
            "They protect from other things. Homomorphic encryption trusts no hardware, and parties trust that not too "
            "many of them conspire; the layers here trust a processor and its firmware. A ratio compares none of that.",
        ),
    )


def _ways(run: Run) -> Table:
    measured = run.workload(NAME)
    return Table(
        caption="One product by each way, with its algorithm",
        head=("way", "a product", "over the best strict native", "over the whole runtime"),
        rows=tuple(_rows(run, measured)) if measured else (),
    )


def _rows(run: Run, measured: Measured) -> Iterator[tuple[Cell, ...]]:
    for column in measured.columns:
        configuration = column.configuration
        if configuration.name in _LAYERED:
            continue
        head = Cell(text=configuration.title, note="; ".join((configuration.flags, *_conditions(column))))
        if not column.samples:
            yield (head, Cell(text=NOT_MEASURED, note=column.empty), Cell(text=""), Cell(text=""))
            continue
        if why := refused(measured, column, 0):
            yield (head, Cell(text=NO_FIGURE, note="; ".join(why)), Cell(text=""), Cell(text=""))
            continue
        names = (over_native(configuration.title), over_runtime(configuration.title))
        cells = (told_cell(told(run, NAME, name, "product")) for name in names)
        yield (head, Cell(text=duration(column_summary(measured, column, 0).median)), *cells)


def _conditions(column: Column) -> Iterator[str]:
    """Yield what was measured of where a way ran: `round trip 20.3 ms`."""
    for name, value in column.conditions.items():
        words, _, unit = name.rpartition("_")
        yield f"{words.replace('_', ' ')} {value:.3g} {unit}" if unit == "ms" else f"{value:g} {name}"
