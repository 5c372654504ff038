"""Codes of building and booting the guest's image."""

from __future__ import annotations

from typing import Final

from .table import CANNOT_JUDGE, NOT_AUTHENTIC, REFUSED, UNSUPPORTED, Code, malformed

_IMAGE: Final = "docs/image.md"


def _image(exit_status: int, meaning: str) -> Code:
    # Never an answer of a guest's service.
    return Code(exit_status=exit_status, http_status=500, meaning=meaning, spec=_IMAGE)


CODES: Final[dict[str, Code]] = {
    "MALFORMED_IMAGE": malformed(
        "The folder holds no image, or not the one that it speaks of. Build it again.", _IMAGE
    ),
    "MALFORMED_IMAGE_LOCK": malformed(
        "The list of locked packages is not one. Take the one that comes with this version.", _IMAGE
    ),
    "MALFORMED_PACKAGE": malformed("The file is no Debian package, although its digest is the locked one.", _IMAGE),
    "MALFORMED_PAYLOAD": malformed(
        "The disk is no payload, or the folder for one is empty or was changed meanwhile. Write it with "
        "`twocvm image payload`.",
        _IMAGE,
    ),
    "IMAGE_FILES_DIFFER": _image(
        REFUSED,
        "The image holds other files than its list says. Look at each difference; if it is meant, write the "
        "list anew with `twocvm image list`.",
    ),
    "PACKAGE_DIFFERS": _image(
        NOT_AUTHENTIC,
        "A mirror has another file than the one that is locked. Use another mirror, and ask who changed it.",
    ),
    "PACKAGE_NOT_FOUND": _image(
        CANNOT_JUDGE,
        "No mirror has a package in the locked version. Debian removes old ones: bring the lock up to date, "
        "or name a mirror that keeps them with `--mirror`.",
    ),
    "IMAGE_NOT_BUILT": _image(
        UNSUPPORTED,
        "What compiles or compresses the image does not run here, or not in the same way each time, or a file of it is "
        "no Python. Build it on Linux and x86_64, and in a container that allows personality(2) (Docker: "
        "--security-opt seccomp=unconfined).",
    ),
    "MACHINE_FAILED": _image(
        REFUSED,
        "The machine ended, or said nothing for too long, before it served. What it said last is in the "
        "message; its console is in the log.",
    ),
    "NO_EMULATOR": _image(
        UNSUPPORTED,
        "There is no QEMU on this machine. On Debian: apt-get install qemu-system-x86.",
    ),
}
