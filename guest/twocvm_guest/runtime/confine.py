"""How a worker shuts itself in, before it has seen a byte of any participant.

Called in this order by `worker.py`: `enter` (namespaces, identity, a root of its own), `limit`, `seal_off`. Each means
is tried by itself, and what this machine refuses is noted with its reason, never left out in silence; the supervisor
compares the notes with what it was promised and ends a worker that has less.

As root, namespaces come first and the identity is given up afterwards, so that the worker's mounts are not its own.
Without privileges the user namespace comes first and gives the right to the others.

Spec: namespaces(7), user_namespaces(7), pivot_root(2), capabilities(7), proc_pid_status(5).
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from typing import Final

from . import seccomp, syscalls
from .features import Feature
from .folders import Folders

_NAMESPACES: Final = {
    Feature.MOUNT_NAMESPACE: syscalls.CLONE_NEWNS,
    Feature.PID_NAMESPACE: syscalls.CLONE_NEWPID,
    Feature.IPC_NAMESPACE: syscalls.CLONE_NEWIPC,
    Feature.NETWORK_NAMESPACE: syscalls.CLONE_NEWNET,
    Feature.UTS_NAMESPACE: syscalls.CLONE_NEWUTS,
    Feature.CGROUP_NAMESPACE: syscalls.CLONE_NEWCGROUP,
}
# What the kernel says with errors that mean something else elsewhere (unshare(2), user_namespaces(7)).
_WORDS: Final = {
    errno.ENOSPC: "the machine's limit on namespaces (/proc/sys/user) is reached",
    errno.EPERM: "not permitted: the container or the kernel's settings forbid it",
    errno.ENOSYS: "the kernel has no such call, or it has another number here",
}
# The kernel's own bound on descriptors of one process (fs.nr_open).
_MOST_DESCRIPTORS: Final = 1 << 20


class Notes:
    """What this worker has of each feature: an empty reason where it has it, else why not."""

    def __init__(self) -> None:
        self.reasons: dict[Feature, str] = {}

    def attempt(self, feature: Feature, action: Callable[[], object]) -> bool:
        """Do it, note how it went, and return whether it went well."""
        try:
            action()
        except OSError as error:
            self.reasons[feature] = _WORDS.get(error.errno or 0, error.strerror or type(error).__name__)
            return False
        self.reasons[feature] = ""
        return True

    def has(self, feature: Feature) -> bool:
        """Whether it was tried and went well."""
        return self.reasons.get(feature) == ""


def enter(notes: Notes, *, uid: int, folders: Folders) -> int:
    """Leave the machine's namespaces and this process's identity behind; `folders` is the whole world from then on.

    Returns in a child process where a pid namespace is to be had, and in this one where not.

    Args:
        notes: Where what was reached is written.
        uid: The identity to take; of effect only as root.
        folders: What the worker's root consists of.

    Returns:
        A descriptor of this process's own `statm`, which tells nothing but how much memory it has.

    Raises:
        OSError: There is neither a mount namespace nor a scratch folder.
    """
    process = _open_process()
    if os.geteuid() == 0:
        process = _leave_namespaces(notes, process, uid, folders)
        notes.attempt(Feature.OWN_UID, lambda: _become(uid))
    else:
        notes.reasons[Feature.OWN_UID] = "the guest does not run as root"
    notes.attempt(Feature.USER_NAMESPACE, lambda: _own_user_namespace(process))
    process = _leave_namespaces(notes, process, os.geteuid(), folders)
    if not notes.has(Feature.OWN_FOLDERS):
        notes.reasons.setdefault(Feature.OWN_FOLDERS, "there is no mount namespace")
        folders.use_scratch()
    return os.open("statm", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)


def limit(notes: Notes, limits: dict[int, int]) -> None:
    """Set resource limits, by their numbers in `resource`; they can never be raised again."""

    def lower() -> None:
        for kind, most in limits.items():
            hard = resource.getrlimit(kind)[1]
            bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (bound, bound))

    notes.attempt(Feature.RESOURCE_LIMITS, lower)


def seal_off(notes: Notes, *, keep: set[int]) -> None:
    """Give up privileges, descriptors and system calls; nothing here can be undone by this process.

    Args:
        notes: Where what was reached is written.
        keep: The descriptors handed over; every other is closed, but for the three on /dev/null.
    """
    notes.attempt(Feature.NO_NEW_PRIVILEGES, lambda: syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1))
    notes.attempt(Feature.NO_CAPABILITIES, syscalls.drop_capabilities)
    notes.attempt(Feature.NOT_DUMPABLE, lambda: syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0))
    notes.attempt(Feature.DESCRIPTORS_CLOSED, lambda: close_all_but({0, 1, 2} | keep))
    notes.attempt(Feature.SYSTEM_CALL_FILTER, lambda: seccomp.install(seccomp.Stage.LOADING))


def die_with_parent() -> None:
    """Have the kernel end this process when the thread that started it ends, however that comes."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)


def end_first() -> None:
    """Have the kernel end this process, and not the supervisor, where the machine's memory comes to its end.

    Released items lie in memory that is counted to no process, so that the supervisor would look like the largest.
    It is no means of isolation: where the kernel has no such thing, the worker goes on.

    Spec: proc_pid_oom_score_adj(5).
    """
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as score:
        score.write(b"1000")


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor that is not in `keep`."""
    least = 0
    for fd in [*sorted(keep), _MOST_DESCRIPTORS]:
        # Python takes an empty range for the whole one.
        if least < fd:
            os.closerange(least, fd)
        least = fd + 1


def _open_process() -> int:
    # Reachable through the descriptor when `/proc` itself is no longer.
    return os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _leave_namespaces(notes: Notes, process: int, uid: int, folders: Folders) -> int:
    """Take every namespace that is missing; return the descriptor of this process's folder, or of the child's."""
    gained = set()
    for feature, flag in _NAMESPACES.items():
        if not notes.has(feature) and notes.attempt(feature, partial(syscalls.unshare, flag)):
            gained.add(feature)
    if Feature.PID_NAMESPACE in gained:
        _go_on_in_child(uid)
        os.close(process)
        process = _open_process()
    if Feature.MOUNT_NAMESPACE in gained:
        notes.attempt(Feature.OWN_FOLDERS, lambda: folders.mount(uid))
    return process


def _go_on_in_child(uid: int) -> None:
    """Return in the first process of the new pid namespace; this one waits for it and ends as it does."""
    child = os.fork()
    if child == 0:
        die_with_parent()
        return
    close_all_but(set())
    if os.geteuid() == 0:
        # The child notes whether it can be done; this one only waits, and had better not end before it.
        with contextlib.suppress(OSError):
            _become(uid)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(status if status >= 0 else 128 - status)


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # A change of identity clears both; the first is set again below, in `seal_off`.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    die_with_parent()


def _own_user_namespace(process: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        raise OSError(errno.EBUSY, "the identity of root could not be given up")
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("gid_map", f"{gid} {gid} 1"), ("uid_map", f"{uid} {uid} 1")):
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=process)
        os.write(fd, text.encode())
        os.close(fd)
