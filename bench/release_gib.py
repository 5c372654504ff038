"""A release of 1 GiB by the SDK to the guest's own route, against pyOpenSSL alone on the same path.

What is in the measured time, on both sides: a client reads the file in chunks of 256 KiB, hashes them and sends them
over TLS 1.3; a server, in a process of its own on the same loopback, receives, hashes and writes to a memory file; the
client waits for its answer. On our side alone: an HTTP exchange with the session's checks, a look for an early answer
after every chunk, and that the guest overwrites what it frees, as guests do. On the other side alone: a handshake.

What is not in it: the first reading of the file, for the commitment, which comes before the go; and the proof that is
asked for before an item.

The other side is measured twice: with the SHA-256 at both ends that a release cannot be without, to which the bound
applies, and without anybody looking at the bytes, for information: hashing at both ends takes some three quarters of
the processor time of all the rest, and no way of sending could give it back.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import MappingProxyType

import requests
from bench._plain_server import CHUNK_BYTES
from bench._release_server import DIGEST, ITEM, SALT, world
from bench.ratio import Ratio, interleaved
from OpenSSL import SSL
from tests.support.attested_guest import NO_CRL, Scene

from twocvm_guest.runtime.protect import OVERWRITING
from twocvm_guest.service.answers import content_digest
from twocvm_sdk import items
from twocvm_sdk.connection import AttestedConnection
from twocvm_verifier import strictjson
from twocvm_verifier.snp.roots import simulated_roots
from twocvm_verifier.verifier import SnpVerifier

SIZE_BYTES = 1 << 30
ROUNDS = 3
MAX_GROWTH_MIB = 64
PATH = f"/v1/artifacts/{ITEM}"
HEADERS = {"Content-Digest": content_digest(DIGEST), "Item-Salt": strictjson.base64url(SALT)}


def run() -> list[Ratio]:
    """Measure, and return the ratios."""
    with tempfile.TemporaryDirectory() as name:
        large = Path(name) / "large"
        _write(large)
        with (
            _server("bench._release_server", "ratls", name, str(SIZE_BYTES), more=OVERWRITING) as ratls,
            _server("bench._plain_server", "hashed", str(SIZE_BYTES)) as hashed,
            _server("bench._plain_server", "bare", str(SIZE_BYTES)) as bare,
            _connect(ratls) as connection,
        ):
            return _measure(connection, ratls["pid"], large, hashed=hashed["port"], bare=bare["port"])


def _measure(connection: AttestedConnection, guest: int, large: Path, *, hashed: int, bare: int) -> list[Ratio]:
    def ours() -> None:
        with FileIO(large) as file:
            item = items.ReadItem(name=ITEM, path=large, size_bytes=SIZE_BYTES, sha256=digest, file=file)
            body = items.Upload(item, progress=lambda *_: None)
            _refused(connection.http.put(connection.base_url + PATH, data=body, headers=HEADERS))

    with large.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    before = _peak_mib(os.getpid()), _peak_mib(guest)
    ours()
    growth = _peak_mib(os.getpid()) - before[0], _peak_mib(guest) - before[1]
    same_digests = interleaved(ours, _plain(hashed, large, hashed=True), rounds=ROUNDS)
    no_digests = interleaved(ours, _plain(bare, large, hashed=False), rounds=ROUNDS)
    return [
        Ratio(name="release of 1 GiB, over pyOpenSSL with the same digests", value=same_digests, at_least=0.8),
        Ratio(name="release of 1 GiB, over pyOpenSSL without any digest", value=no_digests),
        Ratio(name="releasing participant's memory for it, MiB", value=growth[0], at_most=MAX_GROWTH_MIB),
        Ratio(name="guest's memory for it beside the item, MiB", value=growth[1], at_most=MAX_GROWTH_MIB),
    ]


def _plain(port: int, large: Path, *, hashed: bool) -> Callable[[], None]:
    def send() -> None:
        digest = hashlib.sha256()
        with socket.create_connection(("127.0.0.1", port)) as raw, FileIO(large) as file:
            tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), raw)
            tls.set_connect_state()
            while piece := file.read(CHUNK_BYTES):
                if hashed:
                    digest.update(piece)
                tls.sendall(piece)
            if tls.recv(CHUNK_BYTES) != digest.digest():
                raise RuntimeError("the upload did not arrive")

    return send


def _connect(ratls: dict) -> AttestedConnection:
    scene = Scene(world=world(SIZE_BYTES))
    verifier = SnpVerifier(roots=simulated_roots(ratls["root"].encode()), crls=NO_CRL)
    return scene.connect(f"https://127.0.0.1:{ratls['port']}", expectation=scene.expectation(verifier=verifier))


def _refused(answer: requests.Response) -> None:
    # At its very end: everything was read, hashed and written before.
    if answer.json().get("code") != "ITEM_DIGEST_MISMATCH":
        raise RuntimeError(f"the guest answered {answer.status_code}: {answer.text}")


@contextmanager
def _server(module: str, *words: str, more: Mapping[str, str] = MappingProxyType({})) -> Iterator[dict]:
    command, environment = [sys.executable, "-m", module, *words], {**os.environ, **more}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            yield json.loads(process.stdout.readline()) | {"pid": process.pid}
        finally:
            process.kill()


def _write(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(SIZE_BYTES >> 20):
            file.write(secrets.token_bytes(1 << 20))


def _peak_mib(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")


if __name__ == "__main__":
    for figure in run():
        print(figure.line())
