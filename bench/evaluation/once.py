"""One run of a kernel in a process of its own, natively or in the bare engine: starts, prepares, works, writes, ends.

    python -I -S once.py native|engine|compiles|same|composed FILE FOLDER PACKAGES...

FOLDER has in/request/data, and out/result to write into; PACKAGES are where modules are.
`engine` is wasmtime as it comes, and `compiles` too, of a component that is not compiled yet; `same` and `composed` are
wasmtime set up as in a worker of the runtime.
Nothing is imported here that the one or the other does not need.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wasmtime import Engine
    from wasmtime.component import Component


def native(path: str, folder: str) -> None:
    """Do what `kernels/entry.c` does, with a shared library."""
    import ctypes

    library = ctypes.CDLL(path)
    library.prepare.restype = library.work.restype = ctypes.c_uint64
    library.prepare.argtypes = library.work.argtypes = (ctypes.c_uint64, ctypes.c_uint64)
    library.value.restype = ctypes.c_double
    with open(f"{folder}/in/request/data") as file:
        size, seed, *times = map(int, file.read().split())
    if not library.prepare(size, seed):
        raise MemoryError
    digests = [library.work(step, count) for step, count in enumerate(times)]
    lines = [f"{digest:016x}\n" for digest in digests]
    with open(f"{folder}/out/result/data", "w") as file:
        file.write("".join(lines) + f"{library.value():.17g}\n")


def engine(path: str, folder: str) -> None:
    """Run a component in wasmtime as it comes."""
    from wasmtime import Engine

    _run(Engine(), path, folder)


def compiles(path: str, folder: str) -> None:
    """Compile a component in wasmtime as it comes, and run it: what who keeps nothing does every time."""
    from wasmtime import Engine
    from wasmtime.component import Component

    made = Engine()
    _run_component(made, Component.from_file(made, path), folder)


def same(path: str, folder: str) -> None:
    """Run a component in wasmtime as a worker has it."""
    from twocvm_guest.runtime.engine import make_engine

    _run(make_engine(counts_fuel=False), path, folder)


def composed(path: str, folder: str) -> None:
    """Run a composite in wasmtime as a worker has it."""
    from twocvm_guest.runtime.engine import make_engine

    _run(make_engine(counts_fuel=False, composed=True), path, folder)


def _run(made: Engine, path: str, folder: str) -> None:
    from wasmtime.component import Component

    _run_component(made, Component.deserialize_file(made, path), folder)


def _run_component(made: Engine, component: Component, folder: str) -> None:
    """Call the entry of a component on plain folders: no walls, no limits, no copies."""
    import wasmtime
    from wasmtime.component import Linker

    store = wasmtime.Store(made)
    wasi = wasmtime.WasiConfig()
    wasi.preopen_dir(f"{folder}/in", "/in", fs_mutable=False)
    wasi.preopen_dir(f"{folder}/out", "/out", fs_mutable=True)
    store.set_wasi(wasi)
    linker = Linker(made)
    linker.add_wasip2()
    instance = linker.instantiate(store, component)
    inside = instance.get_export_index(store, "wasi:cli/run@0.2.0")
    index = instance.get_export_index(store, "run", inside)
    run = instance.get_func(store, index) if index else None
    if run is None or run(store).tag != "ok":
        raise RuntimeError("the component failed")


if __name__ == "__main__":
    sys.path += sys.argv[4:]
    kinds = {"native": native, "engine": engine, "compiles": compiles, "same": same, "composed": composed}
    kinds[sys.argv[1]](sys.argv[2], sys.argv[3])
