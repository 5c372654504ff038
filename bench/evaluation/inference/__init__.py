"""Class 3, inference: a small network for digits, of mnist-8's geometry, in C; its scores are judged by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Final

from bench.evaluation import build, extras
from bench.evaluation.model import (
    Configuration,
    FailedError,
    MissingError,
    Offer,
    Opened,
    Plan,
    Step,
    Workload,
)
from bench.evaluation.process import Request
from bench.evaluation.standard import Kernel, kernel, native_library

from . import process
from .model import Model, model
from .report import chapter

__all__ = ["TITLE", "chapter", "workloads"]

TITLE: Final = "Inference"
ONNXRUNTIME: Final = Configuration(
    name="onnxruntime", title="onnxruntime", flags="one thread, from PyPI; the judge", exact=False
)
TOLERANCE: Final = 1e-4
_MOST: Final = 2.0
_IMAGES: Final = 16
_SEED: Final = 1


def workloads(plan: Plan) -> Iterator[Workload]:
    """Yield the class's workloads."""
    try:
        made = model(fetches=plan.fetches)
    except (MissingError, FailedError) as reason:
        # What there would be, with nothing in it but the reason.
        absent = _kernel((), plan)
        for each in (*kernel(absent, plan), process.workload(absent, lambda opening: opening())):
            yield replace(each, offers=tuple(_refused(offer, reason) for offer in each.offers))
        return
    it = _kernel((made.source,), plan)
    judged = _Judged(made, it, plan)
    for each in kernel(it, plan):
        offers = tuple(replace(offer, open=partial(judged.open, offer.open)) for offer in each.offers)
        if each.name == it.name:
            offers += (Offer(configuration=ONNXRUNTIME, open=judged.onnxruntime),)
        yield replace(each, offers=offers)
    yield process.workload(it, judged.open)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What onnxruntime said of the kernel: nothing, or what is wrong with it."""

    missing: str = ""
    failed: str = ""


class _Judged:
    """Opens configurations of a kernel that onnxruntime agrees with; of any other, none is opened."""

    def __init__(self, model: Model, it: Kernel, plan: Plan) -> None:
        self._model = model
        self._kernel = it
        self._plan = plan
        self._verdict = cache(self._judge)

    def open(self, wanted: Callable[[], Opened]) -> Opened:
        """Open a configuration, all of whose scores are then those of the native build that was judged."""
        verdict = self._verdict()
        if verdict.missing:
            raise MissingError(verdict.missing)
        if verdict.failed:
            raise FailedError(verdict.failed)
        return wanted()

    def onnxruntime(self) -> Opened:
        """Open onnxruntime itself; it compares before it is ready."""
        python = extras.python(extras.PEERS, fetches=self._plan.fetches)
        library = native_library(self._kernel, build.PAPER[1])
        request = {
            "model": str(self._model.onnx),
            "library": str(library),
            "images": _IMAGES,
            "seed": _SEED,
            "times": self._kernel.request.times[0],
            "tolerance": TOLERANCE,
        }
        files = extras.digests(extras.PEERS, "onnx_runtime")
        files |= {path.name: build.sha256(path) for path in (self._model.onnx, library)}
        return Opened(candidate=extras.served(python, "onnx_runtime", request), files=files)

    def _judge(self) -> _Verdict:
        try:
            self.onnxruntime().candidate.close()
        except MissingError as missing:
            return _Verdict(missing=str(missing))
        except FailedError as failed:
            return _Verdict(failed=str(failed))
        return _Verdict()


def _refused(offer: Offer, reason: MissingError | FailedError) -> Offer:
    def refuse() -> Opened:
        raise reason

    return Offer(configuration=offer.configuration, open=refuse)


def _kernel(weights: tuple[Path, ...], plan: Plan) -> Kernel:
    times = 320 if plan.reduced else 5008
    request = Request(size=_IMAGES, seed=_SEED, times=(times,))
    return Kernel(
        name="inference/mnist",
        title=f"{times:,} images, one after the other",
        sources=(build.KERNELS / "mnist.c", *weights),
        request=request,
        steps=(Step(name="classify", units=times, unit="images", least_seconds=1e-5),),
        bounds=(_MOST,),
        paper=("1.12 (P), whole processes",),
        floats=True,
        tolerance=TOLERANCE,
        whole=request if plan.reduced else replace(request, times=(times * 4,)),
    )
