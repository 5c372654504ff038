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

from . import recipe
from .tree import IMAGE, Tree

# Addresses decide how some constants are written, so all of this runs at the same ones: PER_LINUX, ADDR_NO_RANDOMIZE.
_PROGRAM: Final = """
import ctypes, json, os, py_compile, sys
if not os.environ.get("FIXED"):
    ctypes.CDLL(None).personality(0x0040000)
    os.execve(sys.argv[2], json.loads(sys.argv[3]), {"FIXED": "1", "PYTHONHASHSEED": "0"})
root = sys.argv[1]
for path in json.load(sys.stdin):
    folder, name = os.path.split(path)
    target = f"{root}/{folder}/__pycache__/{name.removesuffix('.py')}.cpython-311.pyc"
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(f"{root}/{path}", target, f"/{path}", doraise=True, quiet=2, invalidation_mode=mode)
"""


def run_inside(root: Path, program: str, *arguments: str) -> tuple[str, ...]:
    """Return the words that run a program of a tree on this machine, by the tree's own loader and libraries."""
    return (
        *(str(root / recipe.LIBRARIES / "ld-linux-x86-64.so.2"), "--library-path", str(root / recipe.LIBRARIES)),
        *(str(root / program), *arguments),
    )


def compile_all(tree: Tree, root: Path) -> None:
    """Add the compiled form of every Python file.

    Args:
        tree: The image; added to.
        root: Where it is written on this machine; written to as well.

    Raises:
        CalledProcessError: A file cannot be compiled.
    """
    sources = [entry.path for entry in tree.entries() if entry.path.endswith(".py")]
    words = run_inside(root, recipe.PYTHON, "-I", "-S", "-B", "-c", _PROGRAM, str(root))
    again = json.dumps([*words, "", ""])
    environment: Mapping[str, str] = {}
    subprocess.run(
        (*words, words[0], again), input=json.dumps(sources).encode(), env=environment, check=True, capture_output=True
    )
    for source in sources:
        folder, _, name = source.rpartition("/")
        path = f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-311.pyc"
        tree.add_file(path, (root / path).read_bytes(), program=False, origin=IMAGE)
