"""Class 1, arithmetic: a matrix times a vector as in the paper, and kernels that this project has bounds for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.evaluation.build import KERNELS
from bench.evaluation.model import Plan, Step, Workload
from bench.evaluation.process import Request
from bench.evaluation.standard import Callee, Kernel, kernel

from twocvm_guest.authoring.wrap import Call

from .report import chapter

__all__ = ["TITLE", "chapter", "workloads"]

TITLE: Final = "Arithmetic"
SIZES: Final = (32, 64, 128, 256, 512, 1024)
BOUNDED_SIZE: Final = 512
# What the paper prints: figure 5, both sides inside SEV-SNP; at 512 table 1, outside.
_PAPER: Final = {32: "1.69 (P)", 64: "1.29 (P)", 128: "1.31 (P)", 256: "1.11 (P)", 512: "1.05 (P)", 1024: "1.03 (P)"}
_MOST: Final = 1.25
# A serial sum of products takes an addition's latency a number, which is far above this on any processor.
_LEAST_SECONDS_A_NUMBER: Final = 1e-11
# One that waits for the one before takes four cycles or more: in less than a nanosecond, nothing was loaded.
_LEAST_SECONDS_A_LOAD: Final = 1e-9

_LIST: Final = "(list f64)"
_MULTIPLIER: Final = Callee(
    sources=(KERNELS / "multiplier.c",),
    calls=(
        Call(name="load", type=f'(param "a" {_LIST})', parameters="i32 i32"),
        Call(name="multiply", type=f'(param "x" {_LIST}) (result {_LIST})', parameters="i32 i32 i32"),
        Call(
            name="repeat",
            type=f'(param "a" {_LIST}) (param "x" {_LIST}) (param "times" u64) (result {_LIST})',
            parameters="i32 i32 i32 i32 i64 i32",
        ),
    ),
)


def workloads(plan: Plan) -> Iterator[Workload]:
    """Yield the class's workloads."""
    for n in (64, BOUNDED_SIZE) if plan.reduced else SIZES:
        yield from kernel(_product(n, plan), plan)
        yield from kernel(crossing(n, plan), plan)
    for name, it in _BOUNDED.items():
        yield from kernel(_one(name, it, plan), plan)
    for each in _chases(plan):
        yield from kernel(each, plan)


def _times(n: int, plan: Plan) -> int:
    return max(1, int((2e7 if plan.reduced else 4e8) / n**2))


def _product(n: int, plan: Plan) -> Kernel:
    times = _times(n, plan)
    return Kernel(
        name=f"arithmetic/product-{n}-fused",
        title=f"{n} x {n} matrix times vector, f64, all in one component",
        sources=(KERNELS / "product.c",),
        request=Request(size=n, times=(times,)),
        steps=(Step(name="fused", units=times, unit="products", least_seconds=n * n * _LEAST_SECONDS_A_NUMBER),),
        bounds=(_MOST if n == BOUNDED_SIZE else 0,),
        floats=True,
        whole=Request(size=n, times=(times * 3,)) if n == BOUNDED_SIZE else None,
    )


def crossing(n: int, plan: Plan) -> Kernel:
    """Return the kernel that has its products made by another component, of matrices of n x n."""
    times = _times(n, plan)
    least = n * n * _LEAST_SECONDS_A_NUMBER
    return Kernel(
        name=f"arithmetic/product-{n}-crossing",
        title=f"{n} x {n} matrix times vector, f64, from one component to another",
        sources=(KERNELS / "crossing.c",),
        request=Request(size=n, times=(times, times)),
        steps=(
            Step(name="one crossing a run", units=times, unit="products", least_seconds=least),
            Step(name="one crossing a product", units=times, unit="products", least_seconds=least),
        ),
        bounds=(_MOST if n == BOUNDED_SIZE else 0, 0),
        paper=(_PAPER.get(n, ""), ""),
        callee=lambda: _MULTIPLIER,
        whole=Request(size=n, times=(times * 2, times * 2)) if n == BOUNDED_SIZE else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bounded:
    """A kernel that this project has a bound for; sizes are beyond every cache where it says nothing else.

    Attributes:
        title: For people.
        size: Of its data.
        times: How often a call does it.
        longer: How many times that much a whole run does, so that what a start takes is little of it.
        unit: What is counted: `products` are as many as times, anything else as many as there are in the data.
        most: What the bare engine may take over the best strict native.
        least_seconds: What one unit takes at the very least.
        floats: Whether it computes with floating point.
        tolerance: How far what fast-math computes may be off, relatively.
    """

    title: str
    size: int
    times: int
    longer: int
    unit: str
    most: float
    least_seconds: float
    floats: bool = False
    tolerance: float = 1e-9


# By name, which is that of the kernel's source too.
_BOUNDED: Final = {
    "streaming": _Bounded(
        title="three columns filtered and summed, f64",
        size=1 << 22,
        times=40,
        longer=6,
        unit="rows",
        most=1.3,
        least_seconds=1e-10,
        floats=True,
    ),
    "group-by": _Bounded(
        title="group by with a hash table, u64",
        size=1 << 22,
        times=6,
        longer=4,
        unit="rows",
        most=1.2,
        least_seconds=5e-10,
    ),
    "sort": _Bounded(
        title="quicksort, u64",
        size=1 << 21,
        times=5,
        longer=4,
        unit="numbers",
        most=1.2,
        least_seconds=5e-9,
    ),
    "graph": _Bounded(
        title="breadth first through a graph of eight edges a vertex",
        size=1 << 20,
        times=6,
        longer=4,
        unit="vertices",
        most=1.3,
        least_seconds=1e-9,
    ),
    "dense": _Bounded(
        title="dense matrix product, f32",
        size=BOUNDED_SIZE,
        times=16,
        longer=6,
        unit="products",
        most=2.1,
        least_seconds=BOUNDED_SIZE**3 * 5e-12,
        floats=True,
        tolerance=1e-5,
    ),
}


def _one(name: str, it: _Bounded, plan: Plan) -> Kernel:
    products = it.unit == "products"
    # The reduced run has an eighth of the work, which of a product is half of its size.
    size = it.size // (2 if products else 8) if plan.reduced else it.size
    units = it.times if products else it.times * size
    least = it.least_seconds / (8 if plan.reduced and products else 1)
    return Kernel(
        name=f"arithmetic/{name}",
        title=it.title,
        sources=(KERNELS / f"{name.replace('-', '_')}.c",),
        request=Request(size=size, times=(it.times,)),
        steps=(Step(name=name, units=units, unit=it.unit, least_seconds=least),),
        bounds=(it.most,),
        floats=it.floats,
        tolerance=it.tolerance,
        whole=Request(size=size, times=(it.times * (1 if plan.reduced else it.longer),)),
    )


def _chases(plan: Plan) -> Iterator[Kernel]:
    # Beyond the last cache of most, and in the reduced run, which only shows that it works, of some.
    dram = 1 << (26 if plan.reduced else 28)
    for place, size, bound in (("l1", 1 << 14, 1.5), ("l2", 1 << 18, 0), ("l3", 1 << 23, 0), ("dram", dram, 1.05)):
        times = (1 << 26 if size < 1 << 20 else 1 << 23) // (8 if plan.reduced else 1)
        yield Kernel(
            name=f"arithmetic/chase-{place}",
            title=f"following a ring of numbers in {place.upper()}, {size >> 10} KiB",
            sources=(KERNELS / "chase.c",),
            request=Request(size=size, times=(times,)),
            steps=(Step(name="follow", units=times, unit="steps", least_seconds=_LEAST_SECONDS_A_LOAD),),
            bounds=(bound,),
            memory_bytes=max(1 << 26, size * 2),
            whole=Request(size=size, times=(times * (1 if plan.reduced else 16),)) if place == "l1" else None,
        )
