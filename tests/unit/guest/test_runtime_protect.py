"""What the guest's own process keeps to itself."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

from tests.support.restricted import said

CODE = """
    import ctypes, json
    from tests.support.actor import act, isolation
    from twocvm_guest.runtime.protect import keep_to_itself
    keep_to_itself()
    print(json.dumps([ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), len(isolation().promised) > 5, act("list /in").failure]))
"""


def test_a_protected_process_is_not_dumpable_and_still_runs() -> None:
    """After `keep_to_itself` no core is dumped, nobody traces the process, and it probes and runs as before."""
    command = [sys.executable, "-c", textwrap.dedent(CODE)]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
    assert json.loads(done.stdout) == [0, True, ""]


def test_it_holds_without_privileges() -> None:
    """The same holds for an ordinary user, to whom the process's own files in `/proc` no longer belong."""
    assert said("unprivileged", CODE) == [0, True, ""]
