"""Bounds the memory of a worker as a whole: a store's own limits count each linear memory by itself.

Two limits of the kernel do it. Writable private memory (`RLIMIT_DATA`) counts exactly what linear memories, tables and
everything made on a component's behalf have been given; address space (`RLIMIT_AS`) bounds how many 4 GiB
reservations there can be.
"""

from __future__ import annotations

import os
import resource
from typing import Final, NamedTuple

# What a component may make the worker itself use: thread stacks, open files, copies of strings and buffers.
HOST_BYTES: Final = 96 << 20
# Wasmtime reserves 4 GiB and two guards of 32 MiB for each linear memory, and never moves it.
RESERVATION_BYTES: Final = (4 << 30) + (2 * 32 << 20)
MEMORIES: Final = 8

_PAGE_BYTES: Final = resource.getpagesize()


class Usage(NamedTuple):
    """What this process has now.

    Attributes:
        address_space_bytes: Everything mapped, reservations included.
        data_bytes: Writable private memory.
    """

    address_space_bytes: int
    data_bytes: int


def usage(figures: int) -> Usage:
    """Return what this process has, from its open `/proc/self/statm`."""
    pages = os.pread(figures, 256, 0).split()
    return Usage(int(pages[0]) * _PAGE_BYTES, int(pages[5]) * _PAGE_BYTES)


def bound(now: Usage, *, address_space_bytes: int, data_bytes: int) -> None:
    """Let this process have so much more than `now`, and never more."""
    for kind, most in (
        (resource.RLIMIT_AS, now.address_space_bytes + address_space_bytes),
        (resource.RLIMIT_DATA, now.data_bytes + data_bytes),
    ):
        hard = resource.getrlimit(kind)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))


def is_exhausted(before: Usage, now: Usage, *, memory_bytes: int) -> bool:
    """Return whether growth since `before` has come so close to the limit that the limit explains a failure.

    Linear memory never shrinks, so what a component was given it still has when it fails.
    """
    return now.data_bytes - before.data_bytes >= memory_bytes - max(memory_bytes // 8, 1 << 20)
