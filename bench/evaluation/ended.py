"""Starts programs, and runs them to their end; who does not end in time is ended, with whatever it has started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from .model import FailedError

# A compiler, a package to install, one run of the largest kernel: none of them comes near.
SECONDS: Final = 600
_MOST_SAID: Final = 500


def ended(
    command: Sequence[str],
    *,
    seconds: float = SECONDS,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end and return its standard output.

    Args:
        command: What is started.
        seconds: How long it may take.
        cwd: Where; None is here.
        env: Its environment; None is ours.

    Raises:
        FailedError: It took longer, or ended with anything but 0; the text has its last words.
    """
    name = Path(command[0]).name
    with started(command, stdin=subprocess.DEVNULL, cwd=cwd, env=env) as process:
        try:
            output, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            end_all(process)
            raise FailedError(f"{name} took more than {seconds:g} s") from error
        except BaseException:
            end_all(process)
            raise
    if process.returncode:
        raise FailedError(f"{name} ended with {process.returncode}: {said.strip()[-_MOST_SAID:]}")
    return output


def started(
    command: Sequence[str], *, stdin: int, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a program as the first of a group of processes; what it says is read by whoever has it started.

    Args:
        command: What is started.
        stdin: `DEVNULL` or `PIPE`.
        cwd: Where; None is here.
        env: Its environment; None is ours.
    """
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        text=True,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def end_all(process: subprocess.Popen[str]) -> None:
    """End a process that is the first of its group, and the group with it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
