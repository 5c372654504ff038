r"""Which files of this distribution an image needs: the modules that its programs import, whatever imports them.

An import counts wherever it stands, in a function too, but under `if TYPE_CHECKING`. Modules that are started or loaded
by a name that the program puts together are among the beginnings (`recipe.BEGINNINGS`), and so is nothing else.

>>> files = {"a/__init__.py": b"", "a/b.py": b"import json\nfrom . import c", "a/c.py": b"", "a/d.py": b""}
>>> sorted(reach(files, ("a/b.py",)).files), sorted(reach(files, ("a/b.py",)).others)
(['a/__init__.py', 'a/b.py', 'a/c.py'], ['json'])
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from . import recipe

_FOLDER: Final = "__init__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What was reached.

    Attributes:
        files: Of the files at hand, by path.
        others: The first names of all other modules: the standard library's and the wheels'.
    """

    files: Mapping[str, bytes]
    others: frozenset[str]


def reach(files: Mapping[str, bytes], beginnings: tuple[str, ...]) -> Reach:
    """Return what some modules import, directly or through others.

    Args:
        files: All Python files that there are, by path below the folder that they are imported from.
        beginnings: Patterns of paths, with `*` for anything.

    Raises:
        SyntaxError: A file is no Python.
    """
    modules = {_name(path): path for path in files if path.endswith(".py")}
    packages = {name.partition(".")[0] for name in modules}
    waiting = [name for name, path in modules.items() if recipe.matches(path, beginnings)]
    reached: set[str] = set()
    others: set[str] = set()
    while waiting:
        name = waiting.pop()
        above = name.rpartition(".")[0]
        if name.partition(".")[0] not in packages:
            others.add(name.partition(".")[0])
        elif name in modules and name not in reached:
            reached.add(name)
            path = modules[name]
            waiting += _imported(ast.parse(files[path]), name if path.endswith(f"/{_FOLDER}.py") else above)
        if above:
            # The package that it is in is imported before it; of a name that is no module's, this is the module.
            waiting.append(above)
    return Reach(files={modules[name]: files[modules[name]] for name in reached}, others=frozenset(others))


def needed(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return this distribution's files that are in an image: its programs' modules, and the data that these read."""
    data = {path: content for path, content in files.items() if recipe.matches(path, recipe.DATA)}
    return {**reach(files, recipe.BEGINNINGS).files, **data}


def _name(path: str) -> str:
    return path.removesuffix(".py").removesuffix(f"/{_FOLDER}").replace("/", ".")


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
            base = ".".join((*above, *filter(None, [module])))
            # What is imported may be a module, or a name in one.
            yield from (f"{base}.{alias.name}" for alias in names)
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=rest):
            yield from _imported_by(rest, package)
        case _:
            yield from _imported_by(ast.iter_child_nodes(node), package)


def _imported_by(nodes: Iterable[ast.AST], package: str) -> Iterator[str]:
    for node in nodes:
        yield from _imported(node, package)
