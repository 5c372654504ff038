"""configfs-tsm for a machine that has none: the same files, in a file system of our own (FUSE), before a `Firmware`.

Nothing in the client is changed or replaced (`tests.support.tsm_files`). Mounting needs root and `/dev/fuse`.

    with mounted(folder, Tsm(firmware)) as tsm:
        ConfigfsTsm.open(folder, entry_name="mine", pause=time.sleep)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.tsm_files import FileSystem, Tsm

from twocvm_guest.runtime import syscalls


def open_fuse() -> int:
    """Return a descriptor of `/dev/fuse`, or skip the test that asks for it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system of our own needs root")
    try:
        return os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"no file systems in user space here: {error}")


def mount(folder: Path, descriptor: int) -> None:
    """Mount what a descriptor serves, or skip the test that asks for it."""
    options = f"fd={descriptor},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},default_permissions"
    try:
        syscalls.mount("configfs-tsm", str(folder), "fuse", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
    except OSError as error:
        pytest.skip(f"no file systems in user space here: {error}")


@contextmanager
def mounted(folder: Path, tsm: Tsm) -> Iterator[Tsm]:
    """Mount it at a folder for the length of a `with`."""
    descriptor = open_fuse()
    mount(folder, descriptor)
    server = threading.Thread(target=FileSystem(descriptor, tsm).serve, daemon=True)
    server.start()
    try:
        yield tsm
    finally:
        syscalls.unmount(str(folder), syscalls.MNT_DETACH)
        server.join(10)
        os.close(descriptor)
