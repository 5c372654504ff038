"""What two layers replace: homomorphic encryption and computing by several parties, on one matrix times one vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from bench.evaluation import build, extras
from bench.evaluation.build import KERNELS
from bench.evaluation.extras import Extra
from bench.evaluation.model import Comparison, Configuration, Offer, Opened, Plan, Step, Workload
from bench.evaluation.process import Request
from bench.evaluation.standard import OVER_BEST, STRICT, WASM, Kernel, kernel, whole_of
from bench.evaluation.whole import OVER_NATIVE, RUNTIME, whole_offers

from .links import FILES
from .parties import Parties
from .report import NAME, ON_LOOPBACK, OVER_LINKS, chapter, over_native, over_runtime

__all__ = ["TITLE", "chapter", "workloads"]

TITLE: Final = "What the layers replace"
SIZE: Final = 128
TOLERANCE: Final = 1e-6
_SEED: Final = 1
_LEAST_SECONDS: Final = SIZE * SIZE * 1e-11


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """One way to compute on what stays hidden.

    Attributes:
        configuration: With its algorithm.
        open: Opens it, given how many products a sample has; it may raise `MissingError`.
        reduced: Whether the reduced run has it too.
        paper: The paper's figure, as times native.
    """

    configuration: Configuration
    open: Callable[[Plan, int], Opened]
    reduced: bool = True
    paper: str = ""


def _elsewhere(extra: Extra, module: str, plan: Plan, repeats: int, **more: str) -> Opened:
    request: dict[str, object] = {"size": SIZE, "seed": _SEED, "repeats": repeats, "tolerance": TOLERANCE, **more}
    candidate = extras.served(extras.python(extra, fetches=plan.fetches), module, request)
    return Opened(candidate=candidate, files=_files(extra, module))


def _parties(plan: Plan, repeats: int, *, linked: bool) -> Opened:
    request: dict[str, object] = {"size": SIZE, "seed": _SEED, "repeats": repeats}
    python = extras.python(extras.PEERS, fetches=plan.fetches)
    candidate = Parties(python, request, linked=linked)
    files = _files(extras.PEERS, "mpc_party") | {path.name: build.sha256(path) for path in FILES if linked}
    return Opened(candidate=candidate, files=files, conditions=candidate.conditions)


def _files(extra: Extra, module: str) -> dict[str, str]:
    modules = (module, "product", "serving")
    return {name: digest for each in modules for name, digest in extras.digests(extra, each).items()}


def _openfhe(scheme: str, way: str, algorithm: str, *, paper: str = "") -> Replaced:
    exact = scheme == "bfv"
    return Replaced(
        configuration=Configuration(
            name=f"openfhe-{scheme}-{way}", title=f"OpenFHE, {scheme.upper()}, {way}", flags=algorithm, exact=exact
        ),
        open=lambda plan, repeats: _elsewhere(
            extras.OPENFHE, "openfhe_products", plan, repeats, scheme=scheme, way=way
        ),
        reduced=False,
        paper=paper,
    )


_MPC: Final = "Shamir's shares among three, SecInt(32), np_matmul; honest but curious; the result is opened"
REPLACED: Final = (
    Replaced(
        configuration=Configuration(
            name="tenseal",
            title="TenSEAL, CKKS",
            flags="encrypted vector, matrix in the clear by diagonals; ring 8192, scale 2^40",
            exact=False,
            repeats=10,
        ),
        open=lambda plan, repeats: _elsewhere(extras.PEERS, "tenseal_ckks", plan, repeats),
    ),
    _openfhe("ckks", "clear", "encrypted vector, matrix in the clear by diagonals; depth 1, scale 2^50"),
    _openfhe("ckks", "diagonals", "both encrypted, the matrix by diagonals; depth 1, scale 2^50", paper="4.1e5 (P)"),
    _openfhe("ckks", "rows", "both encrypted, a ciphertext a row, EvalSum; depth 1, scale 2^50", paper="4.1e5 (P)"),
    _openfhe("bfv", "rows", "both encrypted, a ciphertext a row, EvalSum; depth 1, modulo 65537, exact"),
    Replaced(
        configuration=Configuration(name="mpyc", title=ON_LOOPBACK, flags=_MPC, repeats=20),
        open=partial(_parties, linked=False),
    ),
    Replaced(
        configuration=Configuration(
            name="mpyc-10ms",
            title=OVER_LINKS,
            flags=f"{_MPC}; every packet 10 ms on its way, TCP over TUN",
            repeats=20,
        ),
        open=partial(_parties, linked=True),
    ),
)


def workloads(plan: Plan) -> Iterator[Workload]:
    """Yield the class's workload: native and layered, and what they replace, on the same numbers."""
    there = [_sized(each, plan) for each in REPLACED if each.reduced or not plan.reduced]
    yield Workload(
        name=NAME,
        title=f"{SIZE} x {SIZE} matrix times vector, of whole numbers to 15",
        steps=(Step(name="product", units=1, unit="products", least_seconds=_LEAST_SECONDS),),
        offers=(*_layered(plan), *(_offer(each, plan) for each in there)),
        comparisons=(
            Comparison(name=OVER_BEST, step="product", of=(WASM.name,), over=STRICT),
            Comparison(name=OVER_NATIVE, step="product", of=(RUNTIME.name,), over=STRICT),
            *(comparison for each in there for comparison in _comparisons(each)),
        ),
        tolerance=TOLERANCE,
        # FHE uses all cores, parties wait for each other.
        pinned=False,
        busy=False,
    )


def _sized(it: Replaced, plan: Plan) -> Replaced:
    return replace(it, configuration=replace(it.configuration, repeats=1)) if plan.reduced else it


def _offer(it: Replaced, plan: Plan) -> Offer:
    return Offer(configuration=it.configuration, open=partial(it.open, plan, it.configuration.repeats))


def _comparisons(it: Replaced) -> Iterator[Comparison]:
    of, title = (it.configuration.name,), it.configuration.title
    yield Comparison(name=over_native(title), step="product", of=of, over=STRICT, paper=it.paper)
    yield Comparison(name=over_runtime(title), step="product", of=of, over=(RUNTIME.name,))


def _layered(plan: Plan) -> Iterator[Offer]:
    """Yield the kernel in all layers; a sample has so many products that calls and starts are little."""
    times = 20_000 if plan.reduced else 200_000
    request = Request(size=SIZE, seed=_SEED, times=(times,))
    it = Kernel(
        name=NAME,
        title="",
        sources=(KERNELS / "whole_numbers.c",),
        request=request,
        steps=(Step(name="product", units=times, unit="products"),),
        natives=(*build.PAPER, *build.BEST),
    )
    (workload,) = kernel(it, plan)
    wholes = whole_offers(partial(whole_of, it), request, memory_bytes=it.memory_bytes)
    for offer in (*workload.offers, *(each for each in wholes if each.configuration == RUNTIME)):
        # Of a whole run there is the value alone.
        exact = offer.configuration != RUNTIME
        yield replace(offer, configuration=replace(offer.configuration, repeats=times, exact=exact))
