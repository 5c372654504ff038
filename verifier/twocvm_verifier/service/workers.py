"""Several processes that answer at one address: one that listens and watches, and workers that it starts.

Each worker has a listener of its own at the same port, so that the kernel shares connections out; the watcher holds
them all, so that what comes while a worker is started again waits. A worker whose watcher is gone ends too.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Final, cast

import typer

from twocvm_verifier.errors import TwoCvmError

from .logs import STANDARD_ERROR, event, lines_on
from .metrics import forget_process
from .settings import Settings

READY: Final = b"ready\n"
RESTART_SECONDS: Final = 1.0
# What a worker may take to stop beyond the time for what is under way.
_STOP_SECONDS: Final = 3.0
_WATCHED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_MAX_TASK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker is told.

    Attributes:
        settings: As its owner set them.
        issuer: The service's own URL.
        listener: The number of the file that is its listener.
    """

    settings: Settings
    issuer: str
    listener: int

    def encode(self) -> bytes:
        """Return the line that `decode` reads."""
        settings = self.settings.model_dump(mode="json")
        return json.dumps({"settings": settings, "issuer": self.issuer, "listener": self.listener}).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Task:
        """Return what a line says that this program's own watcher wrote."""
        told = json.loads(line)
        settings = Settings.model_validate_json(json.dumps(told["settings"]))
        return cls(settings=settings, issuer=told["issuer"], listener=told["listener"])


def watch(settings: Settings, listeners: Sequence[socket.socket], *, issuer: str, announcement: str) -> int:
    """Run one worker a listener until SIGTERM or SIGINT, and return the exit status.

    Args:
        settings: What the owner set.
        listeners: Bound already, one a worker.
        issuer: The service's own URL.
        announcement: What is written to standard output once all workers answer.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    tasks = [Task(settings=settings, issuer=issuer, listener=listener.fileno()) for listener in listeners]
    workers = [_start(task) for task in tasks]
    try:
        for worker in workers:
            if cast("IO[bytes]", worker.stdout).readline() != READY:
                return worker.wait() or 1
        sys.stdout.write(announcement)
        sys.stdout.flush()
        while signal.sigwait(_WATCHED) == signal.SIGCHLD:
            _restart(workers, tasks)
        return 0
    finally:
        _stop(workers, seconds=settings.limits.shutdown_seconds + _STOP_SECONDS)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)


def _start(task: Task) -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "twocvm_verifier.service.workers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(task.listener,),
    )
    # It stays open: its end is what tells a worker that nobody watches any more.
    told = cast("IO[bytes]", worker.stdin)
    told.write(task.encode())
    told.flush()
    return worker


def _restart(workers: list[subprocess.Popen[bytes]], tasks: Sequence[Task]) -> None:
    for place, task in enumerate(tasks):
        status = workers[place].poll()
        if status is not None:
            event("worker-ended", level=logging.ERROR, worker=place, status=status, hint="it is started again")
            forget_process(workers[place].pid)
            _close(workers[place])
            time.sleep(RESTART_SECONDS)
            workers[place] = _start(task)


def _stop(workers: Sequence[subprocess.Popen[bytes]], *, seconds: float) -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(seconds)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        _close(worker)


def _close(worker: subprocess.Popen[bytes]) -> None:
    for pipe in (worker.stdin, worker.stdout):
        cast("IO[bytes]", pipe).close()


def work_at(listener: socket.socket, settings: Settings, *, issuer: str, ready: Callable[[], None]) -> None:
    """Answer at a listener, in this process, until SIGTERM or SIGINT.

    Args:
        listener: Bound already.
        settings: What the owner set.
        issuer: The service's own URL.
        ready: Called once everything that comes is answered.

    Raises:
        TwoCvmError: A file that a setting names does not hold what it should, or others can read it.
    """
    from .assembly import application
    from .clients import parse_networks
    from .process import serve_on
    from .tls import tls_of

    serve_on(
        application(settings, issuer=issuer),
        listener,
        tls=tls_of(settings.listen),
        limits=settings.limits,
        proxies=parse_networks(settings.listen.proxies),
        ready=ready,
    )


def work() -> int:
    """Answer at the listener that standard input tells of, and return the exit status."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
    task = Task.decode(sys.stdin.buffer.readline(_MAX_TASK_BYTES))
    threading.Thread(target=_end_with_watcher, args=(sys.stdin.fileno(),), daemon=True).start()
    try:
        listener = socket.socket(fileno=task.listener)
        with lines_on(STANDARD_ERROR):
            work_at(listener, task.settings, issuer=task.issuer, ready=_tell_watcher)
    except typer.BadParameter as error:
        error.show()
        return error.exit_code
    except TwoCvmError as error:
        sys.stderr.write(f"{error.code}: {error.detail}\n{error.row.meaning}\n")
        return error.exit_status
    return 0


def _tell_watcher() -> None:
    os.write(sys.stdout.fileno(), READY)


def _end_with_watcher(told_from: int) -> None:
    # Not through sys.stdin, whose lock would be held at the end of this process. Nothing more is ever written to it.
    os.read(told_from, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(work())
