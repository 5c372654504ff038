"""The machine's folders: a root that nobody can write to, and a few small ones in memory for what comes and goes.

Spec: mount(2), pivot_root(2); Linux, Documentation/filesystems/ramfs-rootfs-initramfs.rst.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from twocvm_guest.runtime import syscalls

MS_BIND: Final = 0x1000
MS_MOVE: Final = 0x2000
_CLOSED: Final = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
# A folder of the image that is empty.
_BESIDE: Final = "/mnt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One file system: its kind, where it goes, how it is held, its own options, and the device where it has one."""

    kind: str
    target: str
    flags: int
    options: str = ""
    source: str = ""


MOUNTS: Final = (
    Mount(
        kind="devtmpfs",
        target="/dev",
        flags=syscalls.MS_NOSUID | syscalls.MS_NOEXEC,
        options="mode=0755,size=1m,nr_inodes=4096",
    ),
    Mount(kind="proc", target="/proc", flags=_CLOSED),
    Mount(kind="sysfs", target="/sys", flags=_CLOSED),
    Mount(kind="tmpfs", target="/run", flags=_CLOSED, options="size=16m,nr_inodes=1024,mode=0755"),
    Mount(kind="tmpfs", target="/tmp", flags=_CLOSED, options="size=64m,nr_inodes=4096,mode=1777"),  # noqa: S108 - a mount of its own
    Mount(kind="tmpfs", target="/dev/shm", flags=_CLOSED, options="size=64m,nr_inodes=4096,mode=1777"),  # noqa: S108 - likewise
)
"""What is mounted, in this order. Items lie in memory files, which belong to none of them."""

CONFIGFS: Final = Mount(kind="configfs", target="/sys/kernel/config", flags=_CLOSED)
"""Where the kernel makes attestation reports; there once its module is loaded."""


def close_root() -> None:
    """Turn the root that the kernel unpacked into a mount that a worker can leave, and that nothing can write to.

    The very first root of a machine cannot be exchanged (pivot_root(2)); one that lies over it can.

    Raises:
        OSError: The kernel refused.
    """
    syscalls.mount("/", _BESIDE, "none", MS_BIND, "")
    os.chdir(_BESIDE)
    syscalls.mount(".", "/", "none", MS_MOVE, "")
    os.chroot(".")
    os.chdir("/")
    syscalls.mount("none", "/", "none", syscalls.MS_REMOUNT | syscalls.MS_RDONLY, "")
    syscalls.mount(
        "none",
        "/",
        "none",
        syscalls.MS_REMOUNT | MS_BIND | syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV,
        "",
    )


def mount(wanted: Mount) -> None:
    """Mount one; its folder is there, or is made where it lies in memory.

    Raises:
        OSError: The kernel refused.
    """
    if not os.path.isdir(wanted.target):
        os.mkdir(wanted.target)
    syscalls.mount(wanted.source or wanted.kind, wanted.target, wanted.kind, wanted.flags, wanted.options)
