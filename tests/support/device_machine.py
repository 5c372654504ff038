"""A booted production machine with a `/dev/sev-guest` of its kernel's, or configfs-tsm's files, and a simulated chip.

The image's kernel and initrd are the published ones to the last byte. Behind the initrd lies one archive more, as a
host could put it there, and as it could not without another measurement: Debian's own module for devices that a
process answers for, that process, the chip, and what begins both before the image's own first process
(`tests.support.device_init`). Which troubles the requests meet is in there, too, so that nothing steers it later.

    image = image_with_device(built, firmware, folder)
    with DeviceMachine(image, firmware, folder=tmp_path) as machine:
        machine.serving()
        machine.world = machine_world(machine)
"""

from __future__ import annotations

import pickle
import ssl
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.support import device_init
from tests.support.images import locked_parts
from tests.support.machine import HostedMachine
from tests.support.packed_firmware import pack
from tests.support.snp_firmware import Firmware

from twocvm_guest.image import cpio, modules, recipe
from twocvm_guest.image.boot import START_SECONDS
from twocvm_guest.image.build import Image
from twocvm_guest.image.deb import read_package
from twocvm_guest.image.folder import ImageFolder, write_image
from twocvm_guest.image.tree import Tree

ORIGIN: Final = "a test"
_MODULE: Final = "cuse"
_FILES: Final = ("certtables", "cuse", "device_init", "packed_firmware", "snp_firmware", "snp_ioctl", "tsm_files")
_FOLDER: Final = device_init.FOLDER.name
_INIT: Final = f"""#!/usr/bin/{recipe.PYTHON.rpartition("/")[2]} -ISB
import sys

sys.path += ["/{recipe.SITE}", "{device_init.FOLDER}"]
from tests.support.device_init import begin

begin()
"""
# The kernel looks for an archive behind another one where a record may begin.
_BLOCK_BYTES: Final = 512
_STEP_SECONDS: Final = 0.1


def image_with_device(
    image: Image, firmware: Firmware, folder: Path, *, files: Mapping[str, Any] | None = None
) -> ImageFolder:
    """Return an image with a device behind it, in a folder.

    Args:
        image: The production image, as it was built.
        firmware: Answers; nobody has asked it yet. What it calls its measurement is what the image's reports will say.
        folder: New.
        files: Arguments of a `Tsm`, for files as those of configfs-tsm in place of `/dev/sev-guest`.
    """
    tree = Tree()
    original = next(entry for entry in image.entries if entry.path == "init")
    tree.add_file("init", _INIT.encode(), program=True, origin=ORIGIN)
    tree.add_file(f"{_FOLDER}/init", original.content, program=True, origin=ORIGIN)
    tree.add_file(f"{_FOLDER}/firmware", pack(firmware), program=False, origin=ORIGIN)
    if files is not None:
        tree.add_file(f"{_FOLDER}/{device_init.FILES}", pickle.dumps(files), program=False, origin=ORIGIN)
    for name in _FILES:
        content = Path(__file__).with_name(f"{name}.py").read_bytes()
        tree.add_file(f"{_FOLDER}/tests/support/{name}.py", content, program=False, origin=ORIGIN)
    unpacked = _unpacked_modules()
    order = "".join(f"{name}.ko\n" for name in unpacked)
    tree.add_file(f"{_FOLDER}/modules/order", order.encode(), program=False, origin=ORIGIN)
    for name, module in unpacked.items():
        tree.add_file(f"{_FOLDER}/modules/{name}.ko", module, program=False, origin=ORIGIN)
    padding = bytes(-len(image.initrd) % _BLOCK_BYTES)
    longer = replace(
        image,
        initrd=image.initrd + padding + cpio.archive(tree.entries()),
        software=firmware.platform._measurement,
    )
    return write_image(longer, folder)


class DeviceMachine(HostedMachine):
    """Such a machine, for the length of a `with`. It says nothing but its codes, so it is looked for at its port.

    Args:
        image: From `image_with_device`.
        firmware: Whose root is believed.
        more: As `HostedMachine`.
    """

    def __init__(self, image: ImageFolder, firmware: Firmware, **more: Any) -> None:
        super().__init__(image, **more)
        self.launches.add(firmware.platform.root_pem)

    def serving(self) -> Mapping[str, object]:
        """Wait until the guest takes connections; none is made that asks for a report."""
        address = urlsplit(self.url)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                ssl.get_server_certificate((address.hostname, address.port), timeout=START_SECONDS)  # type: ignore[arg-type]
            except OSError:
                if self.wait_ended(_STEP_SECONDS) is not None or time.monotonic() > deadline:
                    raise TimeoutError(f"the machine does not serve; it said {self.console()!r}") from None
            else:
                return {}


@cache
def _unpacked_modules() -> dict[str, bytes]:
    """Return the modules that such a device takes, as the kernel's package has them, in the order to load them."""
    found = read_package(locked_parts().packages[recipe.KERNEL], lambda path: "/fs/fuse/" in path)
    packed = {Path(each.path).name.removesuffix(".ko.xz"): each.content for each in found}
    return modules.with_needs(packed, (_MODULE,))
