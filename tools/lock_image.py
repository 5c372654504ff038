"""Writes the image's lock from what apt would install on this machine, which must be Debian 12 on amd64.

`python -m tools.lock_image` needs `apt-get update` to have run; apt has checked the archive's signatures by then. The
kernel is the newest of the long-term line that Debian supports beside its own.

`make lock` writes the wheels, and `python -m tools.lock_image wheels` leaves of each the one file that pip takes for
the image: a file of the same version for another machine, which is as genuine, has no place in it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from twocvm_guest.image import recipe
from twocvm_guest.image.lock import DEBIAN, SCHEMA, WHEELS, Lock, parse_packages, parse_wheels
from twocvm_guest.image.packages import fetch_wheels

KERNEL_LINE = "linux-image-6.12-cloud-amd64"
_PRINTED = re.compile(r"'(\S+)' (\S+) (\d+) SHA256:([0-9a-f]{64})")


def main() -> int:
    """Write the lock, and say which package has another version now."""
    known = parse_packages(DEBIAN.read_bytes()) if DEBIAN.exists() else ()
    before = {package.name: package.version for package in known}
    names = sorted({*recipe.TAKEN, *recipe.TOOLS})
    rows = [locked(recipe.KERNEL, kernel()), *(locked(name, name) for name in names)]
    DEBIAN.write_text(json.dumps({"schema": SCHEMA, "packages": rows}, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        if before.get(row["name"]) != row["version"]:
            print(f"{row['name']}: {before.get(row['name'], 'new')} -> {row['version']}")
    return 0


def narrow() -> int:
    """Leave one digest of each wheel: that of the file which pip, asked afresh, takes."""
    wanted = Lock(packages=(), wheels=parse_wheels(WHEELS.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory() as cache:
        taken = fetch_wheels(wanted, Path(cache))
    rows = (
        f"{each.name}=={each.version} \\\n    --hash=sha256:{sha256(raw).hexdigest()}\n" for each, raw in taken.items()
    )
    WHEELS.write_text("".join(rows), encoding="utf-8")
    return 0


def kernel() -> str:
    """Return the package that the kernel's line stands for now."""
    said = _run("apt-cache", "depends", "--important", KERNEL_LINE)
    return next(line.split()[-1] for line in said.splitlines() if "Depends: linux-image-" in line)


def locked(name: str, package: str) -> dict[str, str | int]:
    """Return the row of one package."""
    match = _PRINTED.search(_run("apt-get", "download", "--print-uris", package))
    if match is None:
        raise SystemExit(f"{package}: apt knows none, or no SHA-256 of it")
    archive, _, path = urlsplit(match.group(1)).path.strip("/").partition("/")
    version = _run("apt-cache", "show", "--no-all-versions", package)
    return {
        "name": name,
        "version": next(line.split()[1] for line in version.splitlines() if line.startswith("Version: ")),
        "archive": archive,
        "path": path,
        "size": int(match.group(3)),
        "sha256": match.group(4),
    }


def _run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(narrow() if sys.argv[1:] == ["wheels"] else main())
