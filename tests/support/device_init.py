"""What is begun in a machine before its image's own first process: it makes `/dev/sev-guest`, and becomes that process.

A second archive behind an image's own brings this file, what it imports, two of the kernel's own modules, and the chip
(`tests.support.device_machine`). The image's first process finds everything of the image as it was, and a device of the
kernel's more; another process answers for that until the machine ends.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NoReturn

from tests.support.cuse import Device, Memory

from twocvm_guest.image.init import kernel
from twocvm_guest.runtime import syscalls

FOLDER: Final = Path("/stand-in")
"""Where the archive has everything but the very first program."""

INIT: Final = Path("/init")
_LINE: Final = "/dev/ttyS0"


def begin() -> NoReturn:
    """Make the device and become the image's own first process. Where that fails the machine ends, and says why."""
    syscalls.mount("devtmpfs", "/dev", "devtmpfs", 0, "")
    try:
        kernel.load_modules(FOLDER / "modules")
        device = Device("sev-guest")
        if os.fork() == 0:
            _answer(device)
        syscalls.unmount("/dev", syscalls.MNT_DETACH)
        os.replace(FOLDER / INIT.name, INIT)
        os.execv(INIT, [str(INIT), *sys.argv[1:]])  # noqa: S606 - the image's own
    except BaseException as error:
        with open(_LINE, "w") as line:
            line.write(f"{error!r}\n")
        raise


def _answer(device: Device) -> NoReturn:
    # Takes seconds in an emulated machine, in which the image's first process goes on: the first request waits.
    from tests.support.packed_firmware import unpack
    from tests.support.snp_ioctl import answer

    firmware = unpack((FOLDER / "firmware").read_bytes())

    def answer_one(command: int, address: int, memory: Memory) -> int:
        return answer(firmware, command, address, memory)

    device.serve(answer_one)
    os._exit(0)
