"""What the machine says while it starts and ends.

A development image writes one line of JSON for each event to its console. A production image has no console: by its
first serial line leaves one word of a closed list for each event, without any fact, so that who runs the host knows
how it ended, and nobody can have it say more.

Spec: docs/spec/events.md.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from twocvm_guest.image.command_line import CommandLineError

from .payload import PayloadError
from .unmeasured import InputError

Say = Callable[..., None]
"""Takes the name of an event and facts about it."""

MARK: Final = "twocvm"
"""The name under which each line has its event, so that it is told from what the kernel writes."""

LINE: Final = "/dev/ttyS0"
_SIGNALLED: Final = 128


class Code(StrEnum):
    """Everything that a production image can say."""

    MADE = "MADE"
    HOST_INPUT = "HOST_INPUT"
    COMMAND_LINE = "COMMAND_LINE"
    PAYLOAD = "PAYLOAD"
    MACHINE = "MACHINE"
    ENDED = "ENDED"
    ENDED_NOT_AUTHENTIC = "ENDED_NOT_AUTHENTIC"
    ENDED_UNSUPPORTED = "ENDED_UNSUPPORTED"
    ENDED_CANNOT_JUDGE = "ENDED_CANNOT_JUDGE"
    ENDED_KILLED = "ENDED_KILLED"
    ENDED_FAILED = "ENDED_FAILED"


# By the agent's exit status, as the table of codes has it.
_ENDINGS: Final[Mapping[int, Code]] = MappingProxyType(
    {
        0: Code.ENDED,
        10: Code.ENDED_NOT_AUTHENTIC,
        20: Code.ENDED_UNSUPPORTED,
        40: Code.ENDED_CANNOT_JUDGE,
    }
)


def to_console(event: str, **facts: object) -> None:
    """Write one event to the standard output, with the seconds since the machine was started."""
    seconds = round(time.clock_gettime(time.CLOCK_BOOTTIME), 2)
    line = json.dumps({MARK: event, "seconds": seconds, **facts}, default=_in_words) + "\n"
    os.write(1, line.encode())


def to_host(event: str, **facts: object) -> None:
    """Write the event's code to the serial line, where there is one; a host that takes nothing only delays the end."""
    if (code := code_of(event, facts)) is None:
        return
    with suppress(OSError):
        line = os.open(LINE, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(line, f"{MARK} {code}\n".encode())
        finally:
            os.close(line)


def code_of(event: str, facts: Mapping[str, object]) -> Code | None:
    """Return what a host may know of an event; of most, nothing."""
    match event:
        case "made":
            return Code.MADE
        case "refused":
            return _of_refusal(facts.get("error"))
        case "ended":
            return _of_ending(facts.get("status"))
    return None


def _of_refusal(error: object) -> Code:
    if isinstance(error, InputError):
        return Code.HOST_INPUT
    if isinstance(error, PayloadError):
        return Code.PAYLOAD
    return Code.COMMAND_LINE if isinstance(error, CommandLineError) else Code.MACHINE


def _of_ending(status: object) -> Code:
    if not isinstance(status, int):
        return Code.ENDED_FAILED
    return Code.ENDED_KILLED if status > _SIGNALLED else _ENDINGS.get(status, Code.ENDED_FAILED)


def _in_words(error: object) -> str:
    return f"{type(error).__name__}: {error}"
