"""Compiles kernels, natively and to components; what was built once is taken from `build/evaluation/cache`.

The cache is keyed by the digest of sources, flags and compiler, so that nothing in it is ever stale.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

from twocvm_guest.authoring.build import SDK
from twocvm_guest.authoring.language import Language, require_tool
from twocvm_guest.authoring.wrap import Call, Lift, wrap
from twocvm_verifier.errors import UnsupportedError

from .ended import ended
from .model import Configuration, MissingError

ROOT: Final = Path(__file__).resolve().parents[2]
BUILT: Final = ROOT / "build" / "evaluation"
KERNELS: Final = Path(__file__).with_name("kernels")
WASM_SDK: Final = SDK / "c"

# The paper's is what `cargo --release` gives: x86-64 without extensions, and floating point as it is written.
_STRICT: Final = ("-O3", "-ffp-contract=off")
_FAST: Final = ("-O3", "-ffast-math")
# Of itself `zig cc` makes -O2 of -O3 and keeps frame pointers. Natively that would flatter whatever is held against it;
# components are built as their authors build them.
_ZIG_NATIVE: Final = ("-Xclang", "-O3", "-fomit-frame-pointer")
_WASM: Final = (
    *("-target", "wasm32-wasi", "-mexec-model=reactor", "-Wl,--no-entry", "-Wl,-z,stack-size=65536"),
    *("-std=c17", "-O3", "-msimd128", "-s", "-ffp-contract=off"),
)
_WARNINGS: Final = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
_V3_FLAGS: Final = {"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is compiled together.

    Attributes:
        files: C, in this order.
        includes: Folders of headers.
        options: More flags, for every compiler.
        foreign: Whether it is somebody else's code, whose warnings are theirs.
    """

    files: tuple[Path, ...]
    includes: tuple[Path, ...] = ()
    options: tuple[str, ...] = ()
    foreign: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """A native compiler and what it is told."""

    configuration: Configuration
    compiler: str
    machine: str
    flags: tuple[str, ...]


def _native(compiler: str, machine: str, suffix: str, title: str, flags: tuple[str, ...]) -> Native:
    flags = (*flags, *_ZIG_NATIVE) if compiler == "clang" else flags
    configuration = Configuration(
        name=f"{compiler}{suffix}",
        title=f"{compiler} {title}",
        flags=" ".join((*flags, f"-march={machine}")),
        exact="-ffast-math" not in flags,
    )
    return Native(configuration=configuration, compiler=compiler, machine=machine, flags=flags)


# The clang is the one that components are built with too, so that it can be had wherever they can.
PAPER: Final = tuple(_native(name, "x86-64", "", "x86-64", _STRICT) for name in ("gcc", "clang"))
BEST: Final = tuple(_native(name, "x86-64-v3", "-v3", "x86-64-v3", _STRICT) for name in ("gcc", "clang"))
FAST: Final = tuple(_native(name, "x86-64-v3", "-fast", "v3, fast-math", _FAST) for name in ("gcc", "clang"))


def library(native: Native, *sources: Sources) -> Path:
    """Return the shared library of a kernel; each of `sources` is compiled by itself.

    Raises:
        MissingError: The compiler is not there, or this machine cannot run what it makes.
        FailedError: The compiler is there, and does not make it.
    """
    if platform.machine() != "x86_64":
        raise MissingError(f"this machine is {platform.machine()}, not x86-64")
    if native.machine.endswith("v3") and not _cpu_flags() >= _V3_FLAGS:
        raise MissingError("this processor has not all of x86-64-v3")
    command = [*_command(native), *native.flags, "-std=c17", "-fPIC", "-fvisibility=hidden"]
    objects = [
        _compiled([*command, "-c", *_arguments(replace(each, files=(file,)))], replace(each, files=(file,)), ".o")
        for each in sources
        for file in each.files
    ]
    linked = Sources(files=tuple(objects))
    return _compiled([*_command(native), *native.flags, "-shared", *map(str, objects), "-lm"], linked, ".so")


def component(sources: Sources, *, calls: Sequence[Call] = (), lifts: Sequence[Lift] = (), runs: bool = True) -> Path:
    """Return the component of a kernel; `runs` says whether it has the runtime's entry.

    Raises:
        MissingError: The compiler is not there.
        FailedError: The compiler is there, and does not make it.
    """
    try:
        require_tool(Language.C, KERNELS)
    except UnsupportedError as error:
        raise MissingError(error.detail) from error
    core = _compiled([*_zig(), *_WASM, *_arguments(sources), "-lm"], sources, ".core.wasm")
    text = repr((calls, lifts, runs)).encode()
    return cached(
        [core.read_bytes(), text],
        ".wasm",
        lambda out: out.write_bytes(wrap(core.read_bytes(), calls=calls, lifts=lifts, runs=runs)),
    )


def cached(parts: Sequence[bytes], suffix: str, make: Callable[[Path], object]) -> Path:
    """Return the file that `make` makes of these parts, made now or before."""
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    path = BUILT / "cache" / f"{key[:32]}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_suffix(".lock")):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
                made = Path(scratch) / path.name
                make(made)
                made.replace(path)
    return path


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Have what several threads or processes want be made by one of them, while the others wait."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sha256(path: Path) -> str:
    """Return the digest of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _compiled(command: list[str], sources: Sources, suffix: str) -> Path:
    headers = [path for folder in sources.includes for path in sorted(folder.glob("*.h"))]
    contents = [path.read_bytes() for path in (*sources.files, *headers)]
    # Where this clone and its Python lie is no part of what is built.
    text = " ".join(command).replace(sys.executable, "python").replace(str(ROOT), "").encode()
    return cached(
        [text, _version(command[0]).encode(), *contents], suffix, lambda out: ended([*command, "-o", str(out)])
    )


def _arguments(sources: Sources) -> list[str]:
    warnings = () if sources.foreign else _WARNINGS
    includes = [f"-I{folder}" for folder in sources.includes]
    return [*warnings, *sources.options, *includes, *map(str, sources.files)]


def _command(native: Native) -> list[str]:
    if native.compiler == "gcc":
        if shutil.which("gcc") is None:
            raise MissingError("gcc is not installed")
        return ["gcc", f"-march={native.machine}"]
    try:
        require_tool(Language.C, KERNELS)
    except UnsupportedError as error:
        raise MissingError(error.detail) from error
    return [*_zig(), "-target", "x86_64-linux-gnu", f"-mcpu={native.machine.replace('-', '_')}"]


def _zig() -> list[str]:
    return [sys.executable, "-m", "ziglang", "cc"]


@cache
def _version(command: str) -> str:
    if command == sys.executable:
        return f"ziglang {metadata.version('ziglang')}"
    return ended([command, "--version"])


@cache
def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())
