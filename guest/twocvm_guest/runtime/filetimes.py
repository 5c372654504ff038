"""Hides from a component what files tell of the machine: times, which are 1970-01-01 and stay it, and devices.

The time of a component's own output is a clock with nanoseconds, and no mount option hides it. The number of its device
counts the machine's mounts, so it tells who else runs, and the identities that WASI gives to files are made of it. So
the kernel hands every call that asks for either to a thread of this worker (a seccomp listener). It makes the same call
with the same arguments, clears the times, and numbers devices in the order in which the component came across them,
before the asking thread goes on. Only threads that the component's code runs on, or that serve it, are under that
filter. This hides a clock from WebAssembly; it is no wall against machine code.

Spec: seccomp_unotify(2); statx(2).
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Mapping
from typing import Final, NamedTuple

from . import seccomp

_NOTIFICATION_BYTES: Final = 80
_ANSWER: Final = struct.Struct("=QqiI")  # id, value, error, flags


class _Call(NamedTuple):
    """A call that tells times: which argument points at the answer, and where in it times and device lie."""

    pointer: int
    times: int
    times_bytes: int
    device: int
    is_split: bool


# struct statx: stx_atime, stx_btime, stx_ctime, stx_mtime, and stx_dev_major before stx_dev_minor; struct stat on
# x86-64: st_atim, st_mtim, st_ctim, and st_dev.
_CALLS: Final[Mapping[str, _Call]] = {
    "statx": _Call(4, 0x40, 0x40, 0x88, is_split=True),
    "newfstatat": _Call(2, 72, 48, 0, is_split=False),
    "fstat": _Call(1, 72, 48, 0, is_split=False),
}
_DEVICE: Final = struct.Struct("=Q")
_SPLIT_DEVICE: Final = struct.Struct("=II")
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
    devices: dict[int, int] = {}

    def serve() -> None:
        ready.wait()
        while listener:
            _serve_one(listener[0], devices)

    # The serving thread is started before the filter is set, so it is not under it.
    threading.Thread(target=serve, daemon=True).start()
    try:
        listener.append(seccomp.load(seccomp.notify(_CALLS), seccomp.FLAG_NEW_LISTENER))
    finally:
        ready.set()


def _serve_one(listener: int, devices: dict[int, int]) -> None:
    notification = ctypes.create_string_buffer(_NOTIFICATION_BYTES)
    if _libc.ioctl(listener, ctypes.c_ulong(seccomp.NOTIFY_RECEIVE), notification) < 0:
        return  # The asking thread was interrupted and asks again.
    # struct seccomp_notif: id, pid, flags, then struct seccomp_data: number, architecture, address, arguments.
    identity, _, _, number, _, _, *arguments = struct.unpack("=QIIiIQ6Q", notification.raw)
    value = _libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments))
    error = -ctypes.get_errno() if value < 0 else 0
    if not error:
        call = _BY_NUMBER[number]
        ctypes.memset(arguments[call.pointer] + call.times, 0, call.times_bytes)
        _renumber(arguments[call.pointer] + call.device, devices, is_split=call.is_split)
    answer = ctypes.create_string_buffer(_ANSWER.pack(identity, 0, error, 0), _ANSWER.size)
    _libc.ioctl(listener, ctypes.c_ulong(seccomp.NOTIFY_ANSWER), answer)


def _renumber(address: int, devices: dict[int, int], *, is_split: bool) -> None:
    """Put a number of our own in place of a device's; `devices` knows those that were seen before."""
    field = (ctypes.c_char * _DEVICE.size).from_address(address)
    if is_split:
        device = os.makedev(*_SPLIT_DEVICE.unpack(field.raw))
    else:
        (device,) = _DEVICE.unpack(field.raw)
    own = devices.setdefault(device, len(devices) + 1)
    field.raw = _SPLIT_DEVICE.pack(0, own) if is_split else _DEVICE.pack(own)
