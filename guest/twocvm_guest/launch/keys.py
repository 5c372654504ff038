"""The keys that sign identity blocks: P-384, in files that nobody but their owner reads."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

_MAX_FILE_BYTES: Final = 16_384
_FOR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OWNER_ONLY: Final = 0o600


def write_new_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Make a key and write it to a file that is not there yet: PKCS#8 in PEM, mode 0600.

    Raises:
        OSError: There is such a file already, or it cannot be written.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, _OWNER_ONLY), "wb") as stream:
        stream.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key.public_key()


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the key in a file.

    Raises:
        ValueError: Others can read or exchange the file, or it holds no P-384 key without a password.
        OSError: It cannot be read.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb") as stream:
        status = os.fstat(stream.fileno())
        if status.st_mode & _FOR_OTHERS or status.st_uid != os.geteuid():
            raise ValueError(f"{str(path)!r}: others can read it, want mode 0600 and one's own")
        raw = stream.read(_MAX_FILE_BYTES)
    try:
        key = load_pem_private_key(raw, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{str(path)!r}: no private key in PEM without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ValueError(f"{str(path)!r}: not a key on P-384")
    return key
