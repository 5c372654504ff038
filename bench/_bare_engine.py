"""The bare engine in a process of its own: loads a compiled component, calls its entry on plain folders, and ends.

    python -I -S _bare_engine.py COMPILED FOLDER PATH...        PATH: where this project's and the engine's packages are

The engine is set up as in a worker and nothing else is: no namespaces, no filter of system calls, no limits, no copies
of inputs. `bench/runtime_kernels.py` starts it.
"""

from __future__ import annotations

import sys


def main(compiled: str, folder: str) -> None:
    """Run one component of the profile `files`."""
    import wasmtime
    from wasmtime.component import Component, Linker

    from twocvm_guest.runtime.engine import entry_function, make_engine

    engine = make_engine(counts_fuel=False)
    component = Component.deserialize_file(engine, compiled)
    store = wasmtime.Store(engine)
    wasi = wasmtime.WasiConfig()
    wasi.preopen_dir(f"{folder}/in", "/in", fs_mutable=False)
    wasi.preopen_dir(f"{folder}/out", "/out", fs_mutable=True)
    store.set_wasi(wasi)
    linker = Linker(engine)
    linker.add_wasip2()
    entry_function(store, linker.instantiate(store, component), "wasi:cli/run@0.2.0")(store)


if __name__ == "__main__":
    sys.path += sys.argv[3:]
    main(sys.argv[1], sys.argv[2])
