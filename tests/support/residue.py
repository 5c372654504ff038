"""Looks for bytes in another process's memory: in everything that it has mapped, whatever it is used for.

    found = residue(guest.pid, secret)          # where each copy lies: "[heap]+0x1f00", empty where there is none

Only root may look into a guest, which keeps everybody else out; `skip_unless_root` says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

_PIECE_BYTES: Final = 1 << 24
# Neither can hold a secret, and the kernel lets nobody read them.
_UNREADABLE: Final = ("[vvar]", "[vvar_vclock]", "[vsyscall]")


class Region(NamedTuple):
    """One mapping of a process."""

    start: int
    end: int
    name: str


def skip_unless_root() -> None:
    """Skip, visibly, where a guest's memory cannot be read."""
    if os.geteuid() != 0:
        pytest.skip("only root may read a guest's memory")


def regions(process: int) -> Iterator[Region]:
    """Every readable mapping of a process."""
    for line in Path(f"/proc/{process}/maps").read_text().splitlines():
        span, rights, _, _, _, *name = line.split(maxsplit=5)
        start, end = (int(edge, 16) for edge in span.split("-"))
        if "r" in rights and name not in [[each] for each in _UNREADABLE]:
            yield Region(start, end, name[0] if name else "anonymous")


def residue(process: int, *secrets: bytes) -> list[str]:
    """Return where any of `secrets` lies in the memory of a process."""
    pattern = re.compile(b"|".join(re.escape(secret) for secret in secrets))
    overlap = max(len(secret) for secret in secrets)
    found = []
    with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
        for region in regions(process):
            for position in range(region.start, region.end, _PIECE_BYTES):
                length = min(_PIECE_BYTES + overlap, region.end - position)
                try:
                    piece = os.pread(memory.fileno(), length, position)
                except OSError:
                    continue  # Mapped and not backed: guard pages, and what was unmapped meanwhile.
                offset = position - region.start
                found += [f"{region.name}+{offset + hit.start():#x}" for hit in pattern.finditer(piece)]
    return found
