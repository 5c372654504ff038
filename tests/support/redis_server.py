"""A real Redis in a folder, which can be stopped, killed, emptied and started again.

with redis_server(tmp_path) as redis:
    client = connect(redis.place())
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from twocvm_verifier.service.state.redis import RedisPlace

SERVERS = ("redis-server", "valkey-server")


class RedisServer:
    """One server at one port, whichever process that is.

    Args:
        program: The server's program.
        folder: Where it keeps its copy.
        arguments: More of its command line.
    """

    def __init__(self, program: str, folder: Path, *arguments: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def place(self) -> RedisPlace:
        """Return where it is, as the service has it."""
        return RedisPlace(url=self.url, user="", password="", authority=None)

    def client(self) -> Redis:
        """Return a client of the test's own."""
        return Redis.from_url(self.url)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                with self.client() as client:
                    client.ping()
                    return
            except RedisError as error:
                if "auth" in str(error).lower():
                    return
                time.sleep(0.02)
        raise TimeoutError("no answer")

    def stop(self, *, kill: bool = False) -> None:
        """End it, as an init system does or as a loss of power."""
        if self._process is not None:
            (self._process.kill if kill else self._process.terminate)()
            self._process.wait(20)
            self._process = None


@contextmanager
def redis_server(folder: Path, *arguments: str) -> Iterator[RedisServer]:
    """Run a server; skip the test where there is none on this machine."""
    program = next((found for name in SERVERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"needs {' or '.join(SERVERS)}")
    server = RedisServer(program, folder, *arguments)
    server.start()
    try:
        yield server
    finally:
        server.stop(kill=True)
