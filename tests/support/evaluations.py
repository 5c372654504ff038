"""Runs of the evaluation that were never measured: samples as a test wants them, and what is judged of them.

measured(samples={"gcc": [1.0, 1.1], "wasm": [2.0, 2.2]})      seconds of one step in two configurations
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.evaluation.model import Comparison, Configuration, Step, Timing
from bench.evaluation.runs import Column, Measured, Run, Runs

COMPARISON = Comparison(name="wasm over native", step="work", of=("wasm",), over=("gcc", "clang"), at_most=1.5)
MACHINE = {
    "cpu": "A <chip> & more",
    "cores": 2,
    "memory_mib": 2048,
    "caches": {"L1": 32},
    "kernel": "Linux",
    "settings": {"governor": ""},
    "tools": {"gcc": "gcc 12"},
    "snp": False,
    "commit": "0" * 40,
    "load_before": [0.0, 0.0, 0.0],
    "load_after": [0.5, 0.1, 0.0],
}


def timing(seconds: float, **changes: object) -> Timing:
    """Return a sound timing."""
    nanoseconds = round(seconds * 1e9)
    sound = Timing(
        start_ns=10, end_ns=10 + nanoseconds, wall_start_ns=50, wall_end_ns=50 + nanoseconds, cpu_ns=nanoseconds,
        digest="aa", value=1.0,
    )  # fmt: skip
    return replace(sound, **changes)  # type: ignore[arg-type]


def column(name: str, seconds: Sequence[float], *, exact: bool = True, **changes: object) -> Column:
    """Return a configuration with these samples."""
    return Column(
        configuration=Configuration(name=name, title=f"by {name}", exact=exact),
        files={"binary": "0" * 64},
        samples=tuple((timing(each, **changes),) for each in seconds),
    )


def absent(name: str, reason: str) -> Column:
    """Return a configuration that could not be had."""
    return Column(configuration=Configuration(name=name, title=f"by {name}"), empty=reason)


def measured(
    samples: Mapping[str, Sequence[float]] | None = None,
    *,
    name: str = "arithmetic/thing",
    columns: Sequence[Column] = (),
    least_seconds: float = 0.0,
    others: float = 0.0,
    busy: bool = True,
) -> Measured:
    """Return a workload of one step, on a quiet machine unless it is said."""
    return Measured(
        name=name,
        title="a thing",
        steps=(Step(name="work", units=10, unit="things", least_seconds=least_seconds),),
        comparisons=(COMPARISON,),
        columns=(*(column(each, seconds) for each, seconds in (samples or {}).items()), *columns),
        tolerance=1e-6,
        busy=busy,
        others=others,
    )


def run(*workloads: Measured, label: str = "plain", reduced: bool = False, **machine: object) -> Run:
    """Return a run of these workloads."""
    return Run(
        label=label,
        reduced=reduced,
        started="2026-11-22T10:00:00Z",
        ended="2026-11-22T10:30:00Z",
        machine=MACHINE | machine,
        workloads=workloads,
    )


def runs(*workloads: Measured) -> Runs:
    """Return a run outside SEV-SNP, and none inside."""
    return Runs(plain=run(*workloads), snp=None)
