"""A guest as people start it on an SNP machine, on a machine that is none: `twocvm guest serve --platform auto`.

Only the system calls of its process, or the files that it sees, are those of such a machine: no argument, setting or
module of it says so. The reports are a simulated chip's, whose root participants are given.

    with DeviceGuest(folder, firmware, Way.SEV_GUEST) as guest:
        guest.world = acting_world(guest.measurement, commands=[])
        release_all(guest, folder)                                 # as participants, through their SDKs
"""

from __future__ import annotations

import enum
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest
from tests.support.guest_process import COMMAND, PATIENCE_SECONDS, GuestProcess
from tests.support.manifests import World
from tests.support.mounted import open_fuse
from tests.support.notified import WATCHED, StandIn
from tests.support.snp_firmware import Firmware
from tests.support.tsm_files import FileSystem, Tsm

# The process becomes the guest: what it sets here stays with it.
_UNDER_FILTER: Final = f"""
import os, socket, sys
from twocvm_guest.runtime import seccomp, syscalls
syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
listener = seccomp.load(seccomp.notify({WATCHED!r}), seccomp.FLAG_NEW_LISTENER)
with socket.socket(fileno=int(sys.argv[1])) as control:
    socket.send_fds(control, [b"x"], [listener])
os.close(listener)
os.execv(sys.executable, sys.argv[2:])
"""
_WITH_FILES: Final = """
import os, sys
from twocvm_guest.runtime import syscalls
syscalls.unshare(syscalls.CLONE_NEWNS)
syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE, "")
base = "/sys/kernel/config" if os.path.isdir("/sys/kernel/config") else "/sys/kernel"
syscalls.mount("tmpfs", base, "tmpfs", 0, "")
os.makedirs("/sys/kernel/config/tsm/report")
options = f"fd={sys.argv[1]},rootmode=40000,user_id=0,group_id=0,default_permissions"
syscalls.mount("configfs-tsm", "/sys/kernel/config/tsm/report", "fuse", 0, options)
os.close(int(sys.argv[1]))
os.execv(sys.executable, sys.argv[2:])
"""


class Way(enum.Enum):
    """Which device the machine has."""

    SEV_GUEST = "/dev/sev-guest"
    CONFIGFS = "configfs-tsm"


class DeviceGuest(GuestProcess):
    """A guest on a machine with such a device, for the length of a `with`.

    Args:
        folder: As `GuestProcess`.
        firmware: Answers.
        way: Through which device.
        arguments: Further ones.
    """

    world: World

    def __init__(self, folder: Path, firmware: Firmware, way: Way, *arguments: str) -> None:
        super().__init__(folder)
        self.firmware, self.way, self.platform = firmware, way, firmware.platform
        self.tsm = Tsm(firmware)
        self.stand_in = StandIn(listener=-1, firmware=firmware)
        self._arguments = ["guest", "serve", "--listen", "127.0.0.1:0", "-o", "json", *arguments]
        self._stopped = threading.Event()
        self._server: threading.Thread | None = None

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            pytest.skip("a guest keeps its memory to itself, and only root answers its system calls or mounts files")
        begin = self._begin_under_filter if self.way is Way.SEV_GUEST else self._begin_with_files
        begin()
        line = self.process.stdout.readline() if self.process.stdout else b""
        if line:
            self.facts = json.loads(line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._stopped.set()
        if self._server is not None:
            self._server.join(PATIENCE_SECONDS)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.facts["listen"]

    def root(self) -> bytes:
        """Return the root of the chip behind the device."""
        return self.platform.root_pem

    def ended(self) -> tuple[int, str]:
        """Wait for its end, and return the exit status and what it said."""
        status = self.process.wait(PATIENCE_SECONDS)
        return status, self.process.stderr.read().decode() if self.process.stderr else ""

    def _begin_under_filter(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._start(_UNDER_FILTER, theirs.fileno())
            theirs.close()
            _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
        self.stand_in.listener, self.stand_in.only = listener, self.process.pid
        self._serve(lambda: self.stand_in.serve(self._stopped))

    def _begin_with_files(self) -> None:
        fuse = open_fuse()
        self._start(_WITH_FILES, fuse)
        # Ends when the guest does: its namespace, and so the mount, goes with it.
        self._serve(FileSystem(fuse, self.tsm).serve)

    def _start(self, script: str, descriptor: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(descriptor), *COMMAND, *self._arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env={**os.environ, "TMPDIR": str(self.folder / "tmp"), "HOME": str(self.folder)},
            pass_fds=(descriptor,),
        )

    def _serve(self, work: object) -> None:
        self._server = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
        self._server.start()
