"""Whole runs: from nothing running to the result being there, natively, in the bare engine and in the whole runtime.

A guest's clocks stand still, so what the runtime adds shows only from outside. Natively and in the bare engine a run is
a process that is started, prepares, works, writes its result and ends; in the runtime it is `Runtime.run`, with every
wall, limit and copy. What was admitted and compiled before is part of none of them.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import wasmtime
from tests.support.actor import item
from tests.support.graphs import Part, admitted, graph

import twocvm_guest
from twocvm_guest.authoring.wrap import RUN, Call

from . import build, engine
from .composed import as_in_the_runtime
from .ended import SECONDS, ended
from .model import Comparison, Configuration, FailedError, Offer, Opened, Timing
from .process import Request

# By the compiler: of both, the faster counts.
NATIVE: Final = {
    "gcc": Configuration(name="native-gcc", title="native process, gcc", flags="x86-64-v3, strict"),
    "clang": Configuration(name="native", title="native process, clang", flags="x86-64-v3, strict"),
}
BARE: Final = Configuration(name="bare", title="bare wasmtime, a process", flags="wasmtime's own defaults")
SAME: Final = Configuration(
    name="bare-same", title="bare wasmtime, set up as in a worker", flags="the runtime's settings"
)
RUNTIME: Final = Configuration(name="runtime", title="whole runtime", flags="the runtime's settings")
FILES_IMPORTS: Final = ("wasi:filesystem/preopens@0.2.0", "wasi:filesystem/types@0.2.0")
EXPORTS: Final = ("prepare", "value", RUN, "work")
OVER_BARE: Final = "the whole runtime over the bare engine, set up alike"
SETTINGS: Final = "the engine set up as in a worker, over as it comes"
OVER_NATIVE: Final = "the whole runtime over native"
RUNTIME_OVER_BARE: Final = 1.03
WHOLE_COMPARISONS: Final = (
    Comparison(
        name=OVER_BARE,
        step="run",
        of=("runtime",),
        over=("bare-same",),
        at_most=RUNTIME_OVER_BARE,
    ),
    Comparison(name=SETTINGS, step="run", of=("bare-same",), over=("bare",)),
    Comparison(name=OVER_NATIVE, step="run", of=("runtime",), over=tuple(each.name for each in NATIVE.values())),
)
_ONCE: Final = Path(__file__).with_name("once.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What whole runs are made of.

    Attributes:
        main: The component that has the entry.
        callee: What it calls, if it does.
        calls: The names by which it does.
    """

    main: Path
    callee: Path | None
    calls: tuple[Call, ...]

    @property
    def composite(self) -> Path:
        """One component of both."""
        if self.callee is None:
            return self.main
        return as_in_the_runtime(self.main, self.callee, calls=self.calls, imports=FILES_IMPORTS)


def whole_offers(
    made: Callable[[], Whole],
    request: Request,
    *,
    memory_bytes: int,
    natives: Mapping[str, Callable[[], Path]] = MappingProxyType({}),
) -> tuple[Offer, ...]:
    """Return the configurations of a whole run; what makes something may raise `MissingError`.

    Args:
        made: Makes components.
        request: What is asked.
        memory_bytes: What the runtime lets it have.
        natives: Makes a shared library, by its compiler.
    """
    return (
        *(_native(NATIVE[compiler], library, request) for compiler, library in natives.items()),
        Offer(
            configuration=BARE,
            open=lambda: _once("engine", engine.compiled(made().composite), request),
            build=made,
        ),
        Offer(configuration=SAME, open=lambda: _once_as_in_a_worker(made(), request)),
        Offer(configuration=RUNTIME, open=lambda: _in_runtime(made(), request, memory_bytes)),
    )


def _native(configuration: Configuration, library: Callable[[], Path], request: Request) -> Offer:
    return Offer(configuration=configuration, open=lambda: _once("native", library(), request), build=library)


def _once(kind: str, path: Path, request: Request) -> Opened:
    return Opened(candidate=Once(kind, path, request), files={path.name: build.sha256(path)})


def _once_as_in_a_worker(made: Whole, request: Request) -> Opened:
    composed = made.callee is not None
    path = engine.compiled_as_in_a_worker(made.composite, composed=composed)
    return _once("composed" if composed else "same", path, request)


def _in_runtime(made: Whole, request: Request, memory_bytes: int) -> Opened:
    calls = tuple(call.name for call in made.calls)
    main = made.main.read_bytes()
    parts = {
        "main": Part(wasm=main, imports=(*calls, *FILES_IMPORTS), exports=EXPORTS, entry=RUN, profile="files"),
    }
    files = {made.main.name: build.sha256(made.main)}
    if made.callee:
        parts["callee"] = Part(wasm=made.callee.read_bytes(), exports=calls)
        files[made.callee.name] = build.sha256(made.callee)
    channels = tuple(("call", f"callee.{name}", f"main.{name}") for name in calls)
    return Opened(candidate=InRuntime(parts, channels, request, memory_bytes), files=files)


class Once:
    """A process for every run.

    Attributes:
        command: What is started.
        result: What it writes.
    """

    def __init__(self, kind: str, path: Path, request: Request) -> None:
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm")
        folder = Path(self._folder.name)
        (folder / "in" / "request").mkdir(parents=True)
        (folder / "in" / "request" / "data").write_text(request.text)
        (folder / "out" / "result").mkdir(parents=True)
        self.result = folder / "out" / "result" / "data"
        packages = [str(Path(module.__file__ or "").parent.parent) for module in (wasmtime, twocvm_guest)]
        self.command = [sys.executable, "-I", "-S", str(_ONCE), kind, str(path), str(folder), *packages]

    def sample(self) -> tuple[Timing, ...]:
        """Start it and wait for its end."""
        self.result.unlink(missing_ok=True)
        return (_timed(self._run),)

    def _run(self) -> bytes:
        ended(self.command, env={})
        return self.result.read_bytes()

    def close(self) -> None:
        """Take its folder away."""
        self._folder.cleanup()


class InRuntime:
    """A graph of components in the whole runtime, admitted anew before every run."""

    def __init__(
        self, parts: dict[str, Part], calls: tuple[tuple[str, str, str], ...], request: Request, memory_bytes: int
    ) -> None:
        channels = [("file", "request", "main.request"), *calls]
        self._manifest = graph(parts, channels, ["main.result"], memory_bytes=memory_bytes, wall_seconds=SECONDS)
        self._parts = parts
        self._request = request

    def sample(self) -> tuple[Timing, ...]:
        """Run it, from its inputs to its sealed output."""
        runtime = admitted(self._manifest, self._parts)
        given = item("request", self._request.text.encode())

        def run() -> bytes:
            result = runtime.run({"request": given})
            if not result.completed:
                raise FailedError(f"the run failed: {dict(result.failures)}")
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
