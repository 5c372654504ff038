"""A built image in a folder: what `image build` writes, and what `image boot` and whoever measures read.

`kernel` and `initrd` are what is measured, with the command line; `image.json` says what they are, and `files.txt` what
is in the initrd.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.jsonfields import Fields

from . import filelist
from .build import Image
from .command_line import Variant

SCHEMA: Final = "twocvm/image/v1"
KERNEL: Final = "kernel"
INITRD: Final = "initrd"
ABOUT: Final = "image.json"
FILES: Final = "files.txt"
_DOCUMENT: Final = "image"
_MAX_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFolder:
    """A built image at rest.

    Attributes:
        folder: Where it lies.
        variant: Which one it is.
        kernel_sha256: Of its kernel (32 bytes).
        initrd_sha256: Of its initrd (32 bytes).
        software: What a simulated guest in it calls its measurement (48 bytes).
    """

    folder: Path
    variant: Variant
    kernel_sha256: bytes
    initrd_sha256: bytes
    software: bytes

    @property
    def kernel(self) -> Path:
        """The kernel's file."""
        return self.folder / KERNEL

    @property
    def initrd(self) -> Path:
        """The initrd's file."""
        return self.folder / INITRD


def write_image(image: Image, folder: Path) -> ImageFolder:
    """Write an image into a folder, over what is there.

    Args:
        image: What was built.
        folder: Made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = ImageFolder(
        folder=folder,
        variant=image.variant,
        kernel_sha256=hashlib.sha256(image.kernel).digest(),
        initrd_sha256=hashlib.sha256(image.initrd).digest(),
        software=image.software,
    )
    written.kernel.write_bytes(image.kernel)
    written.initrd.write_bytes(image.initrd)
    (folder / FILES).write_text(filelist.render(image.entries), encoding="utf-8")
    about = {
        "schema": SCHEMA,
        "variant": image.variant.value,
        "kernel_sha256": written.kernel_sha256.hex(),
        "initrd_sha256": written.initrd_sha256.hex(),
        "software": image.software.hex(),
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return written


def read_image(folder: Path) -> ImageFolder:
    """Return the image in a folder, once its files are the ones that it speaks of.

    Raises:
        MalformedError: They are not, or there is no image.
    """
    try:
        raw, kernel, initrd = ((folder / name).read_bytes() for name in (ABOUT, KERNEL, INITRD))
    except OSError as error:
        raise MalformedError(_DOCUMENT, "", f"{Path(error.filename).name!r}: {error.strerror}") from error
    value = strictjson.parse(raw, document=_DOCUMENT, max_bytes=_MAX_BYTES)
    members = {"schema", "variant", "kernel_sha256", "initrd_sha256", "software"}
    fields = Fields(value, document=_DOCUMENT, pointer="", required=members)
    fields.exactly("schema", SCHEMA)
    if fields.text("variant") not in tuple(Variant):
        raise MalformedError(_DOCUMENT, "/variant", "is neither production nor development")
    for member, content in (("kernel_sha256", kernel), ("initrd_sha256", initrd)):
        if fields.hash(member) != hashlib.sha256(content).digest():
            raise MalformedError(_DOCUMENT, f"/{member}", "the file is another one: build the image again")
    try:
        software = bytes.fromhex(fields.text("software"))
    except ValueError as error:
        raise MalformedError(_DOCUMENT, "/software", "want hex digits") from error
    return ImageFolder(
        folder=folder,
        variant=Variant(fields.text("variant")),
        kernel_sha256=fields.hash("kernel_sha256"),
        initrd_sha256=fields.hash("initrd_sha256"),
        software=software,
    )
