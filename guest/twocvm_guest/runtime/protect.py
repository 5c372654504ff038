"""Keeps what the guest's own process holds from leaving it by the kernel's hands.

>>> keep_to_itself()
"""

from __future__ import annotations

import resource

from . import syscalls


def keep_to_itself() -> None:
    """Leave no core dump of this process, and let no other process trace it or read its memory, root apart.

    A process that it starts has this from the beginning only as far as core dumps go: workers see to the rest.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
