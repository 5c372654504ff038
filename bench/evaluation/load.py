"""How busy the machine is with anything but the evaluation: what it did in all, less what we and our children did."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
# Of the line `cpu` in /proc/stat: user nice system idle iowait irq softirq steal (proc(5)).
_BUSY_FIELDS: Final = (0, 1, 2, 5, 6, 7)
# Of /proc/PID/stat behind the name, which may have spaces: parent, then user, system, and those of waited-for children.
_PARENT, _FIRST_TIME, _TIMES = 1, 11, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Seconds of processor time up to now: of the whole machine, stolen ones included, and of ours."""

    at: float
    machine: float
    ours: float


def moment() -> Moment:
    """Look now."""
    return Moment(at=time.monotonic(), machine=_machine_seconds(), ours=_our_seconds())


def others(before: Moment, after: Moment) -> float:
    """Return how many cores something else kept busy between two moments."""
    elapsed = after.at - before.at
    busy = (after.machine - before.machine) - (after.ours - before.ours)
    return max(0.0, busy / elapsed) if elapsed > 0 else 0.0


def averages() -> tuple[float, float, float]:
    """Return the system's load averages over 1, 5 and 15 minutes."""
    return os.getloadavg()


def _machine_seconds() -> float:
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    return sum(int(fields[number]) for number in _BUSY_FIELDS) / _TICKS


def _our_seconds() -> float:
    mine = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = mine.ru_utime + mine.ru_stime + ended.ru_utime + ended.ru_stime
    return own + sum(_descendants_seconds())


def _descendants_seconds() -> Iterator[float]:
    """Yield what each living descendant has used, with those of its children that it waited for."""
    found: dict[int, list[tuple[int, float]]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        used = sum(int(each) for each in fields[_FIRST_TIME : _FIRST_TIME + _TIMES]) / _TICKS
        found.setdefault(int(fields[_PARENT]), []).append((int(folder.name), used))
    waiting = [os.getpid()]
    while waiting:
        for process, used in found.get(waiting.pop(), ()):
            yield used
            waiting.append(process)
