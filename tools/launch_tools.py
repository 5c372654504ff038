"""Fetches what a launch on hardware is tried with as far as a machine without it can.

QEMU that knows SEV-SNP, from Debian's backports, and the firmware with room for a kernel's hashes, from its unstable
distribution. Both are locked like the image's packages (`tools/launch/packages.json`), unpacked below `build/launch`,
and used by tests alone: an older QEMU of the machine brings the libraries. Debian keeps only its newest versions; where
a locked one is gone, this says so, and the tests that need it are skipped.

    python -m tools.launch_tools
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from twocvm_guest.image.deb import read_package
from twocvm_guest.image.lock import Lock, parse_packages
from twocvm_guest.image.packages import fetch_packages, get, mirrors
from twocvm_verifier.errors import TwoCvmError

ROOT: Final = Path(__file__).parents[1]
OUT: Final = ROOT / "build" / "launch"
QEMU: Final = OUT / "qemu-system-x86_64"
OVMF: Final = OUT / "OVMF.amdsev.fd"
_LOCK: Final = ROOT / "tools" / "launch" / "packages.json"
_CACHE: Final = OUT / "packages"
_WANTED: Final = {f"usr/bin/{QEMU.name}": QEMU, f"usr/share/ovmf/{OVMF.name}": OVMF}


def main() -> int:
    """Fetch and unpack both; 0 if they are there now."""
    lock = Lock(packages=parse_packages(_LOCK.read_bytes()), wheels=())
    try:
        fetched = fetch_packages(lock, _CACHE, mirrors=mirrors(), get=get)
    except TwoCvmError as error:
        sys.stderr.write(f"{error.code}: {error.detail}\n")
        return error.exit_status
    for raw in fetched.values():
        for packed in read_package(raw, _WANTED.__contains__):
            _WANTED[packed.path].write_bytes(packed.content)
            _WANTED[packed.path].chmod(0o755)
    return 0


if __name__ == "__main__":
    sys.exit(main())
