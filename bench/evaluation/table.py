"""The main table, as README has it: the ratios that a reader looks for first, of the run outside SEV-SNP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .attestation.told import TOGETHER
from .chapter import times, told
from .machine import one_line
from .peers.report import OVER_THEIRS, WARM_START
from .replaces.report import ON_LOOPBACK, OVER_LINKS, over_native
from .runs import Run, Runs
from .standard import OVER_BEST, OVER_FAST
from .whole import OVER_BARE, OVER_NATIVE, SETTINGS

BEGIN: Final = "<!-- evaluation: made by `python -m bench.evaluation table --readme` -->"
END: Final = "<!-- evaluation: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: some ratios, with what the paper has for them."""

    title: str
    ratios: tuple[tuple[str, str, str], ...]
    paper: str = ""


def _over_best(name: str, step: str = "") -> tuple[str, str, str]:
    return (name, OVER_BEST, step or name.partition("/")[2])


_STREAM: Final = ("copy", "scale", "add", "triad")
ROWS: Final = (
    Row(
        title="Matrix times vector, 512 x 512, f64: in one component; crossing once a run; at each product",
        ratios=(
            _over_best("arithmetic/product-512-fused", "fused"),
            _over_best("arithmetic/product-512-crossing", "one crossing a run"),
            _over_best("arithmetic/product-512-crossing", "one crossing a product"),
        ),
        paper="1.05",
    ),
    Row(
        title="The same over fast-math native code, in one component",
        ratios=(("arithmetic/product-512-fused", OVER_FAST, "fused"),),
    ),
    Row(
        title="Streaming; group-by; sort; graph; dense f32 product",
        ratios=tuple(_over_best(f"arithmetic/{name}") for name in ("streaming", "group-by", "sort", "graph", "dense")),
    ),
    Row(
        title="Pointer chase in L1, L2, L3, DRAM",
        ratios=tuple(_over_best(f"arithmetic/chase-{place}", "follow") for place in ("l1", "l2", "l3", "dram")),
        paper="2 to 13",
    ),
    Row(
        title="SQLite in memory: insert; point read; full scan",
        ratios=tuple(_over_best("memory/sqlite", step) for step in ("insert", "point reads", "full scans")),
        paper="2.1; 2.0; 1.5",
    ),
    Row(
        title="STREAM, arrays of 76 MiB: copy, scale, add, triad",
        ratios=tuple(_over_best("memory/stream-10000000", step) for step in _STREAM),
        paper="0.95 to 0.97",
    ),
    Row(
        title="STREAM, arrays of four times the last cache: the same",
        ratios=tuple(_over_best("memory/stream-larger", step) for step in _STREAM),
    ),
    Row(
        title="Digits by a small network: the calls; whole processes",
        ratios=(_over_best("inference/mnist", "classify"), _over_best("inference/mnist-process", "process")),
        paper="; 1.12",
    ),
    Row(
        title="Ten ask for evidence at once, the last one's time: through the broker over one call each",
        ratios=(("attestation/at-once-10", TOGETHER, "position 10"),),
    ),
    Row(
        title="128 x 128 matrix times vector: the whole runtime; three parties (MPyC); the same, 10 ms apart; "
        "encrypted (TenSEAL)",
        ratios=(
            ("replaces/product-128", OVER_NATIVE, "product"),
            ("replaces/product-128", over_native(ON_LOOPBACK), "product"),
            ("replaces/product-128", over_native(OVER_LINKS), "product"),
            ("replaces/product-128", over_native("TenSEAL, CKKS"), "product"),
        ),
        paper="; ; ; 410,000",
    ),
    Row(
        title="A warm start over a fresh process that compiles: one kernel; SQLite",
        ratios=tuple((f"peers/start-{name}", WARM_START, "start") for name in ("small", "sqlite")),
    ),
    Row(
        title="Verifying and appraising a report of a chip seen before, over go-sev-guest, which keeps none",
        ratios=(("peers/verify", OVER_THEIRS, "verify"),),
    ),
)

# Every workload that has whole runs, and what the table calls it.
WHOLE: Final = {
    "arithmetic/product-512-fused": "matrix times vector, 512 x 512",
    "arithmetic/product-512-crossing": "the same, crossing",
    "arithmetic/streaming": "streaming",
    "arithmetic/group-by": "group-by",
    "arithmetic/sort": "sort",
    "arithmetic/graph": "graph",
    "arithmetic/dense": "dense f32 product",
    "arithmetic/chase-l1": "pointer chase in L1",
    "memory/sqlite": "SQLite",
    "inference/mnist": "digits by a small network",
}
WHOLE_COLUMNS: Final = {
    "runtime over bare engine, set up alike": OVER_BARE,
    "that set-up over the engine's own": SETTINGS,
    "runtime over a native process": OVER_NATIVE,
}


def markdown(runs: Runs) -> str:
    """Return the table, with the machine named.

    Raises:
        ValueError: There is no whole run outside SEV-SNP.
    """
    if runs.plain is None or runs.plain.reduced:
        raise ValueError("the table is of a whole run outside SEV-SNP, and there is none")
    return "\n".join(_lines(runs.plain, runs.snp)) + "\n"


def into(readme: Path, table: str) -> None:
    """Put the table where README has its marks.

    Raises:
        ValueError: It has none.
    """
    text = readme.read_text(encoding="utf-8")
    before, found, rest = text.partition(f"{BEGIN}\n")
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{readme}: has no place for the table")
    readme.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


def _lines(plain: Run, snp: Run | None) -> Iterator[str]:
    later = sum(bool(each.again) for each in plain.workloads)
    commit, _, changed = plain.machine["commit"].partition("-")
    commit = commit[:12] + (" with changes" if changed else "")
    commit += f"; {later} workloads again later, as the report says" if later else ""
    yield f"Measured on {plain.ended[:10]} on {one_line(plain.machine)}, at commit {commit}."
    yield ""
    yield "| times the best strict native, unless said | here | in SEV-SNP | paper |"
    yield "| --- | --- | --- | --- |"
    yield from (f"| {row.title} | {_cell(plain, row)} | {_cell(snp, row)} | {row.paper} |" for row in ROWS)
    yield ""
    yield "Whole runs, from nothing running to the result being there; a worker's set-up has canonical NaNs in it."
    yield ""
    yield f"| whole runs | {' | '.join(WHOLE_COLUMNS)} |"
    yield f"| --- |{' --- |' * len(WHOLE_COLUMNS)}"
    for name, title in WHOLE.items():
        cells = (_ratio(plain, f"{name}-whole", comparison, "run") for comparison in WHOLE_COLUMNS.values())
        yield f"| {title} | {' | '.join(cells)} |"


def _cell(run: Run | None, row: Row) -> str:
    return "; ".join(_ratio(run, *each) for each in row.ratios) if run else ""


def _ratio(run: Run, name: str, comparison: str, step: str) -> str:
    judged = told(run, name, comparison, step)
    if judged is None:
        return "not run"
    return times(judged.figure.median) if judged.figure else "no ratio"
