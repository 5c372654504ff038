"""This process's children: what they are started with, and what the kernel says about them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path


def descendants(of: int | None = None) -> list[int]:
    """The processes that this one (or `of`) started, directly or not, oldest first; zombies do not count.

    Nor does the one that Python itself keeps, to its own end, once a test has started processes by its library.
    """
    pythons_own = str(getattr(resource_tracker, "_resource_tracker")._pid)  # noqa: B009 - it has no public name
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and folder.name != pythons_own:
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                parents[int(folder.name)] = int(parent)
    found = [of or os.getpid()]
    for process in found:
        found += sorted(child for child, parent in parents.items() if parent == process)
    return found[1:]


def uncounted() -> dict[str, str]:
    """This process's environment for one that will be killed: it could not say which lines it ran, so counts none."""
    return {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}


def wait_until(condition: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Return once the condition holds; `TimeoutError` where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not come about")
        time.sleep(0.01)


def status(process: int) -> dict[str, str]:
    """The lines of `/proc/PID/status`."""
    lines = (line.partition(":") for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}


def limits(process: int) -> dict[str, str]:
    """The soft limits of `/proc/PID/limits`, by name."""
    lines = Path(f"/proc/{process}/limits").read_text().splitlines()[1:]
    return {line[:26].strip(): line[26:].split()[0] for line in lines}


def descriptors(process: int) -> dict[int, str]:
    """What each descriptor of a process is."""
    folder = Path(f"/proc/{process}/fd")
    return {int(entry.name): str(entry.readlink()) for entry in folder.iterdir()}


def proportional_kilobytes(process: int) -> int:
    """The process's share of memory: its PSS in kB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def memory_kilobytes(process: int) -> int:
    """What a process has mapped, in kB; 0 when it has ended, collected or not."""
    try:
        return int(status(process).get("VmSize", "0 kB").split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0
