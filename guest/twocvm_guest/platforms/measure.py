"""MEASUREMENT of the simulated platform: what a simulated guest runs, as far as anybody can say.

On hardware the chip measures the whole image. Here it is the code of the four packages, by path and content, so that a
manifest written for one version of the software refuses another (`docs/spec/simulated.md`, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from twocvm_verifier import framing, strictjson

PACKAGES: Final = ("twocvm_certs", "twocvm_guest", "twocvm_sdk", "twocvm_verifier")
# What the interpreter leaves there, and the examples, which a wheel brings along and a checkout has elsewhere.
_BESIDE: Final = frozenset({"__pycache__", "_examples"})


def measure_installed() -> bytes:
    """Return MEASUREMENT of the packages as they are installed here (48 bytes)."""
    return measure(installed_folders())


def installed_folders() -> dict[str, Path]:
    """Return where each of the packages is installed here."""
    return {name: _folder(name) for name in PACKAGES}


def measure(folders: Mapping[str, Path]) -> bytes:
    """Return SHA-384 over the files of `folders` (48 bytes).

    Every regular file counts, by `NAME/path/inside` and SHA-256, but for compiled caches, which follow from the rest,
    for the examples, and for what begins with a dot, which tools leave there and nothing imports. So a version is the
    same however it was installed.

    Args:
        folders: For each package its folder.
    """
    return measure_files(read_files(folders))


def measure_files(files: Mapping[str, bytes]) -> bytes:
    """Return SHA-384 over files at hand, by `NAME/path/inside` (48 bytes); as `measure`."""
    rows = sorted((path, framing.sha256(content).hex()) for path, content in files.items())
    return framing.simulated_measurement(strictjson.canonical(rows))


def read_files(folders: Mapping[str, Path]) -> dict[str, bytes]:
    """Return what counts of `folders`, by `NAME/path/inside`; as `measure`."""
    return {
        f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for name, folder in folders.items()
        for path in folder.rglob("*")
        if path.is_file() and not any(part in _BESIDE or part[0] == "." for part in path.relative_to(folder).parts)
    }


def _folder(name: str) -> Path:
    # Found without importing: the guest's own layers stay apart.
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"package {name} is not installed as a folder of files")
    return Path(spec.submodule_search_locations[0])
