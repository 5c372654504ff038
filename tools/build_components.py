"""Build the committed components again: the same sources and the same compiler give the same bytes.

    python -m tools.build_components             build them where they are, with their digests
    python -m tools.build_components --check     build them elsewhere and compare with what is committed

It does what `twocvm component build` does, and needs what that needs, in the version and with the digest of
`tools/components/requirements.txt`. `make demo` and `make test` never run this.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from twocvm_guest.authoring.build import build
from twocvm_verifier.errors import UnsupportedError

ROOT = Path(__file__).resolve().parent.parent
# Each folder has its components as `NAME.wasm`, their sources in `NAME/`, and their digests in the form of `sha256sum`.
FOLDERS = {
    ROOT / "examples" / "demo" / "components": ("join", "regression"),
    ROOT / "examples" / "components": ("group-by", "inference"),
}
DIGESTS = "SHA256SUMS"


def built(folder: Path) -> dict[str, bytes]:
    """Return the files that the sources below a folder give, by name: each component, and the digests."""
    files = {f"{name}.wasm": build(folder / name) for name in FOLDERS[folder]}
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()]
    return files | {DIGESTS: "".join(lines).encode()}


def differences() -> list[str]:
    """Return the names of the files that differ between a fresh build and what is committed."""
    return [
        str((folder / name).relative_to(ROOT))
        for folder in FOLDERS
        for name, content in built(folder).items()
        if (folder / name).read_bytes() != content
    ]


def _write() -> None:
    for folder in FOLDERS:
        for name, content in built(folder).items():
            (folder / name).write_bytes(content)


def main() -> int:
    """Do what the command line says; 0 is success, a difference or a missing compiler is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with what is committed; skips visibly")
    check: bool = parser.parse_args().check
    try:
        if not check:
            _write()
            return 0
        different = differences()
    except UnsupportedError as error:
        print(f"components: skipped: {error}", file=sys.stderr)
        return 0 if check else error.exit_status
    for name in different:
        print(f"components: {name} differs from what the sources give", file=sys.stderr)
    if not different:
        print("components: the sources give the committed bytes")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
