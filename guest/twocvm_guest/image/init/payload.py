"""The payload, where the measured command line names one: its disk, checked block by block, as a folder to read from.

The first disk of the machine has it. Of a disk that is another one, or none, this process says so; a block that is
found changed later ends the machine at once (`panic_on_corruption`), whoever reads it.

Spec: Linux, Documentation/admin-guide/device-mapper/verity.rst; linux/dm-ioctl.h.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from pathlib import Path
from typing import Final

from twocvm_guest.image import verity
from twocvm_guest.image.command_line import PAYLOAD_FOLDER, Payload
from twocvm_guest.image.verity import BLOCK_BYTES
from twocvm_guest.runtime import syscalls

from . import kernel, mounts

MODULES: Final = "payload"
DISK: Final = Path("/dev/vda")
CONTROL: Final = Path("/dev/mapper/control")
MAPPED: Final = Path("/dev/dm-0")
NAME: Final = b"payload"
USED: Final = frozenset({DISK.name, MAPPED.name})
"""The disks that a machine with a payload uses."""

_SECTORS: Final = BLOCK_BYTES // 512
# The head of every call: version, size, where the rest begins, how many targets, flags, name; as struct dm_ioctl.
_HEAD: Final = struct.Struct("=IIIIIiIIIxxxxQ128s129s7x")
_VERSION: Final = (4, 0, 0)
_TARGET: Final = struct.Struct("=QQiI16s")
_READ_ONLY: Final = 0x1
_CREATE, _RESUME, _LOAD = 3, 6, 9
# The driver was loaded a moment ago.
_WAIT_SECONDS: Final = 5.0
_STEP_SECONDS: Final = 0.02


class PayloadError(Exception):
    """The disk is not there, or is another one than the command line names."""


def attach(payload: Payload) -> None:
    """Make the payload's files readable below `PAYLOAD_FOLDER`.

    Raises:
        PayloadError: The disk is missing, or has another root.
        OSError: The kernel refused.
    """
    kernel.load_modules(order=MODULES)
    _await(DISK)
    require_root(DISK, payload)
    map_disk(payload)
    _await(MAPPED)
    flags = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    mounts.mount(mounts.Mount(kind="erofs", source=str(MAPPED), target=str(PAYLOAD_FOLDER), flags=flags))


def require_root(disk: Path, payload: Payload) -> None:
    """Refuse a disk whose tree has another root, before anything of it is believed.

    Raises:
        PayloadError: It has.
    """
    try:
        with disk.open("rb", buffering=0) as file:
            file.seek(payload.blocks * BLOCK_BYTES)
            highest = file.read(BLOCK_BYTES)
    except OSError as error:
        raise PayloadError(f"disk: {error.strerror}") from error
    if verity.root_of(highest) != payload.root:
        raise PayloadError("disk: has another root than the command line")


def map_disk(payload: Payload) -> None:
    """Have the kernel make the device that checks every block.

    Raises:
        OSError: It refused.
    """
    table = target(payload)
    control = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for call, body in ((_CREATE, b""), (_LOAD, table), (_RESUME, b"")):
            fcntl.ioctl(control, number(call), bytearray(request(body)))
    finally:
        os.close(control)


def target(payload: Payload) -> bytes:
    """Return the table of the device: one target, over all of the data, whose tree follows on the same disk."""
    where = f"1 {DISK} {DISK} {BLOCK_BYTES} {BLOCK_BYTES} {payload.blocks} {payload.blocks}"
    parameters = f"{where} sha256 {payload.root.hex()} - 1 panic_on_corruption".encode() + b"\0"
    parameters += bytes(-len(parameters) % 8)
    size = _TARGET.size + len(parameters)
    return _TARGET.pack(0, payload.blocks * _SECTORS, 0, size, b"verity") + parameters


def request(body: bytes) -> bytes:
    """Return one call's bytes: the head, and a table or nothing."""
    size = _HEAD.size + len(body)
    targets = 1 if body else 0
    return _HEAD.pack(*_VERSION, size, _HEAD.size, targets, 0, _READ_ONLY, 0, 0, NAME, b"") + body


def number(call: int) -> int:
    """Return the number of a call, which tells the kernel the size of its head (`_IOWR`)."""
    return 3 << 30 | _HEAD.size << 16 | 0xFD << 8 | call


def _await(device: Path) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not device.exists():
        if time.monotonic() > deadline:
            raise PayloadError(f"{device}: is not there")
        time.sleep(_STEP_SECONDS)
