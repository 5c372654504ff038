"""Class 1, arithmetic: a matrix times a vector as in the paper, and kernels that this project has bounds for."""

from __future__ import annotations

from collections.abc import Iterator
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
    for each in _bounded(plan):
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


def _bounded(plan: Plan) -> Iterator[Kernel]:
    """Yield the kernels that the runtime's bounds are of; sizes beyond every cache where it says nothing else."""
    small = 8 if plan.reduced else 1
    n = BOUNDED_SIZE // (2 if plan.reduced else 1)
    yield _one("streaming", "three columns filtered and summed, f64", (1 << 22) // small, 40, "rows", 1.3, floats=True)
    yield _one("group-by", "group by with a hash table, u64", (1 << 22) // small, 6, "rows", 1.2)
    yield _one("sort", "merge sort, u64", (1 << 21) // small, 5, "numbers", 1.2)
    yield _one("graph", "breadth first through a graph of eight edges a vertex", (1 << 20) // small, 6, "vertices", 1.3)
    yield _one("dense", "dense matrix product, f32", n, 16, "products", 2.1, floats=True)
    for place, size, bound in (("l1", 1 << 14, 1.5), ("l2", 1 << 18, 0), ("l3", 1 << 23, 0), ("dram", 1 << 28, 1.05)):
        times = (1 << 26 if size < 1 << 20 else 1 << 23) // small
        yield Kernel(
            name=f"arithmetic/chase-{place}",
            title=f"following a ring of numbers in {place.upper()}, {size >> 10} KiB",
            sources=(KERNELS / "chase.c",),
            request=Request(size=size, times=(times,)),
            steps=(Step(name="follow", units=times, unit="steps", least_seconds=5e-10),),
            bounds=(bound,),
            memory_bytes=max(1 << 26, size * 2),
            whole=Request(size=size, times=(times * 8,)) if place == "l1" else None,
        )


def _one(name: str, title: str, size: int, times: int, unit: str, bound: float, *, floats: bool = False) -> Kernel:
    units = times if unit == "products" else times * size
    return Kernel(
        name=f"arithmetic/{name}",
        title=title,
        sources=(KERNELS / f"{name.replace('-', '_')}.c",),
        request=Request(size=size, times=(times,)),
        steps=(Step(name=name, units=units, unit=unit),),
        bounds=(bound,),
        floats=floats,
        tolerance=1e-5 if name == "dense" else 1e-9,
        whole=Request(size=size, times=(times * 2,)),
    )
