"""Build a component from an ordinary C program (`main`, `fopen`, ...), which the tests act with.

    python -m tools.build_command SRC.c -o OUT.wasm

Such a program imports much more than one that is built by `twocvm component build`; what a guest does with all that is
what the tests are about. It needs the same compiler, and Node.js with npm for the adapter around it, which is fetched
once into `build/adapter`, pinned by `tools/components/package-lock.json`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twocvm_guest.authoring.binary import strip
from twocvm_guest.authoring.language import Language, require_tool
from twocvm_verifier.errors import UnsupportedError

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tools" / "components"
ADAPTER = ROOT / "build" / "adapter"
FLAGS = (
    *("-target", "wasm32-wasi", "-std=c17", "-O2", "-s", "-ffp-contract=off", "-ffile-prefix-map=.=src"),
    *("-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wl,-z,stack-size=65536"),
)


def build(source: Path, out: Path, *, fetch: bool) -> None:
    """Build the component `out` of one C program.

    Raises:
        UnsupportedError: The compiler or Node.js is missing, or the adapter is, and could not or must not be fetched.
    """
    require_tool(Language.C, source.parent)
    _require_adapter(fetch=fetch)
    with tempfile.TemporaryDirectory() as scratch:
        core = Path(scratch) / "core.wasm"
        compiler = [sys.executable, "-m", "ziglang", "cc", *FLAGS, source.name, "-lm", "-o", str(core)]
        subprocess.run(compiler, cwd=source.resolve().parent, check=True)
        subprocess.run(["node", str(PINS / "adapt.mjs"), str(core), str(out.resolve())], cwd=ADAPTER, check=True)
    out.write_bytes(strip(out.read_bytes()))


def _require_adapter(*, fetch: bool) -> None:
    lock = "package-lock.json"
    if (ADAPTER / lock).exists() and (ADAPTER / lock).read_bytes() == (PINS / lock).read_bytes():
        return
    if not fetch:
        raise UnsupportedError("TOOLCHAIN_MISSING", "adapter: it is not fetched yet")
    if shutil.which("npm") is None:
        raise UnsupportedError("TOOLCHAIN_MISSING", "npm: got none, want Node.js with npm")
    partial = ADAPTER.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in ("package.json", lock):
        shutil.copy(PINS / name, partial)
    fetched = subprocess.run(["npm", "ci", "--silent", "--ignore-scripts", "--omit=optional"], cwd=partial, check=False)
    if fetched.returncode:
        raise UnsupportedError("TOOLCHAIN_MISSING", f"npm ci: ended with {fetched.returncode}")
    shutil.rmtree(ADAPTER, ignore_errors=True)
    partial.rename(ADAPTER)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a C program")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the component to write")
    arguments = parser.parse_args()
    try:
        build(arguments.source, arguments.out, fetch=True)
    except UnsupportedError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
