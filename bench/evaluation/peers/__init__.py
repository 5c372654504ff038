"""Peers: go-sev-guest at verifying, and at starting the paper's own way, a fresh process that compiles on every run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from bench.evaluation import build, memory
from bench.evaluation.build import KERNELS
from bench.evaluation.model import Comparison, Configuration, Offer, Opened, Plan, Step, Workload
from bench.evaluation.process import Request
from bench.evaluation.standard import Kernel, whole_of
from bench.evaluation.whole import RUNTIME, SAME, Once, whole_offers
from bench.go_sev_guest import APPRAISE_AT_LEAST, REPORTS

from . import verifying
from .report import OVER_THEIRS, OVER_WARM, WARM_START, chapter

__all__ = ["TITLE", "chapter", "workloads"]

TITLE: Final = "Peers"
OURS: Final = Configuration(name="ours", title="twocvm-verifier", flags="has seen the chip before")
THEIRS: Final = Configuration(name="go-sev-guest", title="go-sev-guest", flags="verify and validate")
COMPILES: Final = Configuration(
    name="compiles", title="a fresh process that compiles", flags="wasmtime's own settings; no walls, no limits"
)
_SMALL: Final = Kernel(
    name="peers/start-small",
    title="starting a component of one kernel",
    sources=(KERNELS / "sort.c",),
    request=Request(size=1000, times=(1,)),
    steps=(),
)


def workloads(plan: Plan) -> Iterator[Workload]:
    """Yield the class's workloads."""
    yield Workload(
        name="peers/verify",
        title="verifying and appraising a report",
        steps=(Step(name="verify", units=REPORTS, unit="reports"),),
        offers=(
            Offer(configuration=OURS, open=verifying.ours),
            Offer(configuration=THEIRS, open=verifying.theirs),
        ),
        comparisons=(
            Comparison(
                name=OVER_THEIRS,
                step="verify",
                of=(OURS.name,),
                over=(THEIRS.name,),
                at_most=round(1 / APPRAISE_AT_LEAST, 3),
            ),
        ),
    )
    yield _start("peers/start-small", "starting a component of one kernel", _SMALL, _SMALL.request)
    rows = Request(size=1000, times=(1000, 10, 1))
    sqlite = _start("peers/start-sqlite", "starting SQLite and what asks it", memory.queries(plan), rows)
    yield replace(sqlite, rounds=1) if plan.reduced else sqlite


def _start(name: str, title: str, it: Kernel, request: Request) -> Workload:
    made = partial(whole_of, it)
    wholes = whole_offers(made, request, memory_bytes=it.memory_bytes)

    def compiles() -> Opened:
        path = made().composite
        return Opened(candidate=Once("compiles", path, request), files={path.name: build.sha256(path)})

    return Workload(
        name=name,
        title=title,
        steps=(Step(name="start", units=1, unit="runs"),),
        offers=(
            *(each for each in wholes if each.configuration in (SAME, RUNTIME)),
            Offer(configuration=COMPILES, open=compiles, build=made),
        ),
        comparisons=(
            Comparison(name=WARM_START, step="start", of=(RUNTIME.name,), over=(COMPILES.name,)),
            Comparison(name=OVER_WARM, step="start", of=(RUNTIME.name,), over=(SAME.name,)),
        ),
        # A start waits for processes and pipes as well.
        busy=False,
    )
