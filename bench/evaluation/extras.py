"""What is compared with and is no part of the product: packages that are locked by digest, in a Python of their own.

It is made once, in `build/evaluation/python`, by the digest of its requirements.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .build import BUILT, ROOT, sha256
from .elsewhere import __file__ as elsewhere
from .ended import ended
from .model import FailedError, MissingError
from .process import Served


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """Packages that one Python has.

    Attributes:
        title: For people.
        requirements: The file that locks them.
        version: Of CPython, where it must be one; empty is the one that runs this.
    """

    title: str
    requirements: Path
    version: str = ""


PEERS: Final = Extra(
    title="onnx, onnxruntime, TenSEAL and MPyC", requirements=Path(__file__).with_name("requirements.txt")
)
OPENFHE: Final = Extra(
    title="OpenFHE", requirements=Path(__file__).with_name("requirements-openfhe.txt"), version="3.10"
)


def python(it: Extra, *, fetches: bool) -> Path:
    """Return the Python that has the packages.

    Raises:
        MissingError: There is none, and it cannot or must not be made.
    """
    digest = sha256(it.requirements)
    folder = BUILT / "python" / digest[:16]
    ready = folder / "ready"
    if not ready.exists():
        base = _base(it)
        if not fetches:
            raise MissingError(f"{it.title}: not fetched yet")
        shutil.rmtree(folder, ignore_errors=True)
        made = str(folder / "bin" / "python")
        _run(it, [base, "-m", "venv", "--without-pip", str(folder)])
        pip = (sys.executable, "-m", "pip", "--python", made, "--disable-pip-version-check", "install", "-q")
        _run(it, [*pip, "--require-hashes", "--only-binary=:all:", "-r", str(it.requirements)])
        ready.write_text(f"{digest}\n")
    return folder / "bin" / "python"


def run(interpreter: Path, module: str, *arguments: str) -> None:
    """Run a module of `elsewhere` in such a Python, to its end.

    Raises:
        FailedError: It failed.
    """
    ended([str(interpreter), "-m", f"bench.evaluation.elsewhere.{module}", *arguments], cwd=ROOT)


def digests(it: Extra, module: str) -> dict[str, str]:
    """Return the SHA-256 of a module of `elsewhere`, and of what locks its packages."""
    program = Path(elsewhere).with_name(f"{module}.py")
    return {path.name: sha256(path) for path in (it.requirements, program)}


def served(interpreter: Path, module: str, request: dict[str, object]) -> Served:
    """Return a module of `elsewhere` that was started in such a Python and is ready to be sampled."""
    return Served([str(interpreter), "-m", f"bench.evaluation.elsewhere.{module}"], request)


def _run(it: Extra, command: list[str]) -> None:
    try:
        ended(command)
    except FailedError as error:
        raise MissingError(f"{it.title}: could not be installed: {str(error).splitlines()[-1]}") from error


def _base(it: Extra) -> str:
    if not it.version:
        return sys.executable
    for each in _pythons(it.version):
        asked = [each, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        with suppress(FailedError):
            if ended(asked).strip() == it.version:
                return each
    raise MissingError(f"{it.title} loads in CPython {it.version} alone, which is not here")


def _pythons(version: str) -> Iterator[str]:
    if found := shutil.which(f"python{version}"):
        yield found
    # Where pyenv keeps those that are not on the path.
    yield from map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
