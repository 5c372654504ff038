"""The runtime: what starting a node costs, how fast its files are, and how much memory a worker holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from statistics import median

from bench.ratio import Ratio, seconds
from tests.support import processes
from tests.support.actor import MEBIBYTE, Stage, isolation, item, script, staged
from tests.support.actor import run as run_stage

from twocvm_guest.runtime.supervisor import Runtime

ROUNDS = 7
BULK_BYTES = 256 * MEBIBYTE
MOST_SECONDS_A_NODE = 0.5
MOST_MIB_A_WORKER = 64.0
LEAST_GIGABYTES_A_SECOND = 0.25


def run_once(stage: Stage) -> float:
    """Seconds from the inputs being there to the sealed outputs, without admission."""
    runtime = staged(stage)
    inputs = {f"item-{port}": item(port, content) for port, content in stage.inputs.items()}
    took = seconds(lambda: _completed(runtime, inputs))
    runtime.wipe()
    for each in inputs.values():
        each.close()
    return took


def worker_mib() -> float:
    """What all processes of a worker that is computing hold."""
    stage = Stage(inputs=script("loop"), wall_seconds=20)
    runtime = staged(stage)
    thread = threading.Thread(target=run_stage, args=(runtime, stage))
    thread.start()
    held = 0.0
    for _ in range(20):
        threading.Event().wait(0.05)
        workers = processes.descendants()
        held = max(held, sum(processes.proportional_kilobytes(each) for each in workers) / 1024)
    runtime.wipe()
    thread.join()
    return held


def run() -> Iterator[Ratio]:
    """Measure all three."""
    isolation()
    plain = Stage(inputs=script("list /in"))
    alone = median(run_once(plain) for _ in range(ROUNDS))
    yield Ratio(name="one node, from its inputs to its sealed output [s]", value=alone, at_most=MOST_SECONDS_A_NODE)
    bulk = Stage(
        inputs=script("copy /in/bulk/data /out/copied/data") | {"bulk": bytes(BULK_BYTES)},
        ports={"report": 1000, "copied": BULK_BYTES},
        wall_seconds=60,
    )
    took = median(run_once(bulk) for _ in range(3)) - alone
    yield Ratio(
        name="file through one node: in, read, written, out [GB/s]",
        value=BULK_BYTES / took / 1e9,
        at_least=LEAST_GIGABYTES_A_SECOND,
        detail=f"{BULK_BYTES // MEBIBYTE} MiB",
    )
    yield Ratio(name="one worker, PSS of its processes [MiB]", value=worker_mib(), at_most=MOST_MIB_A_WORKER)


def _completed(runtime: Runtime, inputs: dict) -> None:
    result = runtime.run(inputs)
    if not result.completed:
        raise RuntimeError(dict(result.failures))
    for output in result.outputs.values():
        output.close()
