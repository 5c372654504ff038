"""What all tests share: which of them begin, how long they may take, and what of them counts as covered.

Properties have no deadline, for a shared machine may pause; `timeout` bounds every test.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import xdist
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# The tests of a file stay in one process, so that what they share is made once. The longest files begin: begun last,
# one would run alone while the other processes have nothing left to do. Of two that share an image the second comes
# later, when the first has built it.
LONGEST = (
    *("test_image_boot.py", "test_session_model.py", "test_authoring_languages.py", "test_machine_host.py"),
    "test_machine_devices.py",
)

# What counts lines, where they are counted: it has all Python of this thread take two or three times as long.
COUNTER = sys.gettrace()
COUNTED = ("twocvm_certs", "twocvm_verifier", "twocvm_sdk", "twocvm_guest")
# What is tested there is in none of these.
UNCOUNTED = ("tests/unit/bench/", "tests/unit/tools/")
# Functions of the counted packages that remember what they gave.
REMEMBERING: list[Any] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all else keeps its order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Count how modules begin, and nothing of what it takes to find ten thousand tests."""
    if COUNTER and not xdist.is_xdist_controller(session):
        for name in COUNTED:
            for found in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
                module = importlib.import_module(found.name)
                REMEMBERING.extend(value for value in vars(module).values() if hasattr(value, "cache_clear"))
    with _uncounted():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Generator[None, object, object]:
    """Count nothing of what it takes to run tests, here and in the process that only hands them out."""
    with _uncounted():
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Count what tests do, but not with what was drawn by chance: no floor may stand on that."""
    drawn = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
    with _uncounted() if drawn or item.nodeid.startswith(UNCOUNTED) else _counted():
        return (yield)


pytest_runtest_setup = pytest_runtest_teardown = pytest_runtest_call


# Both are of this thread alone: threads and processes that a test starts are counted from beginning to end.
@contextmanager
def _counted() -> Iterator[None]:
    sys.settrace(COUNTER)
    try:
        yield
    finally:
        sys.settrace(None)


@contextmanager
def _uncounted() -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        # What was computed uncounted is computed once more for whoever asks next.
        for function in REMEMBERING:
            function.cache_clear()
        sys.settrace(before)
