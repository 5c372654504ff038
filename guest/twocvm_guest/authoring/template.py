"""A folder to begin with: a component that works, its manifest for local runs, a sample of data, and a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .language import Language

_TEMPLATES: Final = Path(__file__).parent / "templates"
_COMMON: Final = "any"
# An interpreter takes more than compiled C.
_MEMORY_BYTES: Final = {Language.C: 16 << 20, Language.PYTHON: 128 << 20, Language.JS: 128 << 20}


def new_component(folder: Path, name: str, language: Language) -> tuple[str, ...]:
    """Write a new component's folder, which must not be there yet; return the names of its files.

    Args:
        folder: Where; it is made.
        name: The component's, as a manifest has it.
        language: What it is written in.

    Raises:
        OSError: The folder is there already, or cannot be written.
    """
    words = {
        "@name@": name,
        "@source@": language.source,
        "@setup@": language.setup,
        "@memory@": str(_MEMORY_BYTES[language]),
    }
    folder.mkdir(parents=True)
    for file in _files(language):
        text = file.read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        (folder / file.name).write_text(text, encoding="utf-8")
    return tuple(sorted(file.name for file in folder.iterdir()))


def _files(language: Language) -> Iterator[Path]:
    for part in (_TEMPLATES / language, _TEMPLATES / _COMMON):
        yield from (file for file in sorted(part.iterdir()) if file.is_file())
