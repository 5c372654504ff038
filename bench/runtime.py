"""The runtime: what a node costs, what its walls cost beside the bare engine, and how much memory a worker holds."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from bench.ratio import Ratio, seconds
from tests.support import processes
from tests.support.actor import COMPONENTS, MEBIBYTE, Stage, isolation, item, script, staged
from tests.support.actor import run as run_stage
from tests.support.bare_component import BareComponent

from twocvm_guest.runtime.items import Item
from twocvm_guest.runtime.supervisor import Runtime

ROUNDS = 7
BULK_ROUNDS = 3
BULK_BYTES = 128 * MEBIBYTE
MOST_SECONDS_A_NODE = 0.5
LEAST_OF_BARE = 0.5
MOST_MIB_A_WORKER = 64.0
SHARED_MEMORY = "/dev/shm"

COPY = "copy /in/bulk/data /out/copied/data"


def run() -> Iterator[Ratio]:
    """Measure all three."""
    isolation()
    alone = median(_seconds_without_admission(Stage(inputs=script("list /in"))) for _ in range(ROUNDS))
    yield Ratio(name="one node, from its inputs to its sealed output [s]", value=alone, at_most=MOST_SECONDS_A_NODE)
    yield _copying()
    yield Ratio(name="one worker, PSS of its processes [MiB]", value=_worker_mib(), at_most=MOST_MIB_A_WORKER)


def _copying() -> Ratio:
    """A component that copies a file, carried in and out, against the bare engine on plain folders."""
    inputs = script(COPY) | {"bulk": bytes(BULK_BYTES)}
    stage = Stage(inputs=inputs, ports={"report": 1000, "copied": BULK_BYTES}, wall_seconds=60)
    bare = BareComponent(COMPONENTS / "actor.wasm")
    ratios = []
    for _ in range(BULK_ROUNDS):
        with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
            plain = seconds(partial(bare.run, Path(folder), inputs, ["report", "copied"]))
        ratios.append(plain / _seconds_without_admission(stage))
    return Ratio(
        name="a file through one node / through the bare engine",
        value=median(ratios),
        at_least=LEAST_OF_BARE,
        detail=f"{BULK_BYTES // MEBIBYTE} MiB, start included",
    )


def _seconds_without_admission(stage: Stage) -> float:
    """Seconds from the inputs being there to the sealed outputs."""
    runtime = staged(stage)
    inputs = {f"item-{port}": item(port, content) for port, content in stage.inputs.items()}
    took = seconds(lambda: _complete(runtime, inputs))
    runtime.wipe()
    for each in inputs.values():
        each.close()
    return took


def _complete(runtime: Runtime, inputs: dict[str, Item]) -> None:
    result = runtime.run(inputs)
    if not result.completed:
        raise RuntimeError(dict(result.failures))
    for output in result.outputs.values():
        output.close()


def _worker_mib() -> float:
    """What all processes of a worker that is computing hold."""
    stage = Stage(inputs=script("loop"), wall_seconds=20)
    runtime = staged(stage)
    thread = threading.Thread(target=run_stage, args=(runtime, stage))
    thread.start()
    held = 0.0
    for _ in range(20):
        threading.Event().wait(0.05)
        held = max(held, sum(processes.proportional_kilobytes(each) for each in processes.descendants()) / 1024)
    runtime.wipe()
    thread.join()
    return held
