"""Hides the times of files from a component: each is 1970-01-01 and stays it.

The time of a component's own output is a clock with nanoseconds, and no mount option hides it. So the kernel hands
every call that asks for a file's times to a thread of this worker (a seccomp listener), which makes the same call with
the same arguments and clears the times before the asking thread goes on. Only threads that the component's code runs
on, or that serve it, are under that filter. This hides a clock from WebAssembly; it is no wall against machine code.

Spec: seccomp_unotify(2); statx(2).
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Mapping
from typing import Final, NamedTuple

from . import seccomp

_NOTIFICATION_BYTES: Final = 80
_ANSWER: Final = struct.Struct("=QqiI")  # id, value, error, flags


class _Call(NamedTuple):
    """A call that tells times: which argument points at the answer, and where in it the times lie."""

    pointer: int
    times: tuple[tuple[int, int], ...]


# struct statx: stx_atime, stx_btime, stx_ctime, stx_mtime; struct stat on x86-64: st_atim, st_mtim, st_ctim.
_STATX: Final = _Call(4, ((0x40, 0x40),))
_STAT: Final = ((72, 48),)
_CALLS: Final[Mapping[str, _Call]] = {"statx": _STATX, "newfstatat": _Call(2, _STAT), "fstat": _Call(1, _STAT)}
_BY_NUMBER: Final = {seccomp.NUMBERS[name]: call for name, call in _CALLS.items()}

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def hide() -> None:
    """Hide file times from this thread and from all that it starts from now on.

    Raises:
        OSError: The kernel has no such listener, or another filter has one already.
    """
    listener: list[int] = []
    ready = threading.Event()

    def serve() -> None:
        ready.wait()
        while listener:
            _serve_one(listener[0])

    # The serving thread is started before the filter is set, so it is not under it.
    threading.Thread(target=serve, daemon=True).start()
    try:
        listener.append(seccomp.load(seccomp.notify(_CALLS), seccomp.FLAG_NEW_LISTENER))
    finally:
        ready.set()


def _serve_one(listener: int) -> None:
    notification = ctypes.create_string_buffer(_NOTIFICATION_BYTES)
    if _libc.ioctl(listener, ctypes.c_ulong(seccomp.NOTIFY_RECEIVE), notification) < 0:
        return  # The asking thread was interrupted and asks again.
    # struct seccomp_notif: id, pid, flags, then struct seccomp_data: number, architecture, address, arguments.
    identity, _, _, number, _, _, *arguments = struct.unpack("=QIIiIQ6Q", notification.raw)
    value = _libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments))
    error = -ctypes.get_errno() if value < 0 else 0
    if not error:
        call = _BY_NUMBER[number]
        for offset, length in call.times:
            ctypes.memset(arguments[call.pointer] + offset, 0, length)
    answer = ctypes.create_string_buffer(_ANSWER.pack(identity, 0, error, 0), _ANSWER.size)
    _libc.ioctl(listener, ctypes.c_ulong(seccomp.NOTIFY_ANSWER), answer)
