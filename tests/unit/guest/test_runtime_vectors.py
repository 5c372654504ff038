"""The component that tests act with is what its committed source gives."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.support.actor import ACTOR, COMPONENTS
from tools.build_components import Toolchain, ToolchainMissingError


def test_the_actor_has_its_digest_and_is_small() -> None:
    """The committed bytes are those whose digest is committed, and few enough to be looked at."""
    assert (COMPONENTS / "SHA256SUMS").read_text() == f"{hashlib.sha256(ACTOR).hexdigest()}  actor.wasm\n"
    assert len(ACTOR) < 200_000


def test_the_actor_is_what_its_source_gives(tmp_path: Path) -> None:
    """Where the toolchain is at hand, building the source gives the committed bytes."""
    try:
        toolchain = Toolchain.at_hand(fetch=False)
    except ToolchainMissingError as error:
        pytest.skip(f"no toolchain: {error}")
    built = tmp_path / "actor.wasm"
    toolchain.build([COMPONENTS / "actor.c"], built)
    assert built.read_bytes() == ACTOR
