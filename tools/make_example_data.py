"""Make the data of `examples/components`: nobody's, from a fixed seed; and a small network fitted to the demo's data.

    python -m tools.make_example_data

The network is fitted on the features and diagnoses of `examples/demo/data`, whose source and licence are there.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples" / "components"
DEMO = ROOT / "examples" / "demo" / "data"
UNITS = 8
STEPS = 400

Floats = NDArray[np.float64]


def payments(generator: random.Random, lines: int) -> str:
    """Return a bank's payments: sector and amount."""
    sectors = ("agriculture", "energy", "health", "retail", "transport")
    rows = (f"{generator.choice(sectors)},{generator.lognormvariate(5, 1):.2f}" for _ in range(lines))
    return "\n".join(("sector,amount", *rows)) + "\n"


def waits(generator: random.Random, lines: int) -> str:
    """Return a clinic's waiting times in days."""
    return "\n".join(("days", *(str(round(generator.gammavariate(2, 20))) for _ in range(lines)))) + "\n"


def network() -> str:
    """Return the weights of a network that tells malignant from benign, fitted by gradient descent."""
    rows = _rows(DEMO / "hospital-a" / "features.csv")
    diagnosed = {row[0]: row[1] for row in _rows(DEMO / "hospital-b" / "diagnoses.csv")}
    known = [row for row in rows if row[0] in diagnosed]
    features = np.array([[float(cell) for cell in row[1:]] for row in known])
    truth = np.array([float(diagnosed[row[0]] == "malignant") for row in known])
    mean, scale = features.mean(axis=0), features.std(axis=0)
    hidden, bias, last, end = _fit((features - mean) / scale, truth)
    # The component takes features as they are.
    hidden = hidden / scale
    bias = bias - hidden @ mean
    lines = ["layer,unit,input,weight"]
    for unit in range(UNITS):
        lines += [f"0,{unit},{number},{weight:.9g}" for number, weight in enumerate(hidden[unit])]
        lines.append(f"0,{unit},bias,{bias[unit]:.9g}")
    lines += [f"1,0,{unit},{weight:.9g}" for unit, weight in enumerate(last)]
    return "\n".join([*lines, f"1,0,bias,{end:.9g}"]) + "\n"


def _fit(inputs: Floats, truth: Floats) -> tuple[Floats, Floats, Floats, float]:
    generator = np.random.default_rng(1)
    hidden = generator.normal(0, 0.2, (UNITS, inputs.shape[1]))
    bias, last, end = np.zeros(UNITS), generator.normal(0, 0.2, UNITS), 0.0
    for _ in range(STEPS):
        before = inputs @ hidden.T + bias
        after = np.maximum(before, 0)
        error = (1 / (1 + np.exp(-(after @ last + end))) - truth) / len(truth)
        back = np.outer(error, last) * (before > 0)
        last, end = last - after.T @ error, end - float(error.sum())
        hidden, bias = hidden - back.T @ inputs, bias - back.sum(axis=0)
    return hidden, bias, last, end


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


def main() -> None:
    """Write every file."""
    generator = random.Random(20261122)
    for folder, names, make in (
        ("group-by", ("bank-a", "bank-b"), payments),
        ("spread", ("clinic-a", "clinic-b"), waits),
    ):
        for name in names:
            (EXAMPLES / folder / f"{name}.csv").write_text(make(generator, 200))
    (EXAMPLES / "inference" / "weights.csv").write_text(network())


if __name__ == "__main__":
    main()
