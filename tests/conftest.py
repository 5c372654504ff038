"""What all tests share: which of them begin, how long they may take, and what of them counts as covered.

Properties have no deadline, for a shared machine may pause; `timeout` bounds every test.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# The tests of a file stay in one process, so that what they share is made once. The longest files begin, the very
# longest first: begun last, it would run alone while the other processes have nothing left to do.
LONGEST = ("test_image_boot.py", "test_machine_host.py", "test_session_model.py", "test_authoring_languages.py")

# What counts lines, where they are counted: it has all Python of this thread take two or three times as long.
COUNTER = sys.gettrace()
# What is tested there is in no package that has a floor.
UNCOUNTED = ("tests/unit/bench/", "tests/unit/tools/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all else keeps its order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Generator[None, object, object]:
    """Count nothing of what it takes to run tests, here and in the process that only hands them out."""
    with _counted_by(None):
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Count what tests do."""
    with _counted_by(None if item.nodeid.startswith(UNCOUNTED) else COUNTER):
        return (yield)


pytest_runtest_setup = pytest_runtest_teardown = pytest_runtest_call


@contextmanager
def _counted_by(counter: Any) -> Iterator[None]:
    # Of this thread alone: threads and processes that a test starts are counted from their beginnings to their ends.
    before = sys.gettrace()
    sys.settrace(counter)
    try:
        yield
    finally:
        sys.settrace(before)
