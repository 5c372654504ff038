"""The languages that a component can be written in here, and the one tool that each needs besides this package.

Versions are fixed. For C the same sources give the same bytes; the tools of Python and JavaScript take a snapshot of a
running interpreter, which is another one each time, so that only the digest says which build is meant.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import Final

from twocvm_verifier.errors import UnsupportedError

# The compiler clang, its linker and WASI's C library in one wheel.
ZIGLANG: Final = "0.15.2"
COMPONENTIZE_PY: Final = "0.25.0"
COMPONENTIZE_JS: Final = "0.23.0"
_JS_PACKAGE: Final = "@bytecodealliance/componentize-js"


class Language(StrEnum):
    """What `--lang` takes; also the name of the language's folders in `sdk` and `templates`."""

    C = "c"
    PYTHON = "python"
    JS = "js"

    @property
    def source(self) -> str:
        """The file that a component's folder must have."""
        return {Language.C: "component.c", Language.PYTHON: "component.py", Language.JS: "component.js"}[self]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files that are built together with it."""
        return {Language.C: (".c", ".h"), Language.PYTHON: (".py", ".wit"), Language.JS: (".js", ".mjs", ".wit")}[self]

    @property
    def setup(self) -> str:
        """The command that installs its tool; for JavaScript it is given in the component's folder."""
        return {
            Language.C: f"pip install ziglang=={ZIGLANG}",
            Language.PYTHON: f"pip install componentize-py=={COMPONENTIZE_PY}",
            Language.JS: "npm install",
        }[self]


def require_tool(language: Language, folder: Path) -> None:
    """Refuse to begin a build whose tool is not there.

    Args:
        language: Of the component.
        folder: The component's.

    Raises:
        UnsupportedError: TOOLCHAIN_MISSING; the detail has the command that installs it.
    """
    if language is Language.JS:
        _require_node(folder)
        return
    package, want = {
        Language.C: ("ziglang", ZIGLANG),
        Language.PYTHON: ("componentize-py", COMPONENTIZE_PY),
    }[language]
    try:
        got = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        got = "none"
    if got != want:
        command = f"{sys.executable} -m {language.setup}"
        raise UnsupportedError("TOOLCHAIN_MISSING", f"{package}: got {got}, want {want}: {command}")


def _require_node(folder: Path) -> None:
    if shutil.which("node") is None:
        raise UnsupportedError("TOOLCHAIN_MISSING", "node: got none, want Node.js 20 or later with npm")
    try:
        found = json.loads((folder / "node_modules" / _JS_PACKAGE / "package.json").read_bytes())["version"]
    except (OSError, ValueError, KeyError):
        found = "none"
    if found != COMPONENTIZE_JS:
        command = f"npm install --prefix {folder} {_JS_PACKAGE}@{COMPONENTIZE_JS}"
        raise UnsupportedError("TOOLCHAIN_MISSING", f"{_JS_PACKAGE}: got {found}, want {COMPONENTIZE_JS}: {command}")
