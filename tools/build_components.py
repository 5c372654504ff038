"""Build WebAssembly components from C: the same sources and the same pins give the same bytes.

    python -m tools.build_components             build the demo's components and their digests
    python -m tools.build_components --check     build them elsewhere and compare with what is committed
    python -m tools.build_components SRC.c [SRC.c ...] -o OUT.wasm [--wit FILE --world NAME]

With `--wit` the module speaks the component model's own ABI and imports only what it uses of that world. Without it the
sources are an ordinary C program for WASI (`main`, `fopen`, ...), and an adapter is put around it.

The compiler and the component tools are fetched once into `build/toolchain`, pinned by digest in `tools/components`.
It needs Node.js with npm. `make demo` and `make test` never run this.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.strip_wasm import strip

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tools" / "components"
TOOLCHAIN = ROOT / "build" / "toolchain"
DEMO = ROOT / "examples" / "demo" / "components"
WIT = DEMO / "wit" / "demo.wit"
DIGESTS = DEMO / "SHA256SUMS"

# The sources of each component of the demo, below `src`. A component's WIT world has its name.
DEMO_SOURCES: Mapping[str, Sequence[str]] = {
    "join": ("join.c", "table.c", "writer.c", "ports.c"),
    "regression": ("regression.c", "model.c", "evaluation.c", "table.c", "writer.c", "ports.c"),
}

# Nothing of this machine gets into the result: no names, no debugging information, no paths. The linker puts the stack
# first in memory, so that overflowing it traps instead of writing over data.
COMMON_FLAGS = (
    *("-target", "wasm32-wasi", "-std=c17", "-O2", "-s", "-ffp-contract=off", "-ffile-prefix-map=.=src"),
    *("-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wl,-z,stack-size=65536"),
)
WIT_FLAGS = ("-mexec-model=reactor", "-Wl,--no-entry")


class ToolchainMissingError(Exception):
    """The toolchain is not here and could not be fetched; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """The installed tools: `folder` has `zig` (from the wheel) and `node_modules`."""

    folder: Path

    @classmethod
    def at_hand(cls, *, fetch: bool) -> Toolchain:
        """The toolchain of the committed pins, fetched if it is not there yet and `fetch` allows it.

        Raises:
            ToolchainMissingError: Node.js is missing, or the toolchain is absent and could not or must not be fetched.
        """
        for program in ("node", "npm"):
            if shutil.which(program) is None:
                raise ToolchainMissingError(f"{program} is not installed")
        folder = TOOLCHAIN / _digest_of_pins()
        if not folder.is_dir():
            if not fetch:
                raise ToolchainMissingError("it is not fetched yet and fetching was not allowed")
            _fetch(folder)
        return cls(folder=folder)

    def compile(self, sources: Sequence[Path], core: Path, flags: Sequence[str]) -> None:
        """Compile and link C into the core module `core`. Sources are named relative to their common folder."""
        folder = Path(os.path.commonpath([source.resolve().parent for source in sources]))
        names = [str(source.resolve().relative_to(folder)) for source in sources]
        zig = self.folder / "zig" / "ziglang" / "zig"
        cache = {"ZIG_GLOBAL_CACHE_DIR": str(TOOLCHAIN / "cache"), "ZIG_LOCAL_CACHE_DIR": str(TOOLCHAIN / "cache")}
        _run([str(zig), "cc", *COMMON_FLAGS, *flags, *names, "-lm", "-o", str(core)], cwd=folder, environment=cache)

    def componentize(self, core: Path, out: Path, wit: Path | None, world: str | None) -> None:
        """Make the component `out` of the core module `core`."""
        command = ["node", str(PINS / "componentize.mjs"), str(core), str(out)]
        if wit is not None and world is not None:
            command += [str(wit.resolve()), world]
        _run(command, cwd=self.folder)

    def build(self, sources: Sequence[Path], out: Path, *, wit: Path | None = None, world: str | None = None) -> None:
        """Build one component from C sources."""
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            core = Path(scratch) / "core.wasm"
            self.compile(sources, core, WIT_FLAGS if wit else ())
            self.componentize(core, out.resolve(), wit, world)
        out.write_bytes(strip(out.read_bytes()))


def _digest_of_pins() -> str:
    digest = hashlib.sha256()
    for name in ("requirements.txt", "package-lock.json"):
        digest.update((PINS / name).read_bytes())
    return digest.hexdigest()[:16]


def _fetch(folder: Path) -> None:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PINS / name, partial)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    try:
        _run([*pip, "--target", str(partial / "zig"), "-r", str(PINS / "requirements.txt")], cwd=partial)
        _run(["npm", "ci", "--silent", "--ignore-scripts", "--omit=optional"], cwd=partial)
    except subprocess.CalledProcessError as error:
        raise ToolchainMissingError(f"fetching failed: {error.cmd[0]} ended with {error.returncode}") from error
    partial.rename(folder)


def _run(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str] | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True, env={**os.environ, **(environment or {})})


def build_demo(toolchain: Toolchain, folder: Path) -> None:
    """Build the demo's components into `folder`, with their digests in the form of `sha256sum`."""
    lines = []
    for name, sources in DEMO_SOURCES.items():
        out = folder / f"{name}.wasm"
        toolchain.build([DEMO / "src" / source for source in sources], out, wit=WIT, world=name)
        lines.append(f"{hashlib.sha256(out.read_bytes()).hexdigest()}  {out.name}\n")
    (folder / DIGESTS.name).write_text("".join(lines))


def differences(built: Path, committed: Path) -> list[str]:
    """The names of the files that differ between a fresh build and what is committed."""
    names = [DIGESTS.name, *(f"{name}.wasm" for name in DEMO_SOURCES)]
    return [name for name in names if (built / name).read_bytes() != (committed / name).read_bytes()]


def _compare(toolchain: Toolchain) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        build_demo(toolchain, Path(scratch))
        different = differences(Path(scratch), DEMO)
    for name in different:
        print(f"components: {name} differs from what the sources give", file=sys.stderr)
    if not different:
        print("components: the sources give the committed bytes")
    return 1 if different else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, help="C sources; none means the demo's components")
    parser.add_argument("-o", "--out", type=Path, help="the component to write")
    parser.add_argument("--wit", type=Path, help="a WIT file")
    parser.add_argument("--world", help="the world in it")
    parser.add_argument("--check", action="store_true", help="compare with the committed components; skips visibly")
    parser.add_argument("--no-fetch", action="store_true", help="use the toolchain only if it is there already")
    arguments = parser.parse_args()
    if bool(arguments.sources) != bool(arguments.out) or bool(arguments.wit) != bool(arguments.world):
        parser.error("sources go with -o, and --wit goes with --world")
    if arguments.check and arguments.sources:
        parser.error("--check takes no sources")
    return arguments


def main() -> int:
    """Do what the command line says; 0 is success, a difference or a missing toolchain is not."""
    arguments = _arguments()
    try:
        toolchain = Toolchain.at_hand(fetch=not arguments.no_fetch)
    except ToolchainMissingError as error:
        print(f"components: skipped: no toolchain: {error}", file=sys.stderr)
        return 0 if arguments.check else 1
    if arguments.check:
        return _compare(toolchain)
    if arguments.sources:
        toolchain.build(arguments.sources, arguments.out, wit=arguments.wit, world=arguments.world)
    else:
        build_demo(toolchain, DEMO)
    return 0


if __name__ == "__main__":
    sys.exit(main())
