"""Which memory files a test, and a guest in this process, has come to hold since the test began."""

from __future__ import annotations

import os
from pathlib import Path


class MemoryFiles:
    """The memory files of this process that were not there when this was made."""

    def __init__(self) -> None:
        self._before = set(_open_files())

    def names(self) -> list[str]:
        """Return the names of those that are there now, sorted."""
        return sorted(name for inode, name in _open_files().items() if inode not in self._before)


def _open_files() -> dict[int, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            link = os.readlink(entry)
            if link.startswith("/memfd:"):
                found[entry.stat().st_ino] = link.removeprefix("/memfd:").removesuffix(" (deleted)")
        except FileNotFoundError:
            continue
    return found
