"""The component that tests act with is what its committed source gives."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.support.actor import COMPONENTS
from tools.build_command import build

from twocvm_verifier.errors import UnsupportedError

NAMES = ("actor", "filter")


def test_components_have_their_digests_and_are_small() -> None:
    """The committed bytes are those whose digest is committed, and few enough to be looked at."""
    contents = {f"{name}.wasm": (COMPONENTS / f"{name}.wasm").read_bytes() for name in NAMES}
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()]
    assert (COMPONENTS / "SHA256SUMS").read_text() == "".join(lines)
    assert max(map(len, contents.values())) < 200_000


@pytest.mark.parametrize("name", NAMES)
def test_components_are_what_their_sources_give(name: str, tmp_path: Path) -> None:
    """Where the toolchain is at hand, building the source gives the committed bytes."""
    built = tmp_path / f"{name}.wasm"
    try:
        build(COMPONENTS / f"{name}.c", built, fetch=False)
    except UnsupportedError as error:
        pytest.skip(f"no toolchain: {error}")
    assert built.read_bytes() == (COMPONENTS / f"{name}.wasm").read_bytes()
