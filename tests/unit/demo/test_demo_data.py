"""The demo's data: made by a script from the original, and committed as the script makes it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DATA = ROOT / "examples" / "demo" / "data"
ORIGINAL_SHA256 = "fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed"
PARTS = ("hospital-a/features.csv", "hospital-b/diagnoses.csv", "SHA256SUMS")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script makes now."""
    folder = tmp_path_factory.mktemp("made")
    subprocess.run([sys.executable, str(ROOT / "tools" / "make_demo_data.py"), str(folder)], check=True)
    return folder


def patients(name: str) -> list[str]:
    """The pseudonyms in a hospital's file, in its order."""
    return [line.split(",")[0] for line in (DATA / name).read_text().splitlines()[1:]]


def test_original_is_the_file_of_the_package() -> None:
    """The original is byte for byte the file whose source is named beside it."""
    assert hashlib.sha256((DATA / "original" / "breast_cancer.csv").read_bytes()).hexdigest() == ORIGINAL_SHA256
    assert ORIGINAL_SHA256 in (DATA / "README.md").read_text()


@pytest.mark.parametrize("name", PARTS)
def test_committed_file_is_what_the_script_makes(made: Path, name: str) -> None:
    """Making the data again gives the committed bytes."""
    assert (made / name).read_bytes() == (DATA / name).read_bytes()


def test_digests_are_those_of_the_files() -> None:
    """Each line of SHA256SUMS holds for its file."""
    for line in (DATA / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest


def test_the_join_is_a_join() -> None:
    """Each side knows patients that the other does not, and the common ones stand in different orders."""
    left, right = patients("hospital-a/features.csv"), patients("hospital-b/diagnoses.csv")
    common = set(left) & set(right)
    assert set(left) - common
    assert set(right) - common
    assert [name for name in left if name in common] != [name for name in right if name in common]
