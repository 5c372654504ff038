"""A component that runs without end in a real worker, for tests of what befalls it meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import processes
from tests.support.actor import Ran, Stage, isolation, run, script, staged

from twocvm_guest.runtime.supervisor import Runtime


@contextmanager
def running(**options: object) -> Iterator[tuple[Runtime, list[Ran], list[int]]]:
    """A component that loops: its runtime, where its result will be, and its processes (the waiting one first)."""
    stage = Stage(inputs=script("loop"), **options)  # type: ignore[arg-type]
    runtime = staged(stage)
    results: list[Ran] = []
    thread = threading.Thread(target=lambda: results.append(run(runtime, stage)), daemon=True)
    thread.start()
    expected = 2 if "pid-namespace" in isolation().promised else 1
    # Where the component itself runs, the last filter is set and processor time is spent.
    processes.wait_until(
        lambda: len(processes.descendants()) == expected and seconds_used(processes.descendants()[-1]) > 0.3
    )
    try:
        yield runtime, results, processes.descendants()
    finally:
        runtime.wipe()
        thread.join(timeout=20)
        assert not thread.is_alive()


def seconds_used(worker: int) -> float:
    """The processor time that a process has used; 0 when it has ended."""
    try:
        fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")
