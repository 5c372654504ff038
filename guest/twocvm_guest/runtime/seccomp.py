"""Which system calls a worker can make: those of this list, and no other.

A call that is not listed is answered with EPERM, so that an optional call of some library degrades instead of ending
a run; what the caller gets is the same, nothing. There are two stages. `LOADING` may map executable memory, which
putting compiled code in place needs; `RUNNING`, which is set before any instruction of a component runs, may not, and
it may not pass descriptors either. A filter cannot be taken away again, only made narrower.

The program is assembled here rather than by a library; `docs/adr/0010-system-call-filter.md` says why.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import platform
import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from . import syscalls

# linux/seccomp.h
SET_MODE_FILTER: Final = 1
FLAG_TSYNC: Final = 1 << 0
FLAG_NEW_LISTENER: Final = 1 << 3
ALLOW: Final = 0x7FFF_0000
USER_NOTIFY: Final = 0x7FC0_0000
NOTIFY_RECEIVE: Final = 0xC050_2100  # _IOWR('!', 0, struct seccomp_notif)
NOTIFY_ANSWER: Final = 0xC018_2101  # _IOWR('!', 1, struct seccomp_notif_resp)
_ERRNO: Final = 0x0005_0000
_KILL_PROCESS: Final = 0x8000_0000

# linux/audit.h; a process of another architecture (32-bit calls on a 64-bit kernel) is not ours at all.
_AUDIT_ARCH_X86_64: Final = 0xC000_003E

# linux/bpf_common.h: load a word of seccomp_data, compare, mask, end.
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER_OFFSET, _ARCH_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16

# asm/unistd_64.h: calls and their numbers.
_TABLE: Final = """
    read 0, write 1, close 3, fstat 5, poll 7, lseek 8, mmap 9, mprotect 10, munmap 11, brk 12, rt_sigaction 13,
    rt_sigprocmask 14, rt_sigreturn 15, ioctl 16, pread64 17, pwrite64 18, readv 19, writev 20, sched_yield 24,
    mremap 25, madvise 28, nanosleep 35, getpid 39, sendmsg 46, clone 56, exit 60, fcntl 72, fsync 74,
    fdatasync 75, ftruncate 77, sigaltstack 131, prctl 157, gettid 186, futex 202, sched_getaffinity 204,
    getdents64 217, restart_syscall 219, fadvise64 221, clock_gettime 228, clock_getres 229,
    clock_nanosleep 230, exit_group 231, epoll_wait 232, epoll_ctl 233, openat 257, mkdirat 258, newfstatat 262,
    unlinkat 263, renameat 264, readlinkat 267, ppoll 271, set_robust_list 273, utimensat 280, epoll_pwait 281,
    fallocate 285, eventfd2 290, epoll_create1 291, preadv 295, pwritev 296, prlimit64 302, renameat2 316,
    seccomp 317, getrandom 318, membarrier 324, statx 332, rseq 334, clone3 435, openat2 437
"""
NUMBERS: Final[Mapping[str, int]] = {name: int(number) for name, number in map(str.split, _TABLE.split(","))}

_THREAD: Final = 0x0001_0000  # CLONE_THREAD
_ANY_NAMESPACE: Final = 0x7E02_0000  # every CLONE_NEW*
_PROT_EXEC: Final = 0x4
_MAP_SHARED: Final = 0x1  # also a bit of MAP_SHARED_VALIDATE
_PR_SET_NAME, _PR_SET_VMA = 15, 0x5356_4D41


class Stage(enum.Enum):
    """How far a worker has come."""

    LOADING = "loading"
    RUNNING = "running"


class Rule(NamedTuple):
    """What one argument of a call must be; `values` empty means any.

    Attributes:
        argument: Which, from 0; its low 32 bits are looked at.
        values: It must equal one of these.
        forbidden: None of these bits may be set.
        required: At least one of these bits must be set; 0 for none.
    """

    argument: int
    values: tuple[int, ...] = ()
    forbidden: int = 0
    required: int = 0


# Memory, threads, time, and files below the two directories that the worker's root consists of.
_FREE: Final = (
    *("futex", "read", "write", "pread64", "pwrite64", "munmap", "madvise", "close", "lseek", "brk", "mremap"),
    *("readv", "writev", "preadv", "pwritev", "ftruncate", "fallocate", "fsync", "fdatasync", "fadvise64"),
    *("openat", "openat2", "fstat", "newfstatat", "statx", "getdents64", "mkdirat", "unlinkat", "renameat"),
    *("renameat2", "readlinkat", "utimensat", "poll", "ppoll", "epoll_wait", "epoll_pwait", "epoll_ctl"),
    *("epoll_create1", "eventfd2", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "sched_yield", "sched_getaffinity"),
    *("getpid", "gettid", "getrandom", "membarrier", "rseq", "set_robust_list", "exit", "exit_group"),
)
_BOTH: Final[Mapping[str, Rule]] = {
    "clone": Rule(0, forbidden=_ANY_NAMESPACE, required=_THREAD),
    # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC
    "fcntl": Rule(1, values=(0, 1, 2, 3, 4, 1030)),
    "ioctl": Rule(1, values=(NOTIFY_RECEIVE, NOTIFY_ANSWER)),
    "prctl": Rule(0, values=(_PR_SET_NAME, _PR_SET_VMA)),
}
_STAGES: Final[Mapping[Stage, Mapping[str, Rule]]] = {
    # Setting the next filter, telling the supervisor where the outputs are, and lowering this process's own limits.
    Stage.LOADING: {
        "mmap": Rule(3, forbidden=_MAP_SHARED),
        "mprotect": Rule(0),
        "seccomp": Rule(0),
        "sendmsg": Rule(0),
        "prlimit64": Rule(0, values=(0,)),
    },
    # The listener for file times is one more filter. What LOADING forbids stays forbidden.
    Stage.RUNNING: {
        "mmap": Rule(2, forbidden=_PROT_EXEC),
        "mprotect": Rule(2, forbidden=_PROT_EXEC),
        "seccomp": Rule(1, values=(FLAG_NEW_LISTENER,)),
    },
}


class _Program(ctypes.Structure):
    """A program as the kernel takes it: struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install(stage: Stage) -> None:
    """Narrow every thread of this process to the calls of `stage`; needs no privilege once PR_SET_NO_NEW_PRIVS is set.

    Raises:
        OSError: The kernel has no filters, or this machine's calls have other numbers than those here.
    """
    load(allow_list(stage), FLAG_TSYNC)


def load(program: bytes, flags: int) -> int:
    """Set an assembled filter; return the listener where `flags` asks for one.

    Raises:
        OSError: As `install`.
    """
    if platform.machine() != "x86_64":
        raise OSError(errno.ENOTSUP, f"filters are written for x86_64, and this machine is {platform.machine()}")
    count = len(program) // 8
    return syscalls.seccomp(SET_MODE_FILTER, flags, _Program(count, program))


def allow_list(stage: Stage) -> bytes:
    """Return the assembled filter of a stage."""
    body = [word for name in _FREE for word in _on(NUMBERS[name], [_end(ALLOW)])]
    for name, rule in {**_BOTH, **_STAGES[stage]}.items():
        body += _on(NUMBERS[name], list(_ruled(rule)))
    # The C library falls back to `clone`, whose flags can be looked at, only when told that there is no such call.
    body += _on(NUMBERS["clone3"], [_end(_ERRNO | errno.ENOSYS)])
    return b"".join([*_prologue(), *body, _end(_ERRNO | errno.EPERM)])


def notify(names: Iterable[str]) -> bytes:
    """Return a filter that hands these calls to a listener and decides nothing about the others."""
    body = [word for name in names for word in _on(NUMBERS[name], [_end(USER_NOTIFY)])]
    return b"".join([*_prologue(), *body, _end(ALLOW)])


def _prologue() -> list[bytes]:
    return [
        _word(_LOAD, _ARCH_OFFSET),
        _word(_IF_EQUAL, _AUDIT_ARCH_X86_64, skip_if=1),
        _end(_KILL_PROCESS),
        _word(_LOAD, _NUMBER_OFFSET),
    ]


def _on(number: int, then: list[bytes]) -> list[bytes]:
    return [_word(_IF_EQUAL, number, skip_else=len(then)), *then]


def _ruled(rule: Rule) -> Iterable[bytes]:
    yield _word(_LOAD, _ARGUMENTS_OFFSET + 8 * rule.argument)
    if rule.forbidden:
        yield _word(_IF_ANY_BIT, rule.forbidden, skip_else=1)
        yield _end(_ERRNO | errno.EPERM)
    if rule.required:
        yield _word(_IF_ANY_BIT, rule.required, skip_if=1)
        yield _end(_ERRNO | errno.EPERM)
    for value in rule.values:
        yield _word(_IF_EQUAL, value, skip_else=1)
        yield _end(ALLOW)
    yield _end(_ERRNO | errno.EPERM if rule.values else ALLOW)


def _end(action: int) -> bytes:
    return _word(_RETURN, action)


def _word(code: int, value: int, *, skip_if: int = 0, skip_else: int = 0) -> bytes:
    """Return one struct sock_filter: what to do, how many words to skip if so and if not, the operand."""
    return struct.pack("=HBBI", code, skip_if, skip_else, value)
