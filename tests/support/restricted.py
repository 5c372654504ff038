"""Runs code where the machine gives less: without privileges, or without namespaces. The kernel really refuses there.

    python -m tests.support.restricted unprivileged CODE
    python -m tests.support.restricted no-namespaces CODE

Both need a user namespace to begin with; where there is none, `said` skips the test that asks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from twocvm_guest.runtime import syscalls

ROOT = Path(__file__).parents[2]
NO_NAMESPACE = 77
_KINDS = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")


def said(kind: str, code: str) -> Any:
    """The JSON that `code` prints in a process restricted in this way."""
    folders = [str(ROOT), *(entry for entry in sys.path if entry)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.restricted", kind, textwrap.dedent(code)],
        cwd=ROOT,
        env={"PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.returncode == NO_NAMESPACE:
        pytest.skip("this machine gives no user namespace to test in")
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def main(kind: str, code: str) -> None:
    """Become restricted, and the program `code`."""
    uid, gid = os.geteuid(), os.getegid()
    inner = 1000 if kind == "unprivileged" else 0
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{inner} {gid} 1")
        Path("/proc/self/uid_map").write_text(f"{inner} {uid} 1")
    except OSError:
        sys.exit(NO_NAMESPACE)
    if kind == "no-namespaces":
        for name in _KINDS:
            Path(f"/proc/sys/user/max_{name}_namespaces").write_text("0")
    os.execv(sys.executable, [sys.executable, "-c", code])  # noqa: S606 - the interpreter itself


if __name__ == "__main__":
    main(*sys.argv[1:])
