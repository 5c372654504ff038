"""The kernel once it runs: the modules that the image brings, then the settings that hold for the machine's whole life.

Spec: Linux, Documentation/admin-guide/sysctl; init_module(2); reboot(2); capabilities(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from twocvm_guest.runtime import syscalls

MODULES: Final = Path("/usr/lib/modules")
ORDER: Final = "order"
SYSCTLS: Final = Path("/proc/sys")
_SYS_FINIT_MODULE: Final = 313  # x86_64
_POWER_OFF: Final = 0x4321_FEDC

SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "kernel/modprobe": "",
        "kernel/kexec_load_disabled": "1",
        "kernel/core_pattern": "|/none",
        "kernel/dmesg_restrict": "1",
        "kernel/io_uring_disabled": "2",
        "kernel/kptr_restrict": "2",
        "kernel/perf_event_paranoid": "3",
        "kernel/randomize_va_space": "2",
        "kernel/sysrq": "0",
        "kernel/unprivileged_bpf_disabled": "1",
        "kernel/yama/ptrace_scope": "3",
        "dev/tty/ldisc_autoload": "0",
        "fs/protected_fifos": "2",
        "fs/protected_hardlinks": "1",
        "fs/protected_regular": "2",
        "fs/protected_symlinks": "1",
        "fs/suid_dumpable": "0",
        "vm/mmap_min_addr": "65536",
        "vm/unprivileged_userfaultfd": "0",
        "net/core/bpf_jit_harden": "2",
        "net/ipv4/ip_forward": "0",
        "net/ipv4/icmp_echo_ignore_all": "1",
        # ICMP is dropped; TCP finds out by itself how large a packet may be.
        "net/ipv4/tcp_mtu_probing": "1",
        "net/ipv4/tcp_syncookies": "1",
        "net/ipv4/conf/all/accept_redirects": "0",
        "net/ipv4/conf/default/accept_redirects": "0",
        "net/ipv4/conf/all/secure_redirects": "0",
        "net/ipv4/conf/all/send_redirects": "0",
        "net/ipv4/conf/all/accept_source_route": "0",
        "net/ipv4/conf/all/arp_announce": "2",
        "net/ipv4/conf/all/arp_ignore": "1",
        "net/ipv4/conf/all/rp_filter": "1",
        # From here on no module is loaded. Last, and for good.
        "kernel/modules_disabled": "1",
    }
)
"""What is set, in this order; a setting that the kernel does not have ends the machine."""

# What the agent needs to keep its workers apart (`runtime/confine.py`), by the kernel's numbers.
KEPT_CAPABILITIES: Final = frozenset(
    {
        0,  # CHOWN
        1,  # DAC_OVERRIDE
        3,  # FOWNER
        5,  # KILL
        6,  # SETGID
        7,  # SETUID
        8,  # SETPCAP
        14,  # IPC_LOCK
        18,  # SYS_CHROOT
        21,  # SYS_ADMIN
        24,  # SYS_RESOURCE
    }
)
_CAPABILITIES: Final = 64
_CAPABILITY_VERSION_3: Final = 0x2008_0522

_libc: Final = ctypes.CDLL(None, use_errno=True)


def load_modules(folder: Path = MODULES, *, order: str = ORDER) -> tuple[str, ...]:
    """Load what a list of the image names, in its order; return the names of those whose device this machine has not.

    Args:
        folder: Where modules and lists are.
        order: The list. What another one loaded before is passed over.

    Raises:
        OSError: The kernel refused one for another reason.
    """
    idle = []
    for name in (folder / order).read_text().split():
        try:
            load_module(folder / name)
        except OSError as error:
            if error.errno == errno.ENODEV:
                idle.append(name)
            elif error.errno != errno.EEXIST:
                raise
    return tuple(idle)


def load_module(file: Path) -> None:
    """Load one module.

    Raises:
        OSError: The kernel refused: it is not signed, say, or no module is loaded any more.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        result = _libc.syscall(ctypes.c_long(_SYS_FINIT_MODULE), ctypes.c_int(descriptor), b"", ctypes.c_int(0))
    finally:
        os.close(descriptor)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"module {file.name}: {os.strerror(number)}")


def settle(folder: Path = SYSCTLS) -> None:
    """Make every setting.

    Raises:
        OSError: One is not there, or was refused.
    """
    for name, value in SETTINGS.items():
        (folder / name).write_text(f"{value}\n")


def give_up_capabilities() -> None:
    """Take from this process, and from all that it starts, what the agent does not need; it cannot be had back.

    Raises:
        OSError: The kernel refused.
    """
    last = int((SYSCTLS / "kernel/cap_last_cap").read_text())
    for capability in range(min(last + 1, _CAPABILITIES)):
        if capability not in KEPT_CAPABILITIES:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, capability)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    if _libc.capset(header, capability_sets(KEPT_CAPABILITIES & _permitted())):
        raise OSError(ctypes.get_errno(), "capabilities: cannot be given up")
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def _permitted() -> frozenset[int]:
    # A development machine may have given root less than all.
    rows = Path("/proc/self/status").read_text().splitlines()
    mask = next(int(row.split()[1], 16) for row in rows if row.startswith("CapPrm:"))
    return frozenset(number for number in range(_CAPABILITIES) if mask >> number & 1)


def capability_sets(kept: Iterable[int]) -> bytes:
    """Return what capset(2) takes: the same set as effective, permitted and inheritable, its lower half first."""
    mask = sum(1 << capability for capability in kept)
    halves = (mask & 0xFFFF_FFFF, mask >> 32)
    return b"".join(struct.pack("=III", half, half, half) for half in halves)


def power_off() -> None:
    """End the machine.

    Raises:
        OSError: This process may not.
    """
    if _libc.reboot(ctypes.c_int(_POWER_OFF)):
        raise OSError(ctypes.get_errno(), "power off: not permitted")
