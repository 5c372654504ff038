"""The list of an image's files, which is committed: whoever looks at a change sees what it does to the image.

One line a path: mode, SHA-256 of the content (or where a link leads), where it is from. This distribution's own files
are not in it: they are what is in the repository, and change with every edit.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable
from typing import Final

from twocvm_verifier.errors import BindingError

from .lock import FOLDER
from .tree import IMAGE, OWN, Entry

LIST: Final = FOLDER / "files.txt"
"""The list that is committed."""

_SHOWN: Final = 5


def render(entries: Iterable[Entry]) -> str:
    """Return the list: one line each, in the order given."""
    return "".join(f"{line}\n" for line in map(_line, entries) if line)


def require_same(built: str, listed: str) -> None:
    """Compare what `render` says of an image with a list.

    Raises:
        BindingError: IMAGE_FILES_DIFFER, with the first lines that differ.
    """
    have, want = built.splitlines(), listed.splitlines()
    changes = [f"+{line}" for line in have if line not in set(want)]
    changes += [f"-{line}" for line in want if line not in set(have)]
    if changes:
        shown = "; ".join(changes[:_SHOWN])
        raise BindingError("IMAGE_FILES_DIFFER", f"image: {len(changes)} lines differ from its list: {shown}")


def _line(entry: Entry) -> str:
    mode = f"{stat.filemode(entry.mode)} {entry.path}"
    if entry.origin.split(" ")[0] == OWN or (stat.S_ISDIR(entry.mode) and f"/{OWN}" in entry.path):
        return ""
    if stat.S_ISLNK(entry.mode):
        return f"{mode} -> {entry.content.decode()}  {entry.origin}"
    if stat.S_ISDIR(entry.mode) or entry.origin == IMAGE:
        return f"{mode}  {entry.origin}"
    return f"{mode} {hashlib.sha256(entry.content).hexdigest()}  {entry.origin}"
