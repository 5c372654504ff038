"""A folder in memory for a worker that has no mounts of its own, which goes whatever becomes of this process.

A process of its own waits for the end of the folder's use, or for the end of this process, and then removes it: who is
killed cannot clean up after itself.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder in it is made with a random name and mode 0700
# Waits until nobody holds the other end of its input. Some of what a worker leaves is read-only, also to its owner; and
# a worker that is ending just now may still write.
_REMOVE: Final = """
import os, shutil, sys, time
os.read(0, 1)
for _ in range(1000):
    if not os.path.exists(sys.argv[1]):
        break
    for _, _, _, descriptor in os.fwalk(sys.argv[1]):
        os.fchmod(descriptor, 0o700)
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    time.sleep(0 if not os.path.exists(sys.argv[1]) else 0.01)
"""


@contextlib.contextmanager
def scratch_folder(uid: int) -> Iterator[str]:
    """Give a folder in memory that only `uid` may enter, and take it away afterwards with all that is in it."""
    folder = tempfile.mkdtemp(prefix="twocvm-", dir=_SHARED_MEMORY)
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _REMOVE, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        # What ends this process from a terminal does not end that one.
        start_new_session=True,
    ):
        # Where this process cannot give the folder away, a worker cannot take the identity either.
        if os.geteuid() == 0:
            with contextlib.suppress(OSError):
                os.chown(folder, uid, uid)
        yield folder
