"""Class 2, memory: SQLite in memory, and as diagnostics the speed of memory and a walk along a list."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.evaluation import build, machine
from bench.evaluation.build import KERNELS
from bench.evaluation.model import Plan, Step, Workload
from bench.evaluation.process import Request
from bench.evaluation.standard import Callee, Kernel, kernel

from twocvm_guest.authoring.wrap import Call

from .fetch import sqlite
from .report import chapter

__all__ = ["TITLE", "chapter", "workloads"]

TITLE: Final = "Memory"

_SQLITE_FLAGS: Final = (
    *("-DSQLITE_OS_OTHER=1", "-DSQLITE_THREADSAFE=0", "-DSQLITE_OMIT_LOAD_EXTENSION", "-DSQLITE_OMIT_WAL"),
    "-DSQLITE_TEMP_STORE=3",
)
_REQUEST: Final = Call(
    name="request", type='(param "query" string) (result (result u64 (error u32)))', parameters="i32 i32 i32"
)
# Times that this project allows over the best strict native: insert, point reads, scans.
_MOST_SQLITE: Final = (2.1, 2.0, 2.6)
# The paper's figure 9 has throughputs, native as 1: 0.48, 0.51 and 0.68.
_PAPER_SQLITE: Final = ("2.08 (P)", "1.96 (P)", "1.47 (P)")
# STREAM's bandwidth is to be 0.8 of native's.
_MOST_STREAM: Final = 1.25
# What the paper's table 2 has, as times: the inverse of the bandwidths' ratio.
_PAPER_STREAM: Final = ("0.97 (P)", "0.95 (P)", "0.95 (P)", "0.97 (P)")
# As the paper may have had.
_STREAM_NUMBERS: Final = 10_000_000
_STREAM_STEPS: Final = ("copy", "scale", "add", "triad")
_STREAM_ARRAYS: Final = (2, 2, 3, 3)
_NODE_BYTES: Final = 16
# A dependent load takes four cycles or more; less than this, and nothing was loaded.
_LEAST_SECONDS_A_LOAD: Final = 1e-9
# No core has 200 GB/s of a memory, or of a cache as large as these arrays.
_LEAST_SECONDS_A_BYTE: Final = 5e-12
# Parsing a statement, and stepping to the next row: dozens of instructions and more.
_LEAST_SECONDS_A_REQUEST: Final = 2e-8
_LEAST_SECONDS_A_ROW: Final = 2e-9


def workloads(plan: Plan) -> Iterator[Workload]:
    """Yield the class's workloads."""
    yield from kernel(queries(plan), plan)
    numbers = 1_000_000 if plan.reduced else _STREAM_NUMBERS
    yield from kernel(_stream(f"stream-{numbers}", numbers, plan), plan)
    if larger := _larger(plan):
        yield from kernel(_stream("stream-larger", larger, plan), plan)
    for exponent in (10, 15, 20) if plan.reduced else range(10, 28):
        yield from kernel(_list(1 << exponent, plan), plan)


def queries(plan: Plan) -> Kernel:
    """Return the kernel that asks SQLite, which is a component of its own."""
    rows, reads, scans = (50_000, 20_000, 2) if plan.reduced else (5_000_000, 200_000, 5)
    whole_rows = min(rows, 1_000_000)
    return Kernel(
        name="memory/sqlite",
        title=f"SQLite in memory, {rows:,} rows",
        sources=(KERNELS / "queries.c",),
        request=Request(size=rows, times=(rows, reads, scans), fresh=True),
        steps=(
            Step(name="insert", units=rows, unit="rows", least_seconds=_LEAST_SECONDS_A_REQUEST),
            Step(name="point reads", units=reads, unit="reads", least_seconds=_LEAST_SECONDS_A_REQUEST),
            Step(name="full scans", units=scans, unit="scans", least_seconds=rows * _LEAST_SECONDS_A_ROW),
        ),
        bounds=_MOST_SQLITE,
        paper=_PAPER_SQLITE,
        whole=Request(size=whole_rows, times=(whole_rows, reads, scans)),
        memory_bytes=1 << 30,
        rounds=5,
        # SQLite is long to compile: the reduced run has it of the compiler that the component is of too.
        natives=build.BEST[1:] if plan.reduced else (),
        callee=lambda: _database(sqlite(fetches=plan.fetches)),
    )


def _database(folder: Path) -> Callee:
    return Callee(
        sources=(KERNELS / "database.c", KERNELS / "no_files.c", folder / "sqlite3.c"),
        calls=(_REQUEST,),
        options=_SQLITE_FLAGS,
        foreign=True,
    )


def _larger(plan: Plan) -> int:
    """Return numbers an array of four times the last cache, or 0 where memory does not allow it.

    In whole millions: arrays that are a power of two apart fall on the same places of caches, and then it is the size
    that is measured.
    """
    million = 1_000_000
    larger = math.ceil(4 * max(machine.caches().values(), default=0) * 1024 / 8 / million) * million
    # Three arrays in each of five configurations, and no more than half of what is free; a component has 4 GiB at most.
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = min(free // 2 // 15, 1 << 30) // 8
    return larger if not plan.reduced and _STREAM_NUMBERS < larger <= most else 0


def _stream(name: str, numbers: int, plan: Plan) -> Kernel:
    times = 2 if plan.reduced else 10
    return Kernel(
        name=f"memory/{name}",
        title=f"STREAM, arrays of {numbers * 8 >> 20} MiB",
        sources=(KERNELS / "stream.c",),
        request=Request(size=numbers, times=(times,) * 4),
        steps=tuple(
            Step(name=step, units=times * arrays * numbers * 8, unit="bytes", least_seconds=_LEAST_SECONDS_A_BYTE)
            for step, arrays in zip(_STREAM_STEPS, _STREAM_ARRAYS, strict=True)
        ),
        bounds=(_MOST_STREAM,) * 4,
        paper=_PAPER_STREAM,
    )


def _list(size: int, plan: Plan) -> Kernel:
    nodes = size // _NODE_BYTES
    loads = (1 << 22 if size <= 1 << 20 else 1 << 23) // (8 if plan.reduced else 1)
    walks = max(1, loads // nodes)
    shown = f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"
    return Kernel(
        name=f"memory/list-{size}",
        title=f"walking a list of {shown}",
        sources=(KERNELS / "list.c",),
        request=Request(size=size, times=(walks,)),
        steps=(Step(name="walk", units=walks * nodes, unit="nodes", least_seconds=_LEAST_SECONDS_A_LOAD),),
    )
