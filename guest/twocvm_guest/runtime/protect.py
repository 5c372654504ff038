"""Keeps what the guest's own process holds from leaving it by the kernel's hands, and from staying in what it frees.

Python overwrites nothing: a body, a header or a key that is let go of stays in memory until chance puts something else
there. So the guest has the C library fill every block that it is given back, and has Python take all of its memory from
there, small objects included. Both are decided when a process starts, by its environment.

Spec: mallopt(3), M_PERTURB; the GNU C Library manual, "Memory Allocation Tunables"; docs/adr/0015-wiping.md.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from . import syscalls

OVERWRITING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PYTHONMALLOC": "malloc",
        # The cache of each thread takes blocks back before they would be filled; so there is none.
        "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0",
    }
)
"""The environment of a process that overwrites what it frees."""


def keep_to_itself() -> None:
    """Let no other process trace this one or read its memory, root apart, and have no core of it dumped.

    It does not pass on to processes that this one starts; workers see to it themselves.
    """
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)


def overwrite_what_is_freed() -> None:
    """Have every block of memory overwritten when this process lets go of it.

    Begins the program anew, with the same arguments, unless it was begun so; call it before anything is done. Without
    effect where the C library is another (`can_overwrite`).
    """
    if any(os.environ.get(name) != value for name, value in OVERWRITING.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **OVERWRITING})  # noqa: S606 - this very program


def can_overwrite() -> bool:
    """Return whether this machine's C library fills what it is given back."""
    return platform.libc_ver()[0] == "glibc"
