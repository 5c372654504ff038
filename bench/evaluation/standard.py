"""A workload from a kernel in C: two compilers in three ways, the bare engine, and the whole runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from twocvm_guest.authoring.wrap import Call, Lift

from . import build, engine
from .build import Native, Sources
from .composed import with_callee
from .model import Comparison, Configuration, Offer, Opened, Plan, Step, Workload
from .process import Hosted, Request
from .whole import WHOLE_COMPARISONS, Whole, whole_offers

LIFTS: Final = (
    Lift(name="prepare", type='(param "size" u64) (param "seed" u64) (result u64)'),
    Lift(name="work", type='(param "step" u64) (param "times" u64) (result u64)'),
    Lift(name="value", type="(result f64)"),
)
WASM: Final = Configuration(
    name="wasm",
    title="bare wasmtime",
    flags="zig cc -O3 (which is -O2) -msimd128 -ffp-contract=off, wasmtime's own",
)
STRICT: Final = tuple(each.configuration.name for each in (*build.PAPER, *build.BEST))
PAPER: Final = tuple(each.configuration.name for each in build.PAPER)
FAST: Final = tuple(each.configuration.name for each in build.FAST)
OVER_BEST: Final = "wasm over the best strict native"
OVER_PAPERS: Final = "wasm over native as the paper's"
OVER_FAST: Final = "wasm over fast-math native"
_ENTRY: Final = (build.KERNELS / "entry.c", build.WASM_SDK / "ports.c", build.WASM_SDK / "writer.c")
_REALLOC: Final = build.KERNELS / "realloc.c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Callee:
    """A component that a kernel calls; natively it is linked with it.

    Attributes:
        sources: What it is compiled of.
        calls: What the kernel calls of it.
        options: More flags, for every compiler.
        foreign: Whether it is somebody else's code.
    """

    sources: tuple[Path, ...]
    calls: tuple[Call, ...]
    options: tuple[str, ...] = ()
    foreign: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel: what it is made of and what it is asked.

    Attributes:
        name: `arithmetic/product-512-fused`.
        title: For people.
        sources: As they are compiled for every configuration.
        request: What is asked when calls are timed.
        steps: What is timed, one for each of the request's times.
        bounds: The most that the bare engine may take over the best strict native, for each step; 0 is none.
        paper: What the paper has for it, for each step.
        floats: Whether it computes with floating point, so that there is something for fast-math to do.
        tolerance: How far what fast-math computes may be off, relatively.
        whole: What is asked when whole runs are timed, a second of work or more; None is not at all.
        memory_bytes: What the runtime lets it have.
        rounds: In a whole run of the evaluation; 0 is as the plan has it.
        natives: The native configurations; none is all that suit it.
        callee: What it calls, if it does; it may raise `MissingError`.
    """

    name: str
    title: str
    sources: tuple[Path, ...]
    request: Request
    steps: tuple[Step, ...]
    bounds: tuple[float, ...] = ()
    paper: tuple[str, ...] = ()
    floats: bool = False
    tolerance: float = 1e-9
    whole: Request | None = None
    memory_bytes: int = 1 << 28
    rounds: int = 0
    natives: tuple[Native, ...] = ()
    callee: Callable[[], Callee] | None = None


def kernel(it: Kernel, plan: Plan) -> Iterator[Workload]:
    """Yield the workload of calls to a kernel, and that of its whole runs where it has one."""
    natives = it.natives or (*build.PAPER, *build.BEST, *(build.FAST if it.floats else ()))
    rounds = 0 if plan.reduced else it.rounds
    yield Workload(
        name=it.name,
        title=it.title,
        steps=it.steps,
        offers=(
            *(_native_offer(it, each) for each in natives),
            Offer(configuration=WASM, open=partial(_open_wasm, it), build=partial(_compiled, it)),
        ),
        comparisons=tuple(each for number in range(len(it.steps)) for each in _comparisons(it, number, natives)),
        tolerance=it.tolerance,
        rounds=rounds,
    )
    if it.whole:
        yield Workload(
            name=f"{it.name}-whole",
            title=f"{it.title}, whole runs",
            steps=(Step(name="run", units=1, unit="runs"),),
            offers=whole_offers(
                partial(whole_of, it),
                it.whole,
                memory_bytes=it.memory_bytes,
                # The reduced run shows that it works, by the compiler that it always has.
                natives={
                    each.compiler: partial(native_library, it, each)
                    for each in (build.BEST[1:] if plan.reduced else build.BEST)
                },
            ),
            comparisons=WHOLE_COMPARISONS,
            rounds=1 if plan.reduced else rounds,
            # A run waits for its processes too. To leave out those that waited most would be to flatter it.
            busy=False,
        )


def native_library(it: Kernel, native: Native) -> Path:
    """Return the shared library, with what the kernel calls in it."""
    return build.library(native, _sources(it), *([_callee_sources(it.callee())] if it.callee else []))


def called_component(it: Kernel) -> Path:
    """Return the component whose functions are called one by one."""
    if it.callee is None:
        return build.component(_sources(it, *_ENTRY), lifts=LIFTS)
    callee = it.callee()
    caller = build.component(_sources(it, _REALLOC), calls=callee.calls, lifts=LIFTS, runs=False)
    return with_callee(caller, callee_component(callee), calls=callee.calls, lifts=LIFTS)


def callee_component(it: Callee) -> Path:
    """Return the component that a kernel calls."""
    lifts = [Lift(name=call.name, type=call.type) for call in it.calls]
    return build.component(_callee_sources(it, _REALLOC), lifts=lifts, runs=False)


def whole_of(it: Kernel) -> Whole:
    """Return what whole runs of a kernel are made of."""
    callee = it.callee() if it.callee else None
    calls = callee.calls if callee else ()
    main = build.component(_sources(it, *_ENTRY), calls=calls, lifts=LIFTS)
    return Whole(
        main=main,
        callee=callee_component(callee) if callee else None,
        calls=calls,
    )


def _sources(it: Kernel, *more: Path) -> Sources:
    return _with_includes(Sources(files=(*it.sources, *more)))


def _callee_sources(it: Callee, *more: Path) -> Sources:
    return _with_includes(Sources(files=(*it.sources, *more), options=it.options, foreign=it.foreign))


def _with_includes(sources: Sources) -> Sources:
    return replace(sources, includes=tuple(dict.fromkeys(path.parent for path in sources.files)))


def _comparisons(it: Kernel, number: int, natives: tuple[Native, ...]) -> Iterator[Comparison]:
    step = it.steps[number].name
    yield Comparison(
        name=OVER_BEST,
        step=step,
        of=(WASM.name,),
        over=STRICT,
        at_most=it.bounds[number] if it.bounds else 0.0,
    )
    if set(natives) & set(build.PAPER):
        yield Comparison(
            name=OVER_PAPERS,
            step=step,
            of=(WASM.name,),
            over=PAPER,
            paper=it.paper[number] if it.paper else "",
        )
    if it.floats:
        yield Comparison(name=OVER_FAST, step=step, of=(WASM.name,), over=FAST)


def _native_offer(it: Kernel, native: Native) -> Offer:
    build_it = partial(native_library, it, native)
    return Offer(configuration=native.configuration, open=partial(_open_native, it, native), build=build_it)


def _compiled(it: Kernel) -> Path:
    return engine.compiled(called_component(it))


def _open_native(it: Kernel, native: Native) -> Opened:
    path = native_library(it, native)
    files = _digests(*_all_sources(it), path)
    return Opened(candidate=Hosted("native", path, it.request), files=files)


def _open_wasm(it: Kernel) -> Opened:
    component = called_component(it)
    path = engine.compiled(component)
    files = _digests(*_all_sources(it), component, path)
    return Opened(candidate=Hosted("engine", path, it.request), files=files)


def _all_sources(it: Kernel) -> tuple[Path, ...]:
    return (*it.sources, *(it.callee().sources if it.callee else ()))


def _digests(*paths: Path) -> dict[str, str]:
    return {path.name: build.sha256(path) for path in paths}
