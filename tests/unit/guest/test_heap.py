"""The heap of a guest keeps what pieces of uploads leave free."""

import subprocess
import sys

_FAULTS = """
import resource, sys
from twocvm_guest.heap import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def pieces():
    for _ in range(200):
        held = [bytearray(300_000) for _ in range(4)]
        del held

pieces()
before = faults()
pieces()
print(faults() - before)
"""


def _faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, check=True, text=True)
    return int(done.stdout)


def test_freed_pieces_are_used_again() -> None:
    """With the setting, buffers that come and go cost no new pages; without it, each costs all of its own."""
    assert _faults("kept") * 10 < _faults("given back")
