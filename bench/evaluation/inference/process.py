"""Whole processes, natively and in the bare engine, timed by hyperfine as in the paper; without it, by this program."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from bench.evaluation import build, engine
from bench.evaluation.build import Native
from bench.evaluation.ended import ended
from bench.evaluation.model import Comparison, Configuration, Offer, Opened, Step, Timing, Workload
from bench.evaluation.standard import (
    FAST,
    OVER_BEST,
    OVER_FAST,
    OVER_PAPERS,
    PAPER,
    STRICT,
    WASM,
    Kernel,
    native_library,
    whole_of,
)
from bench.evaluation.whole import Once

_NATIVES: Final = (*build.PAPER, *build.BEST, *build.FAST)


class ByHyperfine(Once):
    """A process for every run, which hyperfine starts and times."""

    def sample(self) -> tuple[Timing, ...]:
        """Have it run once."""
        self.result.unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile(suffix=".json") as told:
            command = [
                str(shutil.which("hyperfine")),
                "-N",
                "--runs",
                "1",
                "--export-json",
                told.name,
                shlex.join(self.command),
            ]
            wall, start = time.time_ns(), time.monotonic_ns()
            ended(command, env={})
            apart = (time.time_ns() - wall) - (time.monotonic_ns() - start)
            (result,) = json.loads(Path(told.name).read_text())["results"]
        ns = round(result["times"][0] * 1e9)
        cpu = round((result["user"] + result["system"]) * 1e9)
        # When it began is when hyperfine was started, give or take; for how long it ran is what hyperfine says. How far
        # the two clocks went apart meanwhile is kept, for that is judged.
        content = self.result.read_bytes()
        return (
            Timing(
                start_ns=start,
                end_ns=start + ns,
                wall_start_ns=wall,
                wall_end_ns=wall + ns + apart,
                cpu_ns=cpu,
                digest=hashlib.sha256(content).hexdigest(),
                value=float(content.split()[-1]),
            ),
        )


def workload(it: Kernel, prepared: Callable[[Callable[[], Opened]], Opened]) -> Workload:
    """Return the workload of whole processes; `prepared` opens what is to be judged first."""
    clock = _clock()

    def offer(configuration: Configuration, kind: str, path: Callable[[], Path]) -> Offer:
        flags = f"{configuration.flags}; {clock}"
        named = Configuration(
            name=configuration.name, title=configuration.title, flags=flags, exact=configuration.exact
        )
        return Offer(configuration=named, open=lambda: prepared(lambda: _open(kind, path(), it)))

    return Workload(
        name=f"{it.name}-process",
        title=f"{it.title}, whole processes",
        steps=(Step(name="process", units=it.steps[0].units, unit=it.steps[0].unit),),
        offers=(
            *(offer(each.configuration, "native", partial(_native, it, each)) for each in _NATIVES),
            offer(WASM, "engine", lambda: engine.compiled(whole_of(it).composite)),
        ),
        comparisons=(
            Comparison(name=OVER_BEST, step="process", of=(WASM.name,), over=STRICT, at_most=it.bounds[0]),
            Comparison(name=OVER_PAPERS, step="process", of=(WASM.name,), over=PAPER, paper="1.12 (P)"),
            Comparison(name=OVER_FAST, step="process", of=(WASM.name,), over=FAST, paper="2.10 (P)"),
        ),
        tolerance=it.tolerance,
    )


def _native(it: Kernel, native: Native) -> Path:
    return native_library(it, native)


def _open(kind: str, path: Path, it: Kernel) -> Opened:
    make = ByHyperfine if shutil.which("hyperfine") else Once
    return Opened(candidate=make(kind, path, it.request), files={path.name: build.sha256(path)})


def _clock() -> str:
    if shutil.which("hyperfine") is None:
        return "timed by this program, for hyperfine is not here"
    return f"timed by {ended(['hyperfine', '--version']).strip()}"
