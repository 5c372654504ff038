"""Who takes part in the demo, and what each of them brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

# Somebody with keys of its own that the manifest does not know, such as whoever runs the machine.
STRANGER: Final = "stranger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One participant of the demo.

    Attributes:
        name: As in the manifest.
        files: What it releases, by the manifest's names: paths below the demo's folder.
    """

    name: str
    files: Mapping[str, str]

    def items(self, demo: Path) -> dict[str, Path]:
        """Return what it releases, by name."""
        return {name: demo / file for name, file in self.files.items()}


CAST: Final = (
    Role(name="hospital-a", files=MappingProxyType({"features": "data/hospital-a/features.csv"})),
    Role(name="hospital-b", files=MappingProxyType({"diagnoses": "data/hospital-b/diagnoses.csv"})),
    Role(
        name="analytics",
        files=MappingProxyType({"join": "components/join.wasm", "regression": "components/regression.wasm"}),
    ),
)
