"""Run a component of the profile `files` in a bare engine: no worker, no limits, the ports as plain folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import wasmtime
from wasmtime import component as wasm

RUN_INTERFACE = "wasi:cli/run@0.2.0"


class BareComponent:
    """A component, compiled once."""

    def __init__(self, path: Path) -> None:
        self._engine = wasmtime.Engine()
        self._component = wasm.Component(self._engine, path.read_bytes())
        self._linker = wasm.Linker(self._engine)
        self._linker.add_wasip2()

    @property
    def imports(self) -> set[str]:
        """The names of everything that it imports."""
        return set(self._component.type.imports(self._engine))

    @property
    def exports(self) -> set[str]:
        """The names of everything that it exports."""
        return set(self._component.type.exports(self._engine))

    def run(self, scratch: Path, inputs: Mapping[str, bytes], outputs: Sequence[str]) -> dict[str, bytes] | None:
        """Call `wasi:cli/run`: what it wrote to its ports, or None where it says that it failed."""
        for port, content in inputs.items():
            (scratch / "in" / port).mkdir(parents=True)
            (scratch / "in" / port / "data").write_bytes(content)
        (scratch / "in").mkdir(exist_ok=True)
        for port in outputs:
            (scratch / "out" / port).mkdir(parents=True)
        if not self._call(scratch):
            return None
        return {port: (scratch / "out" / port / "data").read_bytes() for port in outputs}

    def _call(self, scratch: Path) -> bool:
        store = wasmtime.Store(self._engine)
        wasi = wasmtime.WasiConfig()
        wasi.preopen_dir(str(scratch / "in"), "/in", fs_mutable=False)
        wasi.preopen_dir(str(scratch / "out"), "/out")
        store.set_wasi(wasi)
        instance = self._linker.instantiate(store, self._component)
        interface = instance.get_export_index(store, RUN_INTERFACE)
        function = instance.get_func(store, instance.get_export_index(store, "run", interface))
        result = function(store)
        function.post_return(store)
        return bool(result.tag == "ok")
