"""From a folder with a component's source to the component.

A folder is one component; which language it is in shows in the name of its main file. Its files are copied to a place
of their own together with those of the SDK, where a file of the folder takes the place of the SDK's of that name, and
built there: nothing of this machine gets into the result, and the folder stays as its author left it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from twocvm_verifier.errors import ComponentError

from .binary import rename
from .language import Language, require_tool
from .wrap import wrap

SDK: Final = Path(__file__).parent / "sdk"
WORLD: Final = "component"

# No symbols, no debugging information, no paths. Floating point is as written, so that it gives the same everywhere.
# The linker puts the stack first in memory, so that overflowing it traps instead of writing over data.
_C_FLAGS: Final = (
    *("-target", "wasm32-wasi", "-mexec-model=reactor", "-Wl,--no-entry", "-Wl,-z,stack-size=65536"),
    *("-std=c17", "-O2", "-s", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-Werror"),
)
_STDERR: Final = 2
_COMPONENTIZE_PY: Final = "from componentize_py import script; script()"
# Python's library imports far more of WASI than any component may. The tool replaces everything under `wasi:` by traps,
# so what the component itself imports goes by another name of the same length until that is done.
_WASI, _UNTOUCHED = "wasi:", "host:"


def language_of(folder: Path) -> Language:
    """Return the language that a component's folder is in.

    Raises:
        ComponentError: BUILD_FAILED; it has no main file, or several.
    """
    found = [language for language in Language if (folder / language.source).is_file()]
    if len(found) != 1:
        names = ", ".join(language.source for language in Language)
        raise ComponentError("BUILD_FAILED", f"{str(folder)!r}: got {len(found)} main files, want one of {names}")
    return found[0]


def build(folder: Path) -> bytes:
    """Return the component of a folder; what its tool says goes to standard error.

    Raises:
        ComponentError: BUILD_FAILED; the folder is none, or the source is refused.
        UnsupportedError: TOOLCHAIN_MISSING.
    """
    language = language_of(folder)
    require_tool(language, folder)
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        for source in (SDK, SDK / language, folder):
            _copy(source, scratch, language)
        return _BUILDERS[language](folder.resolve(), scratch)


def _copy(source: Path, scratch: Path, language: Language) -> None:
    for file in sorted(source.iterdir()):
        if file.suffix in language.suffixes and file.is_file():
            shutil.copyfile(file, scratch / file.name)


def _build_c(_: Path, scratch: Path) -> bytes:
    sources = sorted(file.name for file in scratch.glob("*.c"))
    core = scratch / "core.wasm"
    _run([sys.executable, "-m", "ziglang", "cc", *_C_FLAGS, *sources, "-lm", "-o", core.name], scratch)
    return wrap(core.read_bytes())


def _build_python(_: Path, scratch: Path) -> bytes:
    options = ("-d", "world.wit", "-w", WORLD, "componentize", "--stub-wasi", "component", "-o", "out.wasm")
    world = scratch / "world.wit"
    world.write_text(world.read_text(encoding="utf-8").replace(_WASI, _UNTOUCHED), encoding="utf-8")
    _run([sys.executable, "-c", _COMPONENTIZE_PY, *options], scratch)
    built = (scratch / "out.wasm").read_bytes()
    return rename(built, _UNTOUCHED.encode(), _WASI.encode())


def _build_js(folder: Path, scratch: Path) -> bytes:
    (scratch / "node_modules").symlink_to(folder / "node_modules")
    _run(["node", "build.mjs", "out.wasm"], scratch)
    return (scratch / "out.wasm").read_bytes()


_BUILDERS: Final[Mapping[Language, Callable[[Path, Path], bytes]]] = {
    Language.C: _build_c,
    Language.PYTHON: _build_python,
    Language.JS: _build_js,
}


def _run(command: list[str], scratch: Path) -> None:
    ending = subprocess.run(command, cwd=scratch, stdin=subprocess.DEVNULL, stdout=_STDERR, check=False)
    if ending.returncode:
        raise ComponentError("BUILD_FAILED", f"the build ended with status {ending.returncode}; its words are above")
