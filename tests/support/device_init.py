"""What is begun in a machine before its image's own first process: it makes a device, and becomes that process.

A second archive behind an image's own brings this file, what it imports, one of the kernel's own modules, and the chip
(`tests.support.device_machine`). The image's first process finds everything of the image as it was, and a device more:
`/dev/sev-guest`, or files mounted where configfs-tsm has its own. Another process answers until the machine ends.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from tests.support.cuse import Device, Memory

from twocvm_guest.image.init import kernel
from twocvm_guest.runtime import syscalls

FOLDER: Final = Path("/stand-in")
"""Where the archive has everything but the very first program."""

FILES: Final = "configfs-tsm"
"""Where in it the arguments of a `Tsm` lie, for a machine that has configfs-tsm instead of `/dev/sev-guest`."""

INIT: Final = Path("/init")
_LINE: Final = "/dev/ttyS0"
# The image's first process has its root mounted over this one; this leads there.
_REPORTS: Final = "/../sys/kernel/config/tsm/report"
_STEP_SECONDS: Final = 0.01


def begin() -> NoReturn:
    """Make the device and become the image's own first process. Where that fails the machine ends, and says why."""
    syscalls.mount("devtmpfs", "/dev", "devtmpfs", 0, "")
    try:
        kernel.load_modules(FOLDER / "modules")
        answer = _files() if (FOLDER / FILES).exists() else _device()
        if os.fork() == 0:
            answer()
            os._exit(0)
        syscalls.unmount("/dev", syscalls.MNT_DETACH)
        os.replace(FOLDER / INIT.name, INIT)
        os.execv(INIT, [str(INIT), *sys.argv[1:]])  # noqa: S606 - the image's own
    except BaseException as error:
        with open(_LINE, "w") as line:
            line.write(f"{error!r}\n")
        raise


# What these import takes seconds in an emulated machine, in which the image's first process goes on: requests wait.


def _device() -> Callable[[], None]:
    return partial(_answer_requests, Device("sev-guest"))


def _answer_requests(device: Device) -> None:
    from tests.support.packed_firmware import unpack
    from tests.support.snp_ioctl import answer

    firmware = unpack((FOLDER / "firmware").read_bytes())

    def answer_one(command: int, address: int, memory: Memory) -> int:
        return answer(firmware, command, address, memory)

    device.serve(answer_one)


def _files() -> Callable[[], None]:
    return partial(_answer_files, os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))


def _answer_files(fuse: int) -> None:
    while not os.path.isdir(_REPORTS):
        time.sleep(_STEP_SECONDS)
    # Long before the agent looks, which is the last that is started.
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,default_permissions"
    syscalls.mount("configfs-tsm", _REPORTS, "fuse", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
    from tests.support.packed_firmware import unpack
    from tests.support.tsm_files import FileSystem, Tsm

    arguments = pickle.loads((FOLDER / FILES).read_bytes())  # noqa: S301 - written by the test that boots this
    FileSystem(fuse, Tsm(unpack((FOLDER / "firmware").read_bytes()), **arguments)).serve()
