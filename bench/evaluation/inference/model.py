"""The model, and the C of it that the kernel is built with; both are made once, by locked packages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.evaluation import extras
from bench.evaluation.build import cached
from bench.evaluation.elsewhere import __file__ as elsewhere

_MAKER: Final = Path(elsewhere).with_name("mnist_model.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An ONNX model, and its weights as C."""

    onnx: Path
    source: Path


def model(*, fetches: bool) -> Model:
    """Return the model.

    Raises:
        MissingError: The packages that make it are not here, and cannot or must not be fetched.
        FailedError: They are here, and do not make it.
    """
    python = extras.python(extras.PEERS, fetches=fetches)
    parts = [_MAKER.read_bytes(), extras.PEERS.requirements.read_bytes()]
    onnx = cached(parts, ".onnx", lambda out: extras.run(python, "mnist_model", "model", str(out)))
    source = cached(
        [*parts, onnx.read_bytes()], ".c", lambda out: extras.run(python, "mnist_model", "c", str(onnx), str(out))
    )
    return Model(onnx=onnx, source=source)
