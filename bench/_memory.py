"""Measure what a tree of processes holds in memory, from /proc: the sum of PSS, which counts a shared page once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

PROC = Path("/proc")
PAGE_KIB = 4
INTERVAL_SECONDS = 0.02


def descendants(root: int) -> Iterator[int]:
    """The processes below `root`, without itself."""
    children: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (parent := _parent(folder)) is not None:
            children.setdefault(parent, []).append(int(folder.name))
    waiting = list(children.get(root, ()))
    while waiting:
        process = waiting.pop()
        yield process
        waiting += children.get(process, ())


def held_kib(process: int) -> int:
    """What one process holds: its PSS, or its RSS, which is never less, where the kernel does not show the PSS."""
    folder = PROC / str(process)
    try:
        for line in (folder / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
        return 0
    except PermissionError:
        return int((folder / "statm").read_text().split()[1]) * PAGE_KIB
    except (FileNotFoundError, ProcessLookupError):
        return 0  # It ended meanwhile.


class PeakMemory:
    """Samples the processes below one while the `with` block runs; `peak_kib` is the largest sum seen."""

    def __init__(self, root: int) -> None:
        self.peak_kib = 0
        self.samples = 0
        self._root = root
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(INTERVAL_SECONDS):
            self.peak_kib = max(self.peak_kib, sum(held_kib(process) for process in descendants(self._root)))
            self.samples += 1


def _parent(folder: Path) -> int | None:
    try:
        # The name in parentheses may hold spaces and parentheses; the fields after it do not.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
