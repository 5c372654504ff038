"""The packages that an image is made of, each by version, size and SHA-256. What is not in the lock is in no image.

`debian.json` names Debian's packages and where in an archive they lie; `wheels.txt` is pip's form and has what the
extra `guest` needs, at the versions and digests of `requirements/run.txt`. `tools.lock_image` writes both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.jsonfields import Fields

SCHEMA: Final = "twocvm/image-lock/v1"
FOLDER: Final = Path(__file__).parent / "lock"
DEBIAN: Final = FOLDER / "debian.json"
WHEELS: Final = FOLDER / "wheels.txt"
_DOCUMENT: Final = "image lock"
_MAX_BYTES: Final = 1 << 20
_MAX_PACKAGE_BYTES: Final = 1 << 28
_ARCHIVE: Final = re.compile(r"debian(-security)?")
_PATH: Final = re.compile(r"pool/(?:[A-Za-z0-9.+~_%-]+/)+[A-Za-z0-9.+~_%-]+\.deb")
_WHEEL: Final = re.compile(r"([a-z0-9-]+)==([A-Za-z0-9.+!]+) \\((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)\n")
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One Debian package.

    Attributes:
        name: Such as `libc6`; for the kernel the name without its version.
        version: As Debian writes it.
        archive: `debian` or `debian-security`.
        path: Below the archive's address.
        size: Bytes.
        sha256: Of the whole file (32 bytes).
    """

    name: str
    version: str
    archive: str
    path: str
    size: int
    sha256: bytes

    @property
    def origin(self) -> str:
        """Name and version, as lists of files show them."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """One distribution from the package index: any file with one of these digests (32 bytes each) is it."""

    name: str
    version: str
    sha256: frozenset[bytes]

    @property
    def origin(self) -> str:
        """Name and version, as lists of files show them."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Everything that an image is made of beside this distribution itself."""

    packages: tuple[Package, ...]
    wheels: tuple[Wheel, ...]


def load_lock() -> Lock:
    """Return the lock that comes with this distribution."""
    return Lock(packages=parse_packages(DEBIAN.read_bytes()), wheels=parse_wheels(WHEELS.read_text(encoding="utf-8")))


def parse_packages(raw: bytes) -> tuple[Package, ...]:
    """Return the Debian packages of a lock.

    Raises:
        MalformedError: It is none.
    """
    value = strictjson.parse(raw, document=_DOCUMENT, max_bytes=_MAX_BYTES)
    fields = Fields(value, document=_DOCUMENT, pointer="", required={"schema", "packages"})
    fields.exactly("schema", SCHEMA)
    rows = fields.objects("packages", required={"name", "version", "archive", "path", "size", "sha256"})
    if not rows:
        raise MalformedError(_DOCUMENT, "/packages", "want at least one")
    return tuple(map(_package, rows))


def parse_wheels(text: str) -> tuple[Wheel, ...]:
    """Return the distributions of a lock in pip's form, as `uv pip compile --generate-hashes` writes it.

    Raises:
        MalformedError: A line is of no such form.
    """
    found = tuple(_WHEEL.finditer(text))
    if not found or sum(len(match.group()) for match in found) != len(text):
        raise MalformedError(_DOCUMENT, "wheels", "want NAME==VERSION with SHA-256 digests, and nothing else")
    return tuple(
        Wheel(
            name=match.group(1),
            version=match.group(2),
            sha256=frozenset(bytes.fromhex(digest) for digest in _DIGEST.findall(match.group(3))),
        )
        for match in found
    )


def _package(fields: Fields) -> Package:
    for member, form in (("archive", _ARCHIVE), ("path", _PATH)):
        # Both become part of an address; neither may lead elsewhere.
        if not form.fullmatch(fields.text(member)) or ".." in fields.text(member):
            raise MalformedError(_DOCUMENT, member, f"got {fields.text(member)!r:.80}, want a place in an archive")
    return Package(
        name=fields.text("name"),
        version=fields.text("version"),
        archive=fields.text("archive"),
        path=fields.text("path"),
        size=fields.integer("size", maximum=_MAX_PACKAGE_BYTES),
        sha256=fields.hash("sha256"),
    )
