"""Class 4, concurrent attestation: threads that ask at the same moment, of a device that answers one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from bench.evaluation.model import Comparison, Configuration, Offer, Opened, Plan, Step, Workload

from twocvm_guest.platforms.simulated import HARDWARE_LATENCY_SECONDS

from . import asking
from .crowd import places
from .report import chapter
from .told import BROKER, CONNECTION, DIRECT, MOST_SECONDS, REAL_DEVICE, RECEIPTS, TOGETHER, at_once, connecting

__all__ = ["TITLE", "chapter", "workloads"]

TITLE: Final = "Concurrent attestation"
BOUNDED_THREADS: Final = 10
_THREADS: Final = (1, 2, 5, 10, 20, 50, 100)
_REDUCED: Final = (1, 5, 10, 50)
# A receipt's report is one call each again, so some numbers of threads are enough to see it.
_RECEIPTS: Final = (10, 100)
_MOST_CONNECTING: Final = 10


def workloads(plan: Plan) -> Iterator[Workload]:
    """Yield the class's workloads."""
    for threads in _REDUCED if plan.reduced else _THREADS:
        yield _at_once(threads, plan)
    for threads in (1, 10) if plan.reduced else _THREADS:
        yield _connecting(threads, plan)


def _at_once(threads: int, plan: Plan) -> Workload:
    offers = {DIRECT: asking.one_call_each, BROKER: asking.through_the_broker, REAL_DEVICE: asking.at_the_real_device}
    if threads in _RECEIPTS:
        offers[RECEIPTS] = asking.a_receipt_each
    alone = BOUNDED_THREADS * HARDWARE_LATENCY_SECONDS
    return Workload(
        name=at_once(threads),
        title=f"{threads} at once",
        steps=_steps(threads),
        offers=tuple(_offer(configuration, open_it, threads) for configuration, open_it in offers.items()),
        comparisons=(
            Comparison(
                name=TOGETHER,
                step=_position(threads),
                of=(BROKER.name,),
                over=(DIRECT.name,),
                at_most=round(MOST_SECONDS / alone, 3) if threads == BOUNDED_THREADS else 0,
            ),
        ),
        rounds=5 if plan.reduced else 200,
        busy=False,
    )


def _connecting(threads: int, plan: Plan) -> Workload:
    return Workload(
        name=connecting(threads),
        title=f"{threads} connect, attest and verify",
        steps=_steps(threads),
        offers=(_offer(CONNECTION, asking.over_connections, threads),),
        rounds=2 if plan.reduced else 50 if threads <= _MOST_CONNECTING else 10,
        pinned=False,
        busy=False,
    )


def _offer(configuration: Configuration, open_it: Callable[[int], Opened], threads: int) -> Offer:
    return Offer(configuration=configuration, open=partial(open_it, threads))


def _steps(threads: int) -> tuple[Step, ...]:
    return tuple(Step(name=_position(place), units=1, unit="answers") for place in places(threads))


def _position(place: int) -> str:
    return f"position {place}"
