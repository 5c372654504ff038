"""Compiles the image's Python files by the image's own Python, so that a machine does not do it at each of its starts.

The compiled files are never compared with their sources (unchecked hashes, PEP 552), and no time, path or order of this
machine gets into them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from twocvm_verifier.errors import UnsupportedError

from . import recipe
from .tree import OWN, Tree

# Nothing of this machine's own Python counts, and yet the environment that is given: `-I` would not read it.
FLAGS: Final = ("-P", "-s", "-S", "-B")
ORDERED: Final = {"PYTHONHASHSEED": "0"}
# Addresses decide how some constants are written, so all of this runs at the same ones: PER_LINUX, ADDR_NO_RANDOMIZE.
_PROGRAM: Final = """
import ctypes, json, os, py_compile, sys
if not os.environ.get("FIXED"):
    if ctypes.CDLL(None).personality(0x0040000) == -1:
        sys.exit("personality(2): addresses cannot be fixed here")
    os.execve(sys.argv[2], json.loads(sys.argv[3]), {"FIXED": "1", **json.loads(sys.argv[4])})
root = sys.argv[1]
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
for source, target in json.load(sys.stdin):
    here, there, shown = f"{root}/{source}", f"{root}/{target}", f"/{source}"
    py_compile.compile(here, there, shown, doraise=True, invalidation_mode=mode)
"""


def run_inside(root: Path, program: str, *arguments: str) -> tuple[str, ...]:
    """Return the words that run a program of a tree on this machine, by the tree's own loader and libraries."""
    return (
        *(str(root / recipe.LIBRARIES / "ld-linux-x86-64.so.2"), "--library-path", str(root / recipe.LIBRARIES)),
        *(str(root / program), *arguments),
    )


def run_locked(words: tuple[str, ...], given: bytes) -> bytes:
    """Run a locked program on this machine, with nothing of its environment, and return what it writes.

    Raises:
        UnsupportedError: IMAGE_NOT_BUILT; it does not run here, or not to its end.
    """
    environment: Mapping[str, str] = {}
    try:
        return subprocess.run(words, input=given, env=environment, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"").decode("utf-8", "replace").strip().splitlines()
        last = said[-1] if said else str(error)
        raise UnsupportedError("IMAGE_NOT_BUILT", f"{Path(words[0]).name}: {last!r:.300}") from error


def compile_all(tree: Tree, root: Path) -> None:
    """Put the compiled form of every Python file beside it, or in its place where it is not this distribution's own.

    Args:
        tree: The image; changed.
        root: Where it is written on this machine; written to as well.

    Raises:
        UnsupportedError: IMAGE_NOT_BUILT; a file cannot be compiled, or not with the same bytes each time.
    """
    targets = {entry.path: compiled_path(entry.path) for entry in tree.entries() if entry.path.endswith(".py")}
    words = run_inside(root, recipe.PYTHON, *FLAGS, "-c", _PROGRAM, str(root))
    again = json.dumps([*words, "", "", ""])
    listed = json.dumps(list(targets.items())).encode()
    run_locked((*words, words[0], again, json.dumps(ORDERED)), listed)
    for source, target in targets.items():
        origin = tree[source].origin
        if not _is_own(source):
            tree.remove(source)
        tree.add_file(target, (root / target).read_bytes(), program=False, origin=origin)


def compiled_path(source: str) -> str:
    """Return where Python looks for the compiled form of a file, with its source beside it or without.

    >>> compiled_path("usr/lib/python3.11/os.py")
    'usr/lib/python3.11/os.pyc'
    """
    folder, _, name = source.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-311.pyc" if _is_own(source) else f"{source}c"


def _is_own(path: str) -> bool:
    # Its sources are what a simulated guest is measured by.
    return path.startswith(f"{recipe.SITE}/{OWN}_")
