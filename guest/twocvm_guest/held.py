"""What the machine itself brought: files that anybody may know, which an item's owner names instead of sending them.

They are found by their SHA-256 and by nothing else, and are hashed like bytes that arrive: who else could put files
there changes nothing in what is admitted.
"""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

from twocvm_guest.image.command_line import PAYLOAD_FOLDER
from twocvm_verifier.errors import ReleaseError


def open_held(name: str, sha256: bytes, *, folder: Path = PAYLOAD_FOLDER) -> FileIO:
    """Return the file of that digest, to be read and closed.

    Args:
        name: The item's name, for the refusal.
        sha256: Its digest (32 bytes).
        folder: Where the machine has such files, if it has any.

    Raises:
        ReleaseError: ITEM_NOT_HELD.
    """
    try:
        return FileIO(os.open(folder / sha256.hex(), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError as error:
        raise ReleaseError("ITEM_NOT_HELD", f"item {name!r}: the machine has no such file") from error
