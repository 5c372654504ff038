"""What the guest's own process keeps to itself."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def test_a_protected_process_leaves_no_core_and_is_not_traced() -> None:
    """After `keep_to_itself` there is no core dump, the process is not dumpable, and it still probes and runs."""
    code = """
        import ctypes, resource
        from twocvm_guest.runtime.isolation import probe
        from twocvm_guest.runtime.protect import keep_to_itself
        keep_to_itself()
        libc = ctypes.CDLL(None)
        missing = {feature.name for feature in probe().missing} - {"own-uid"}
        print(resource.getrlimit(resource.RLIMIT_CORE), libc.prctl(3, 0, 0, 0, 0), missing)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=True, text=True, timeout=60
    )
    assert done.stdout == "(0, 0) 0 set()\n"
