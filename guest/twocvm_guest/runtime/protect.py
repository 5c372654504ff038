"""Keeps what the guest's own process holds from leaving it by the kernel's hands."""

from __future__ import annotations

from . import syscalls


def keep_to_itself() -> None:
    """Let no other process trace this one or read its memory, root apart, and have no core of it dumped.

    It does not pass on to processes that this one starts; workers see to it themselves.
    """
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
