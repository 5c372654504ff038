"""An upload of 256 MiB over RA-TLS, against the same through uvicorn's own TLS and a standard `requests` client.

The same FastAPI route, the same file, the same chunk size, in interleaved rounds; every server is a process of its own.
Memory is the growth of each process's peak from a small upload to the large one.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from bench.ratio import Ratio, interleaved

from twocvm_verifier.snp.roots import simulated_roots
from twocvm_verifier.verifier import SnpVerifier

SIZE_BYTES = 256 << 20
CHUNK_BYTES = 256 << 10
ROUNDS = 7
MAX_GROWTH_MIB = 32


class Upload:
    """A file as the body of a request: its length is known, and it is read in chunks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __len__(self) -> int:
        return self._path.stat().st_size

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


def run() -> list[Ratio]:
    """Measure, and return the ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = folder / "small", folder / "large"
        small.write_bytes(bytes(1 << 20))
        _write(large)
        with upload_server("own", folder) as own, upload_server("ratls", folder) as ratls:
            return _measure(own, ratls, small, large, folder)


def _measure(own: dict, ratls: dict, small: Path, large: Path, folder: Path) -> list[Ratio]:
    from tests.support.attested_guest import NO_CRL, Scene

    plain = requests.Session()
    plain.trust_env = False
    plain.verify = str(folder / "cert.pem")
    scene = Scene()
    verifier = SnpVerifier(roots=simulated_roots(ratls["root"].encode()), crls=NO_CRL)
    connection = scene.connect(f"https://127.0.0.1:{ratls['port']}", expectation=scene.expectation(verifier=verifier))

    def ours(path: Path) -> None:
        _send(connection.http, connection.base_url, path)

    def theirs(path: Path) -> None:
        _send(plain, f"https://localhost:{own['port']}", path)

    with connection, plain:
        ours(small), theirs(small)
        before = _peak_mib(os.getpid()), _peak_mib(ratls["pid"])
        ours(large)
        growth = _peak_mib(os.getpid()) - before[0], _peak_mib(ratls["pid"]) - before[1]
        ratio = interleaved(lambda: ours(large), lambda: theirs(large), rounds=ROUNDS)
    return [
        Ratio(name="upload of 256 MiB, over uvicorn's own TLS", value=ratio, at_least=0.5),
        Ratio(name="client's memory for it, MiB", value=growth[0], at_most=MAX_GROWTH_MIB),
        Ratio(name="server's memory for it, MiB", value=growth[1], at_most=MAX_GROWTH_MIB),
    ]


def _send(session: requests.Session, base_url: str, path: Path) -> None:
    answer = session.put(base_url + "/upload", data=Upload(path))
    if answer.json() != {"size": path.stat().st_size}:
        raise RuntimeError("the upload did not arrive")


@contextmanager
def upload_server(kind: str, folder: Path) -> Iterator[dict]:
    """Run the server of that kind in a process of its own; yields its port, its root and its process id."""
    command = [sys.executable, "-m", "bench._upload_server", kind, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield json.loads(process.stdout.readline()) | {"pid": process.pid}
        finally:
            process.kill()


def _write(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(SIZE_BYTES // CHUNK_BYTES):
            file.write(secrets.token_bytes(CHUNK_BYTES))


def _peak_mib(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")


if __name__ == "__main__":
    for figure in run():
        print(figure.line())
