"""What the machine says while it starts and ends.

A development image writes one line of JSON for each event to its console. A production image has none, and says
nothing: there is nobody whom it could tell but the host.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Final

Say = Callable[..., None]
"""Takes the name of an event and facts about it."""

MARK: Final = "twocvm"
"""The name under which each line has its event, so that it is told from what the kernel writes."""


def to_console(event: str, **facts: object) -> None:
    """Write one event to the standard output, with the seconds since the machine was started."""
    seconds = round(time.clock_gettime(time.CLOCK_BOOTTIME), 2)
    line = json.dumps({MARK: event, "seconds": seconds, **facts}) + "\n"
    os.write(1, line.encode())


def to_nobody(event: str, **facts: object) -> None:
    """Say nothing."""
