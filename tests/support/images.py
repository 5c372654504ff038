"""The image, built once for all workers of a run of the tests; skips where its packages cannot be had."""

from __future__ import annotations

import fcntl
import os
import pickle
import platform
from pathlib import Path
from typing import Final

import pytest

from twocvm_guest.image import packages
from twocvm_guest.image.build import Image, Parts, build_images, own_files
from twocvm_guest.image.command_line import Variant
from twocvm_guest.image.lock import load_lock
from twocvm_verifier.errors import FetchError

PACKAGES: Final = Path(os.environ.get("TWOCVM_PACKAGES", Path(__file__).parents[2] / "build" / "image" / "packages"))


def locked_parts() -> Parts:
    """Return the locked packages, from the cache or a mirror."""
    if platform.machine() != "x86_64":
        pytest.skip("the image is built on x86_64")
    lock = load_lock()
    try:
        fetched = packages.fetch_packages(lock, PACKAGES, mirrors=packages.mirrors(), get=packages.get)
        return Parts(lock=lock, packages=fetched, wheels=packages.fetch_wheels(lock, PACKAGES), own=own_files())
    except FetchError as error:
        pytest.skip(f"the locked packages cannot be had here: {error}")


def built_images(folder: Path) -> tuple[Image, ...]:
    """Return both images.

    Args:
        folder: As `shared_folder`.
    """
    kept = folder / "images.pickle"
    with (folder / "images.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(build_images(locked_parts(), tuple(Variant))))
    images: tuple[Image, ...] = pickle.loads(kept.read_bytes())  # noqa: S301 - written a moment ago by a test
    return images


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all workers of this run of the tests have."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
