"""The agent: started once, with less than the first process may do; its end is the machine's.

Whoever ends without a parent becomes the first process's child, so it waits for all of them.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Final

from twocvm_guest.image.command_line import Variant
from twocvm_guest.runtime.protect import OVERWRITING

from . import kernel
from .report import Say

ROOT: Final = Path("/run/simulated-root.pem")
_PROGRAM: Final = ("-I", "-c", "import sys; from twocvm_guest.unattended import main; main(*sys.argv[1:])")
_MEMINFO: Final = Path("/proc/meminfo")


def command(variant: Variant, port: int) -> tuple[str, ...]:
    """Return the agent's program and arguments."""
    simulated = (str(ROOT),) if variant is Variant.DEVELOPMENT else ()
    return (sys.executable, *_PROGRAM, str(port), *simulated)


def run(variant: Variant, port: int, say: Say) -> int:
    """Run the agent to its end, and return its exit status.

    Args:
        variant: Which image this is; the one for development says what the agent says.
        port: Where it listens.
        say: Told when it serves.

    Raises:
        OSError: It cannot be started.
    """
    words = command(variant, port)
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(words, theirs if variant is Variant.DEVELOPMENT else None)
    os.close(theirs)
    # Ends with the pipe, which is closed with the agent.
    threading.Thread(target=_tell, args=(ours, pid, say), daemon=True).start()
    return wait(pid)


def wait(pid: int) -> int:
    """Wait for all children until one has ended, and return its exit status (128 and more: a signal)."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _become(words: tuple[str, ...], output: int | None) -> None:
    try:
        if output is not None:
            os.dup2(output, 1)
        kernel.give_up_capabilities()
        # Begun with this environment it need not begin itself anew.
        os.execve(words[0], words, {"HOME": "/", "LANG": "C.UTF-8", **OVERWRITING})  # noqa: S606 - fixed program
    finally:
        os._exit(127)


def _tell(pipe: int, pid: int, say: Say) -> None:
    with os.fdopen(pipe, "rb") as lines:
        for line in lines:
            facts = json.loads(line)
            root = ROOT.read_text(encoding="ascii") if ROOT.exists() else ""
            agent_kib = proportional_kib(Path(f"/proc/{pid}/smaps_rollup").read_text())
            say("ready", **facts, root=root, agent_kib=agent_kib, used_kib=used_kib(_MEMINFO.read_text()))


def proportional_kib(rollup: str) -> int:
    """Return a process's own part of the memory in use, by the kernel's count (proc_pid_smaps(5))."""
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def used_kib(meminfo: str) -> int:
    """Return how much of the machine's memory is in use, by the kernel's own count (proc_meminfo(5))."""
    rows = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in meminfo.splitlines())}
    return rows["MemTotal"] - rows["MemAvailable"]
