"""Files with secrets: read only where nobody but their owner can."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from twocvm_verifier.errors import MalformedError

from .problems import ServiceError

MAX_SECRET_BYTES: Final = 16_384
SEAL_KEY_BYTES: Final = 32
_FOR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_SEAL_KEY: Final = re.compile(rb"([0-9a-fA-F]{64})\s*", re.ASCII)
_PASSWORD: Final = re.compile(rb"([!-~]{1,1024})\s*", re.ASCII)


def read_secret(path: Path, *, code: str = "SECRET_EXPOSED") -> bytes:
    """Return what a secret file holds, at most 16 KiB of it.

    Args:
        path: The file; no link, for a link that somebody else can change is not a file of this owner's.
        code: What is said where others can read it.

    Raises:
        ServiceError: `code`.
        OSError: It cannot be read.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
        if os.fstat(stream.fileno()).st_mode & _FOR_OTHERS:
            raise ServiceError(code, "secret file: others can read it, want mode 0600")
        return stream.read(MAX_SECRET_BYTES)


def read_seal_key(path: Path) -> bytes:
    """Return the key (32 bytes) with which replicas seal challenges.

    Raises:
        ServiceError: SECRET_EXPOSED.
        MalformedError: The file does not hold 64 hex digits.
        OSError: It cannot be read.
    """
    match = _SEAL_KEY.fullmatch(read_secret(path))
    if match is None:
        raise MalformedError("secret", "seal_key", "not 64 hex digits")
    return bytes.fromhex(match[1].decode("ascii"))


def read_password(path: Path) -> str:
    """Return the password in a file: one line of visible ASCII.

    Raises:
        ServiceError: SECRET_EXPOSED.
        MalformedError: The file holds something else.
        OSError: It cannot be read.
    """
    match = _PASSWORD.fullmatch(read_secret(path))
    if match is None:
        raise MalformedError("secret", "password", "not one line of 1 to 1024 visible ASCII characters")
    return match[1].decode("ascii")


@contextmanager
def file_of(name: str, path: Path | None) -> Iterator[None]:
    """Say of a file that cannot be read which setting names it.

    Raises:
        MalformedError: It cannot be read inside of the `with`.
    """
    try:
        yield
    except OSError as error:
        raise MalformedError("settings", name, f"{str(path)!r}: {error.strerror}") from error
