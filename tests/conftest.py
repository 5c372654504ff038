"""What all tests share: properties have no deadline, for a shared machine may pause; `timeout` bounds every test."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# A machine is built and booted there, for a minute or more; begun last, every other worker would wait for it.
_LONGEST = "test_image_boot.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first; all else keeps its order."""
    items.sort(key=lambda item: item.path.name != _LONGEST)
