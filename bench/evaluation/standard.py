"""A workload from a kernel in C: two compilers in three ways, the bare engine, and whole runs of the runtime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from twocvm_guest.authoring.wrap import Lift

from . import build, engine
from .build import Native, Sources
from .model import Comparison, Configuration, Offer, Opened, Plan, Step, Workload
from .process import Hosted, Request
from .whole import whole_offers

LIFTS: Final = (
    Lift(name="prepare", type='(param "size" u64) (param "seed" u64) (result u64)'),
    Lift(name="work", type='(param "step" u64) (param "times" u64) (result u64)'),
    Lift(name="value", type="(result f64)"),
)
WASM: Final = Configuration(name="wasm", title="bare wasmtime", flags="-O3 -msimd128 -ffp-contract=off, wasmtime's own")
STRICT: Final = tuple(each.configuration.name for each in (*build.PAPER, *build.BEST))
PAPER: Final = tuple(each.configuration.name for each in build.PAPER)
FAST: Final = tuple(each.configuration.name for each in build.FAST)
RUNTIME_OVER_BARE: Final = 1.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel: where it is and what it is asked.

    Attributes:
        name: `arithmetic/product-512-fused`.
        title: For people.
        sources: As they are compiled natively; `main` and `kernels` are where headers are.
        request: What is asked when calls are timed.
        steps: What is timed, one for each of the request's times.
        bound: The most that the bare engine may take, over the best strict native, for each step; 0 is none.
        paper: What the paper has for it, for each step.
        floats: Whether it computes with floating point, so that there is something for fast-math to do.
        whole: What is asked when whole runs are timed, a second of work or more; None is not at all.
        memory_bytes: What the runtime lets it have.
    """

    name: str
    title: str
    sources: tuple[Path, ...]
    request: Request
    steps: tuple[Step, ...]
    bound: tuple[float, ...]
    paper: tuple[str, ...] = ()
    floats: bool = False
    tolerance: float = 1e-9
    whole: Request | None = None
    memory_bytes: int = 1 << 28
    rounds: int = 0
    options: tuple[str, ...] = ()
    natives: tuple[Native, ...] = field(default=())


def kernel(it: Kernel, plan: Plan) -> Iterator[Workload]:
    """Yield the workload of calls to a kernel, and that of its whole runs where it has one."""
    natives = it.natives or (*build.PAPER, *build.BEST, *(build.FAST if it.floats else ()))
    offers = [Offer(configuration=each.configuration, open=partial(_open_native, it, each)) for each in natives]
    offers += [Offer(configuration=WASM, open=partial(_open_wasm, it))]
    yield Workload(
        name=it.name,
        title=it.title,
        steps=it.steps,
        offers=tuple(offers),
        comparisons=tuple(comparison for number in range(len(it.steps)) for comparison in _comparisons(it, number)),
        tolerance=it.tolerance,
        rounds=0 if plan.reduced else it.rounds,
    )
    if it.whole:
        yield Workload(
            name=f"{it.name}-whole",
            title=f"{it.title}, whole runs",
            steps=(Step(name="run", units=1, unit="runs"),),
            offers=whole_offers(
                native=partial(build.library, build.BEST[1], native_sources(it)),
                component=partial(wasm_component, it),
                request=it.whole,
                memory_bytes=it.memory_bytes,
            ),
            comparisons=(
                Comparison(
                    name="the whole runtime over the bare engine",
                    step="run",
                    of=("runtime",),
                    over=("bare-same",),
                    at_most=RUNTIME_OVER_BARE,
                ),
                Comparison(name="the runtime's settings of the engine", step="run", of=("bare-same",), over=("bare",)),
                Comparison(name="the whole runtime over native", step="run", of=("runtime",), over=("native",)),
            ),
            rounds=0 if plan.reduced else it.rounds,
        )


def native_sources(it: Kernel) -> Sources:
    """Return what is compiled natively."""
    return Sources(files=it.sources, includes=_includes(it), options=it.options)


def wasm_component(it: Kernel) -> Path:
    """Return the component: the same sources, and the entry through which the runtime calls them."""
    entry = (build.KERNELS / "entry.c", build.WASM_SDK / "ports.c", build.WASM_SDK / "writer.c")
    includes = (*_includes(it), build.WASM_SDK)
    return build.component(Sources(files=(*it.sources, *entry), includes=includes, options=it.options), lifts=LIFTS)


def _includes(it: Kernel) -> tuple[Path, ...]:
    return tuple(dict.fromkeys((build.KERNELS, *(path.parent for path in it.sources))))


def _comparisons(it: Kernel, number: int) -> Iterator[Comparison]:
    step = it.steps[number].name
    paper = it.paper[number] if it.paper else ""
    yield Comparison(
        name="wasm over the best strict native",
        step=step,
        of=(WASM.name,),
        over=STRICT,
        at_most=it.bound[number] if it.bound else 0.0,
    )
    yield Comparison(name="wasm over native as the paper's", step=step, of=(WASM.name,), over=PAPER, paper=paper)
    if it.floats:
        yield Comparison(name="wasm over fast-math native", step=step, of=(WASM.name,), over=FAST)


def _open_native(it: Kernel, native: Native) -> Opened:
    path = build.library(native, native_sources(it))
    return Opened(candidate=Hosted("native", path, it.request), files={path.name: build.sha256(path)})


def _open_wasm(it: Kernel) -> Opened:
    component = wasm_component(it)
    path = engine.compiled(component)
    files = {component.name: build.sha256(component), path.name: build.sha256(path)}
    return Opened(candidate=Hosted("engine", path, it.request), files=files)
