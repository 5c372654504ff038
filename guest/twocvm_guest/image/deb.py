"""What is in a Debian package: an `ar` archive with a `tar` in it.

Spec: deb(5), ar(5).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from twocvm_verifier.errors import MalformedError

_MAGIC: Final = b"!<arch>\n"
_HEADER_BYTES: Final = 60
# From 2023 on all of Debian's system lies below /usr, and these are links.
_MERGED: Final = ("bin", "sbin", "lib", "lib64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """One file or link of a package.

    Attributes:
        path: Below `usr` where Debian's links lead there.
        content: A file's bytes; empty for a link.
        target: Where a link leads; empty for a file.
        program: Whether it may be run.
    """

    path: str
    content: bytes
    target: str
    program: bool


def read_package(raw: bytes, wanted: Callable[[str], bool]) -> Iterator[Packed]:
    """Yield the files and symbolic links of a package that are wanted, by their paths.

    Raises:
        MalformedError: It is no Debian package.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(_data(raw))) as files:
            for member in files:
                path = _merged(member.name.removeprefix("./"))
                if (member.isfile() or member.issym()) and wanted(path):
                    file = files.extractfile(member) if member.isfile() else None
                    yield Packed(
                        path=path,
                        content=file.read() if file else b"",
                        target="" if file else _target(member.linkname),
                        program=bool(member.mode & 0o111),
                    )
    except (tarfile.TarError, EOFError) as error:
        raise MalformedError("package", "data", "is no tar archive that can be read") from error


def _data(raw: bytes) -> bytes:
    if not raw.startswith(_MAGIC):
        raise MalformedError("package", "magic", "want an ar archive")
    position = len(_MAGIC)
    while position + _HEADER_BYTES <= len(raw):
        name = raw[position : position + 16].rstrip(b" /")
        digits = raw[position + 48 : position + 58].strip()
        size = int(digits) if digits.isdigit() else 0
        position += _HEADER_BYTES
        if name.startswith(b"data.tar"):
            return raw[position : position + size]
        position += size + size % 2
    raise MalformedError("package", "data", "there is none")


def _merged(path: str) -> str:
    return f"usr/{path}" if path.partition("/")[0] in _MERGED else path


def _target(target: str) -> str:
    return f"/{_merged(target[1:])}" if target.startswith("/") else target
