"""How the guest's process uses the C library's heap: what a piece of an upload had, the next piece gets.

By its own choice glibc gives buffers of a few hundred KiB back to the kernel as soon as they are free, and the kernel
has to clear every page of them again for the next piece: a third of what receiving an item costs.
"""

from __future__ import annotations

import ctypes
from typing import Final

# malloc.h of glibc: the names are not in any Python module.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
# Far above a piece, far below an item: items lie in memory files, which are no part of the heap.
KEPT_BYTES: Final = 16 << 20
MAPPED_FROM_BYTES: Final = 4 << 20


def keep_freed_memory() -> bool:
    """Let the heap keep up to `KEPT_BYTES` that are free, for the whole process; return whether it will.

    False where the C library has no such setting; then everything works, and slower.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    settings = ((_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES), (_M_TRIM_THRESHOLD, KEPT_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
