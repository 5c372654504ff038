"""A process that holds one kernel, native or in the bare engine, and times its steps from outside.

    python -m bench.evaluation.host native|engine FILE

A line on standard input is a request: first one of `process.Request` as JSON, which prepares and is answered with an
empty object; then any number of empty objects, each of which does all steps once and is answered with
their timings. The time is taken around the call, by clocks that the kernel has no part in.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Function = Callable[..., Any]


def main() -> None:
    """Serve requests until standard input ends."""
    kind, path = sys.argv[1:]
    prepare, work, value = (_native if kind == "native" else _engine)(Path(path))
    request = json.loads(sys.stdin.readline())

    def prepared() -> None:
        if not prepare(request["size"], request["seed"]):
            raise MemoryError("the kernel has no memory for its data")

    prepared()
    print("{}", flush=True)
    for _ in sys.stdin:
        if request["fresh"]:
            prepared()
        timings = [_timing(work, value, step, times) for step, times in enumerate(request["times"])]
        print(json.dumps(timings), flush=True)


def _timing(work: Function, value: Function, step: int, times: int) -> list[Any]:
    cpu = time.process_time_ns()
    wall = time.time_ns()
    start = time.monotonic_ns()
    digest = work(step, times)
    end = time.monotonic_ns()
    wall_end = time.time_ns()
    return [start, end, wall, wall_end, time.process_time_ns() - cpu, f"{digest:016x}", value()]


def _native(path: Path) -> tuple[Function, Function, Function]:
    library = ctypes.CDLL(str(path))
    library.prepare.restype = library.work.restype = ctypes.c_uint64
    library.prepare.argtypes = library.work.argtypes = (ctypes.c_uint64, ctypes.c_uint64)
    library.value.restype = ctypes.c_double
    return library.prepare, library.work, library.value


def _engine(path: Path) -> tuple[Function, Function, Function]:
    import wasmtime
    from wasmtime.component import Component, Linker

    from .engine import bare_engine

    engine = bare_engine()
    store = wasmtime.Store(engine)
    store.set_wasi(wasmtime.WasiConfig())
    linker = Linker(engine)
    linker.add_wasip2()
    instance = linker.instantiate(store, Component.deserialize_file(engine, str(path)))

    def function(name: str) -> Function:
        found = instance.get_func(store, name)
        if found is None:
            raise LookupError(name)

        def call(*arguments: int) -> Any:
            result = found(store, *arguments)
            found.post_return(store)
            return result

        return call

    return function("prepare"), function("work"), function("value")


if __name__ == "__main__":
    main()
