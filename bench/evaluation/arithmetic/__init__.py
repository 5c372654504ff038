"""Class 1, arithmetic: a matrix times a vector as in the paper, and kernels that this project has bounds for."""

from __future__ import annotations

from collections.abc import Iterator

from bench.evaluation.build import KERNELS
from bench.evaluation.model import Plan, Step, Workload
from bench.evaluation.process import Request
from bench.evaluation.standard import Kernel, kernel

TITLE = "Arithmetic"


def workloads(plan: Plan) -> Iterator[Workload]:
    """Yield the class's workloads."""
    for n in (64, 512) if plan.reduced else (32, 64, 128, 256, 512, 1024):
        times = max(1, int((4e7 if plan.reduced else 4e8) / n**2))
        it = Kernel(
            name=f"arithmetic/product-{n}-fused",
            title=f"{n} x {n} matrix times vector, f64, all in one",
            sources=(KERNELS / "product.c",),
            request=Request(size=n, times=(times,)),
            steps=(Step(name="multiply", units=times, unit="products"),),
            bound=(1.25,) if n == 512 else (),
            floats=True,
            whole=Request(size=n, times=(times * 3,)) if n == 512 else None,
        )
        yield from kernel(it, plan)
