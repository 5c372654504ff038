"""Samples the candidates of a workload in turn, round after round, on one core."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

from . import load
from .model import Candidate, MissingError, Offer, Opened, Plan, Timing, Workload
from .runs import Column, Measured


def build(workloads: Iterable[Workload]) -> None:
    """Make what all of them need, on all cores; what cannot be made is told when it is opened."""

    def attempt(offer: Offer) -> None:
        with suppress(MissingError):
            offer.build()

    offers = [offer for workload in workloads for offer in workload.offers]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in pool.map(attempt, offers):
            pass


def measure(workload: Workload, plan: Plan) -> Measured:
    """Open what can be opened, sample all of it in every round, and close it again."""
    opened: dict[str, Opened] = {}
    empty: dict[str, str] = {}
    samples: dict[str, list[tuple[Timing, ...]]] = {}
    with ExitStack() as closing:
        if workload.pinned:
            closing.enter_context(pinned())
        for offer in workload.offers:
            try:
                found = offer.open()
            except MissingError as reason:
                empty[offer.configuration.name] = str(reason)
                continue
            closing.callback(found.candidate.close)
            opened[offer.configuration.name] = found
            samples[offer.configuration.name] = []
        before = load.moment()
        for _ in range(workload.rounds or plan.rounds):
            for name, found in opened.items():
                samples[name].append(_sample(found.candidate, workload))
        after = load.moment()
    return Measured(
        name=workload.name,
        title=workload.title,
        steps=workload.steps,
        comparisons=workload.comparisons,
        columns=tuple(_column(offer, opened, empty, samples) for offer in workload.offers),
        tolerance=workload.tolerance,
        busy=workload.busy,
        others=load.others(before, after),
    )


def _sample(candidate: Candidate, workload: Workload) -> tuple[Timing, ...]:
    timings = candidate.sample()
    if len(timings) != len(workload.steps):
        raise RuntimeError(f"{workload.name}: got {len(timings)} timings, want {len(workload.steps)}")
    return timings


def _column(
    offer: Offer, opened: dict[str, Opened], empty: dict[str, str], samples: dict[str, list[tuple[Timing, ...]]]
) -> Column:
    name = offer.configuration.name
    if name in empty:
        return Column(configuration=offer.configuration, empty=empty[name])
    return Column(configuration=offer.configuration, files=opened[name].files, samples=tuple(samples[name]))


@contextmanager
def pinned() -> Iterator[int]:
    """Keep this process and those that it starts to one core, the last that it may use; the kernel serves the first."""
    allowed = os.sched_getaffinity(0)
    core = max(allowed)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, allowed)
