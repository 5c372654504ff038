"""Names of imports and exports, and which of them each profile allows.

Admission in the guest uses the same list, so what a manifest may say and what a component may import cannot differ.
Types of interfaces are not named here: admission compares those on the component itself.

>>> allows(Profile.FILES, "wasi:io/streams@0.2.3"), allows(Profile.FILES, "wasi:sockets/tcp@0.2.3")
(True, False)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .model import Profile

MAX_WIT_NAME_CHARACTERS: Final = 160

_WORD: Final = r"[a-z][a-z0-9]*(?:-[a-z][a-z0-9]*)*"
_NUMBER: Final = r"(?:0|[1-9][0-9]{0,8})"
_PLAIN: Final = re.compile(_WORD, re.ASCII)
_INTERFACE: Final = re.compile(
    rf"(?P<path>{_WORD}:{_WORD}/{_WORD})@(?P<version>{_NUMBER}\.{_NUMBER}\.{_NUMBER})", re.ASCII
)
_WASI_VERSION: Final = re.compile(rf"0\.2\.{_NUMBER}", re.ASCII)

RUN_INTERFACE: Final = "wasi:cli/run"
# How a component of any profile has windows laid over its memory (`docs/spec/window.md`).
WINDOWS_INTERFACE: Final = "twocvm:window/windows@1.0.0"

# What a C program imports through the preview 1 adapter. Behind each the runtime puts something harmless: no
# environment, no arguments, standard streams that lead nowhere, clocks and random as the manifest's rules say.
_FILES_IMPORTS: Final = frozenset(
    {
        "wasi:cli/environment",
        "wasi:cli/exit",
        "wasi:cli/stderr",
        "wasi:cli/stdin",
        "wasi:cli/stdout",
        "wasi:cli/terminal-input",
        "wasi:cli/terminal-output",
        "wasi:cli/terminal-stderr",
        "wasi:cli/terminal-stdin",
        "wasi:cli/terminal-stdout",
        "wasi:clocks/monotonic-clock",
        "wasi:clocks/wall-clock",
        "wasi:filesystem/preopens",
        "wasi:filesystem/types",
        "wasi:io/error",
        "wasi:io/poll",
        "wasi:io/streams",
        "wasi:random/insecure",
        "wasi:random/insecure-seed",
        "wasi:random/random",
    }
)

ALLOWED_IMPORTS: Final[Mapping[Profile, frozenset[str]]] = MappingProxyType(
    {Profile.PURE: frozenset(), Profile.FILES: _FILES_IMPORTS}
)


def is_wit_name(text: str) -> bool:
    """Return whether `text` is a plain name or an interface with its version (`docs/spec/manifest.md`, Types)."""
    return len(text) <= MAX_WIT_NAME_CHARACTERS and bool(_PLAIN.fullmatch(text) or _INTERFACE.fullmatch(text))


def allows(profile: Profile, name: str) -> bool:
    """Return whether a component of `profile` may import `name` from the runtime."""
    return name == WINDOWS_INTERFACE or _wasi_path(name) in ALLOWED_IMPORTS[profile]


def is_run_interface(name: str) -> bool:
    """Return whether `name` is `wasi:cli/run` of WASI 0.2, the entry of every `files` component."""
    return _wasi_path(name) == RUN_INTERFACE


def _wasi_path(name: str) -> str:
    """Return the interface without its version, or the empty string where it is not one of WASI 0.2."""
    match = _INTERFACE.fullmatch(name)
    if match is None or not _WASI_VERSION.fullmatch(match["version"]):
        return ""
    return match["path"]
