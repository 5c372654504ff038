"""The system calls that Python has no name for, as thin as they can be.

Each raises `OSError` as the calls of `os` do and decides nothing. Constants are the kernel's own names from its user
headers (`linux/sched.h`, `linux/mount.h`, `linux/prctl.h`, `linux/capability.h`, `linux/openat2.h`,
`linux/seccomp.h`); they are the same on every architecture, numbers of calls are not.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import Final

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWCGROUP: Final = 0x0200_0000
CLONE_NEWUTS: Final = 0x0400_0000
CLONE_NEWIPC: Final = 0x0800_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000

MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_REMOUNT: Final = 0x20
MS_NOATIME: Final = 0x400
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x4_0000
MNT_DETACH: Final = 0x2

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

MAP_FIXED: Final = 0x10
MAP_NORESERVE: Final = 0x4000

RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08

_LINUX_CAPABILITY_VERSION_3: Final = 0x2008_0522

# Numbers of the calls that the C library has no function for. From 424 on all architectures share them.
_SYS_OPENAT2: Final = 437
_SYS_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_SYS_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mmap.restype = ctypes.c_ssize_t


def unshare(flags: int) -> None:
    """Give this process namespaces of its own; for the pid namespace, its next child."""
    _call(_libc.unshare, ctypes.c_int(flags))


def mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    """Mount `kind` at `target`, or change the mount that is there."""
    _call(_libc.mount, source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())


def unmount(target: str, flags: int) -> None:
    """Take the mount at `target` away."""
    _call(_libc.umount2, target.encode(), ctypes.c_int(flags))


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root of this mount namespace and put the old one at `old`."""
    _call(_libc.syscall, ctypes.c_long(_number(_SYS_PIVOT_ROOT)), new.encode(), old.encode())


def prctl(option: int, value: int = 0, extra: int = 0) -> int:
    """Set something of this process or thread."""
    arguments = (ctypes.c_ulong(each) for each in (value, extra, 0, 0))
    return _call(_libc.prctl, ctypes.c_int(option), *arguments)


def drop_capabilities() -> None:
    """Empty this process's ambient, bounding, effective, permitted and inheritable sets.

    The bounding set is emptied only by a process that may; one that may not has nothing in it that it could use.
    """
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # EPERM: may not; EINVAL: the kernel has no further capabilities.
            break
    header = struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    _call(_libc.capset, header, bytes(24))


def openat2(directory: int, path: str, *, flags: int, resolve: int) -> int:
    """Open `path` below the directory; the kernel refuses whatever `resolve` forbids on the way."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    return _call(
        _libc.syscall,
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(directory),
        path.encode(),
        how,
        ctypes.c_size_t(len(how)),
    )


def map_memory(address: int, size_bytes: int, *, protection: int, flags: int, descriptor: int = -1) -> int:
    """Map memory, from a file where `descriptor` is one, and return its address."""
    return _call(
        _libc.mmap,
        ctypes.c_void_p(address),
        ctypes.c_size_t(size_bytes),
        ctypes.c_int(protection),
        ctypes.c_int(flags),
        ctypes.c_int(descriptor),
        ctypes.c_long(0),
    )


def protect_memory(address: int, size_bytes: int, protection: int) -> None:
    """Change what may be done with mapped memory."""
    _call(_libc.mprotect, ctypes.c_void_p(address), ctypes.c_size_t(size_bytes), ctypes.c_int(protection))


def seccomp(operation: int, flags: int, argument: ctypes.Structure) -> int:
    """Set a filter on this thread's system calls, or on all threads' where `flags` says so."""
    number = ctypes.c_long(_number(_SYS_SECCOMP))
    return _call(_libc.syscall, number, ctypes.c_uint(operation), ctypes.c_uint(flags), ctypes.byref(argument))


def _number(numbers: dict[str, int]) -> int:
    machine = platform.machine()
    if machine not in numbers:
        raise OSError(38, f"no system call numbers for {machine}")
    return numbers[machine]


def _call(function: object, *arguments: object) -> int:
    result: int = function(*arguments)  # type: ignore[operator]  # a foreign function has no type of its own
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
