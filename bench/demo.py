"""The whole demo: how long it takes, and what guest and workers hold together at most."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench._memory import PeakMemory
from bench.ratio import Ratio, seconds
from rich.console import Console

from twocvm_guest.demo.cast import CAST
from twocvm_guest.demo.run import run_demo
from twocvm_guest.demo.show import Show

MOST_SECONDS = 20.0
MOST_MIB = 400.0
KIB_PER_MIB = 1024


def run() -> Iterator[Ratio]:
    """Run the demo once, as `make demo` does, and measure every process that it starts."""
    show = Show(Console(file=io.StringIO()), names=tuple(role.name for role in CAST))
    with tempfile.TemporaryDirectory() as folder, PeakMemory(os.getpid()) as memory:
        duration = seconds(lambda: run_demo(Path(folder), show))
    yield Ratio(name="demo, from the first key to the guest's end [s]", value=duration, at_most=MOST_SECONDS)
    yield Ratio(
        name="demo, PSS of guest and workers together, peak [MiB]",
        value=memory.peak_kib / KIB_PER_MIB,
        at_most=MOST_MIB,
        detail=f"{memory.samples} samples",
    )
