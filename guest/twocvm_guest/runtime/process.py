"""One worker process as the supervisor sees it: started, told what to do, believed little, ended for certain.

A worker belongs to the thread that started it, which must outlive it: the kernel ends a worker whose starting thread
ends. `kill` alone may be called from any thread.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from . import messages
from .features import Feature
from .messages import Job, Outcome

# What a worker may take to shut itself in, beside copying its inputs.
START_SECONDS: Final = 30.0
# The inputs are copied at 1 GB/s or faster; this allows a tenth of it.
_COPIED_BYTES_PER_SECOND: Final = 100_000_000
# How long a killed process may take to give its memory back.
_END_SECONDS: Final = 10.0

# No user site, no site-packages, no environment: what a worker imports is the standard library's, and then what the
# folders have that are named to it.
_BOOT: Final = (
    "import sys; sys.path += sys.argv[2:]; from twocvm_guest.runtime.worker import main; main(int(sys.argv[1]))"
)
# The engine; and what built-in filters need, of which the last is there only with the extra `noise`.
_LIBRARIES: Final = ("wasmtime", "rfc8785", "jsonschema_rs", "opendp")
_ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "1", "TOKIO_WORKER_THREADS": "1", "LANG": "C.UTF-8"}


class WorkerError(Exception):
    """A worker did not do what a worker does.

    Attributes:
        timed_out: It was given all the time that it had.
    """

    def __init__(self, text: str, *, timed_out: bool = False) -> None:
        self.timed_out = timed_out
        super().__init__(text)


class Worker:
    """One process, from its start to its end. Use as a context manager: leaving it ends the process.

    It is told its job by `shut_in`; until then it holds nothing but its end of the socket.
    """

    def __init__(self) -> None:
        self._ending = threading.Lock()
        self._outputs = -1
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = _start(theirs.fileno())
        except BaseException:
            self._control.close()
            raise
        finally:
            theirs.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        deadline = time.monotonic() + _END_SECONDS
        self._wait(deadline)
        # The process that was waited for may have been waiting for another. That one's end of the socket is closed
        # by the kernel after its memory is.
        with contextlib.suppress(OSError):
            while _readable(self._control.fileno(), deadline) and self._control.recv(1):
                pass
        self._control.close()
        if self._outputs >= 0:
            os.close(self._outputs)

    @property
    def outputs(self) -> int:
        """The descriptor of the worker's `/out`, of which this object is the owner; -1 where it sent none."""
        return self._outputs

    def shut_in(self, job: Job) -> dict[Feature, str]:
        """Give the worker its job and wait until it is shut in.

        Nothing of a participant has been touched by then, so the worker is still ours and is believed.

        Args:
            job: What it is to do. Its descriptors are handed over, and have the same numbers there.

        Returns:
            For each feature why the worker has it not, or the empty string.

        Raises:
            WorkerError: It ended, took too long, or lacks something that its job promises.
        """
        size = sum(size for _, _, size in job.inputs)
        deadline = time.monotonic() + START_SECONDS + size / _COPIED_BYTES_PER_SECOND
        self._hand_over(job)
        self._await(deadline)
        try:
            raw, descriptors, _, _ = socket.recv_fds(self._control, messages.MAX_READY_BYTES, 1)
        except OSError as error:
            raise WorkerError("worker: ended while it shut itself in") from error
        if descriptors:
            self._outputs = descriptors[0]
            os.set_inheritable(self._outputs, False)
        if not raw:
            raise WorkerError("worker: ended while it shut itself in")
        reasons = {Feature(name): reason for name, reason in json.loads(raw).items()}
        for name in job.promised:
            # Hiding file times comes last in a run, after the code is loaded; the worker itself looks to it.
            if name != Feature.FILE_TIMES_HIDDEN.value and reasons.get(Feature(name)) != "":
                raise WorkerError(f"worker: has no {name}")
        return reasons

    def go_on(self, *, seconds: float) -> Outcome:
        """Let the worker do its work, and return what it says about it, after it and all its threads have ended.

        From here on the worker may be anybody's: nothing but eight well-formed bytes and a clean end count.

        Raises:
            WorkerError: It ended in another way, said something else, or took longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        self._send(messages.GO_ON)
        self._await(deadline)
        try:
            # Descriptors sent along are not received, and so are closed by the kernel.
            outcome = messages.parse_outcome(self._control.recv(64))
        except (OSError, ValueError) as error:
            raise WorkerError("worker: ended without an outcome, or said nonsense") from error
        if not self._wait(time.monotonic() + _END_SECONDS) or self._process.returncode != 0:
            raise WorkerError("worker: did not end as it said it would")
        return outcome

    def kill(self) -> None:
        """End the process and everything that it started, now; from any thread, at any time."""
        with self._ending:
            if self._process.returncode is None:
                # Not yet waited for, so the number still is this process's group and nobody else's.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def _hand_over(self, job: Job) -> None:
        for message, descriptors in messages.pieces(messages.encode_job(job), job.keep):
            self._send(message, descriptors)

    def _send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        try:
            socket.send_fds(self._control, [message], descriptors)
        except OSError as error:
            raise WorkerError("worker: ended early") from error

    def _await(self, deadline: float) -> None:
        if not _readable(self._control.fileno(), deadline):
            raise WorkerError("worker: took too long", timed_out=True)

    def _wait(self, deadline: float) -> bool:
        """Wait for the process, then collect it; return whether it ended in time."""
        if self._process.returncode is not None:
            return True
        process = os.pidfd_open(self._process.pid)
        try:
            if not _readable(process, deadline):
                return False
        finally:
            os.close(process)
        with self._ending:
            self._process.wait()
        return True


def _start(control: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _BOOT, str(control), *_folders()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
        pass_fds=(control,),
    )


def _readable(descriptor: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _folders() -> tuple[str, ...]:
    """Return the folders that hold this package and what workers import, without importing any of it here."""
    found = (_folder(name) for name in _LIBRARIES)
    return tuple(dict.fromkeys((str(Path(__file__).parent.parent.parent), *filter(None, found))))


def _folder(name: str) -> str:
    spec = importlib.util.find_spec(name)
    return "" if spec is None or spec.origin is None else str(Path(spec.origin).parent.parent)
