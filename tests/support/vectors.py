"""Where genuine evidence lies on a development machine. It is never committed; tests say so when they skip."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenuineReport:
    """One report that a real chip made, with the certificates of its key."""

    name: str
    report: bytes
    vek: bytes
    intermediate: bytes
    root: bytes
    meta: dict[str, Any]

    @property
    def at(self) -> datetime:
        """A time at which all its certificates are valid."""
        return datetime.fromisoformat(self.meta["vek_not_before"]) + timedelta(days=1)


def vectors_folder() -> Path | None:
    """Return the folder of genuine evidence, or None where this machine has none."""
    folder = Path(os.environ.get("TWOCVM_VECTORS", ROOT.parent / "shared" / "vectors"))
    return folder if folder.is_dir() else None


@cache
def genuine_reports() -> tuple[GenuineReport, ...]:
    """Return every genuine SNP report at hand; none where there are no vectors."""
    folder = vectors_folder()
    if folder is None:
        return ()
    return tuple(_read(path.parent) for path in sorted(folder.glob("snp/*/report.bin")))


def negative_files() -> tuple[Path, ...]:
    """Return every file of evidence that must be refused; none where there are no vectors."""
    folder = vectors_folder()
    return () if folder is None else tuple(sorted(folder.glob("snp/_negative/*")))


def require_vectors() -> Path:
    """Return the folder of genuine evidence, or skip the test and say why."""
    folder = vectors_folder()
    if folder is None:
        pytest.skip("no genuine evidence here: put it at ../shared/vectors or name the folder in TWOCVM_VECTORS")
    return folder


def _read(folder: Path) -> GenuineReport:
    (vek,) = folder.glob("v?ek.der")
    (intermediate,) = [path for path in (folder / "ask.der", folder / "asvk.der") if path.is_file()]
    return GenuineReport(
        name=folder.name,
        report=(folder / "report.bin").read_bytes(),
        vek=vek.read_bytes(),
        intermediate=intermediate.read_bytes(),
        root=(folder / "ark.der").read_bytes(),
        meta=json.loads((folder / "meta.json").read_text()),
    )
