"""Whole runs: from nothing running to the result being there, natively, in the bare engine and in the whole runtime.

A guest's clocks stand still, so what the runtime adds shows only from outside. Natively and in the bare engine a run is
a process that is started, prepares, works, writes its result and ends; in the runtime it is `Runtime.run`, with every
wall, limit and copy. What was admitted and compiled before is part of none of them.
"""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import wasmtime
from tests.support.actor import item
from tests.support.graphs import Part, admitted, graph

import twocvm_guest
from twocvm_guest.authoring.wrap import RUN

from . import build, engine
from .model import Configuration, Offer, Opened, Timing
from .process import Request

NATIVE: Final = Configuration(name="native", title="native process", flags="clang x86-64-v3, strict")
BARE: Final = Configuration(name="bare", title="bare wasmtime, a process", flags="wasmtime's own defaults")
SAME: Final = Configuration(
    name="bare-same", title="bare wasmtime, set up as in a worker", flags="the runtime's settings"
)
RUNTIME: Final = Configuration(name="runtime", title="whole runtime", flags="the runtime's settings")
FILES_IMPORTS: Final = ("wasi:filesystem/preopens@0.2.0", "wasi:filesystem/types@0.2.0")
EXPORTS: Final = ("prepare", "value", RUN, "work")
_ONCE: Final = Path(__file__).with_name("once.py")
_WALL_SECONDS: Final = 600


def whole_offers(
    *, native: Callable[[], Path], component: Callable[[], Path], request: Request, memory_bytes: int
) -> tuple[Offer, ...]:
    """Return the four configurations."""
    compiled = {
        BARE: ("engine", lambda: engine.compiled(component())),
        SAME: ("same", lambda: engine.compiled_as_in_a_worker(component())),
    }
    return (
        Offer(configuration=NATIVE, open=partial(_open_once, "native", native, request)),
        *(Offer(configuration=each, open=partial(_open_once, *how, request)) for each, how in compiled.items()),
        Offer(configuration=RUNTIME, open=partial(_open_runtime, component, request, memory_bytes)),
    )


def _open_once(kind: str, path: Callable[[], Path], request: Request) -> Opened:
    made = path()
    return Opened(candidate=Once(kind, made, request), files={made.name: build.sha256(made)})


def _open_runtime(component: Callable[[], Path], request: Request, memory_bytes: int) -> Opened:
    made = component()
    parts = {"main": Part(wasm=made.read_bytes(), imports=FILES_IMPORTS, exports=EXPORTS, entry=RUN, profile="files")}
    return Opened(candidate=InRuntime(parts, (), request, memory_bytes), files={made.name: build.sha256(made)})


class Once:
    """A process for every run."""

    def __init__(self, kind: str, path: Path, request: Request) -> None:
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm")
        folder = Path(self._folder.name)
        (folder / "in" / "request").mkdir(parents=True)
        (folder / "in" / "request" / "data").write_text(request.text)
        (folder / "out" / "result").mkdir(parents=True)
        self._result = folder / "out" / "result" / "data"
        packages = [str(Path(module.__file__ or "").parent.parent) for module in (wasmtime, twocvm_guest)]
        self._command = [sys.executable, "-I", "-S", str(_ONCE), kind, str(path), str(folder), *packages]

    def sample(self) -> tuple[Timing, ...]:
        """Start it and wait for its end."""
        self._result.unlink(missing_ok=True)
        return (_timed(self._run),)

    def _run(self) -> bytes:
        subprocess.run(self._command, check=True, env={}, stdin=subprocess.DEVNULL)
        return self._result.read_bytes()

    def close(self) -> None:
        """Take its folder away."""
        self._folder.cleanup()


class InRuntime:
    """A graph of components in the whole runtime, admitted anew before every run."""

    def __init__(
        self, parts: dict[str, Part], calls: tuple[tuple[str, str, str], ...], request: Request, memory_bytes: int
    ) -> None:
        channels = [("file", "request", "main.request"), *calls]
        self._manifest = graph(parts, channels, ["main.result"], memory_bytes=memory_bytes, wall_seconds=_WALL_SECONDS)
        self._parts = parts
        self._request = request

    def sample(self) -> tuple[Timing, ...]:
        """Run it, from its inputs to its sealed output."""
        runtime = admitted(self._manifest, self._parts)
        given = item("request", self._request.text.encode())

        def run() -> bytes:
            result = runtime.run({"request": given})
            if not result.completed:
                raise RuntimeError(dict(result.failures))
            (output,) = result.outputs.values()
            content = output.open().read()
            output.close()
            return content

        try:
            return (_timed(run),)
        finally:
            runtime.wipe()
            given.close()

    def close(self) -> None:
        """Nothing is held between runs."""


def _timed(run: Callable[[], bytes]) -> Timing:
    cpu, wall, start = _cpu_ns(), time.time_ns(), time.monotonic_ns()
    content = run()
    end, wall_end = time.monotonic_ns(), time.time_ns()
    return Timing(
        start_ns=start,
        end_ns=end,
        wall_start_ns=wall,
        wall_end_ns=wall_end,
        cpu_ns=_cpu_ns() - cpu,
        digest=hashlib.sha256(content).hexdigest(),
        value=float(content.split()[-1]),
    )


def _cpu_ns() -> int:
    """Return the processor time of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return int(sum(each.ru_utime + each.ru_stime for each in used) * 1e9)
