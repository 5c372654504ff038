"""Samples the candidates of a workload in turn, round after round, on one core.

Whatever one of them does, the others go on: one that fails, hangs, or gives no number has an empty column with the
reason.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from . import load
from .limit import OverrunError, within
from .model import Configuration, FailedError, MissingError, Offer, Opened, Plan, Timing, Workload
from .runs import Column, Measured

T = TypeVar("T")


def build(workloads: Iterable[Workload]) -> None:
    """Make what all of them need, on all cores; what cannot be made is told when it is opened."""

    def attempt(offer: Offer) -> None:
        with suppress(Exception):
            offer.build()

    offers = [offer for workload in workloads for offer in workload.offers]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in pool.map(attempt, offers):
            pass


def measure(workload: Workload, plan: Plan) -> Measured:
    """Open what can be opened, sample all of it in every round, and close it again."""
    with ExitStack() as closing:
        if workload.pinned:
            closing.enter_context(pinned())
        entries = [_Entry(offer.configuration, plan.limit_seconds) for offer in workload.offers]
        for offer, entry in zip(workload.offers, entries, strict=True):
            entry.open(offer, closing)
        before = load.moment()
        for _ in range(workload.rounds or plan.rounds):
            for entry in entries:
                entry.sample(workload)
        after = load.moment()
    return Measured(
        name=workload.name,
        title=workload.title,
        steps=workload.steps,
        comparisons=workload.comparisons,
        columns=tuple(entry.column() for entry in entries),
        tolerance=workload.tolerance,
        busy=workload.busy,
        others=load.others(before, after),
    )


class _Entry:
    """One configuration while it is measured: its candidate, until there is none any more."""

    def __init__(self, configuration: Configuration, limit_seconds: float) -> None:
        self._configuration = configuration
        self._limit_seconds = limit_seconds
        self._opened: Opened | None = None
        self._samples: list[tuple[Timing, ...]] = []
        self._reason = ""
        self._failed = False

    def open(self, offer: Offer, closing: ExitStack) -> None:
        self._opened = self._attempt(offer.open)
        if self._opened:
            closing.callback(self._attempt, self._opened.candidate.close)

    def sample(self, workload: Workload) -> None:
        if self._reason or self._opened is None:
            return
        timings = self._attempt(self._opened.candidate.sample)
        if timings is None:
            return
        if len(timings) != len(workload.steps):
            raise RuntimeError(f"{workload.name}: got {len(timings)} timings, want {len(workload.steps)}")
        if not all(math.isfinite(each.value) for each in timings):
            self._give_up("its result is no number", failed=True)
            return
        self._samples.append(timings)

    def column(self) -> Column:
        return Column(
            configuration=self._configuration,
            files=self._opened.files if self._opened else {},
            empty=self._reason,
            failed=self._failed,
            samples=tuple(self._samples),
            conditions=self._opened.conditions() if self._opened else {},
        )

    def _attempt(self, act: Callable[[], T]) -> T | None:
        """Return what came of it, unless that was nothing in time."""
        try:
            with within(self._limit_seconds):
                return act()
        except MissingError as reason:
            self._give_up(str(reason), failed=False)
        except (FailedError, OverrunError) as failure:
            self._give_up(str(failure), failed=True)
        except Exception as error:  # noqa: BLE001, whatever it is, the others are not to suffer from it
            self._give_up(f"{type(error).__name__}: {error}", failed=True)
        return None

    def _give_up(self, reason: str, *, failed: bool) -> None:
        # What it did before says nothing either, and what fails afterwards fails because of this.
        if not self._reason:
            self._reason, self._failed, self._samples = reason, failed, []


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
