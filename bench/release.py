"""A release of 256 MiB by the SDK to the guest's own route, against an upload to the same route by plain means.

The other side is the same application behind uvicorn's own TLS, and a standard `requests` client that sends the same
file in the same chunks without hashing it. Both servers hash what comes and write it to sealed memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import requests
from bench._release_server import DIGEST, ITEM, SALT, SIZE_BYTES, world
from bench.ratio import Ratio, interleaved
from bench.ratls_upload import MAX_GROWTH_MIB, ROUNDS, Upload, _peak_mib, _write
from tests.support.attested_guest import NO_CRL, Scene

from twocvm_guest.service.answers import content_digest
from twocvm_sdk import items
from twocvm_verifier import strictjson
from twocvm_verifier.snp.roots import simulated_roots
from twocvm_verifier.verifier import SnpVerifier

PATH = f"/v1/artifacts/{ITEM}"
HEADERS = {"Content-Digest": content_digest(DIGEST), "Item-Salt": strictjson.base64url(SALT)}


def run() -> list[Ratio]:
    """Measure, and return the ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = folder / "large"
        _write(large)
        with _server("own", folder) as own, _server("ratls", folder) as ratls:
            return _measure(own, ratls, large, folder)


def _measure(own: dict, ratls: dict, large: Path, folder: Path) -> list[Ratio]:
    plain = requests.Session()
    plain.trust_env = False
    plain.verify = str(folder / "cert.pem")
    scene = Scene(world=world())
    verifier = SnpVerifier(roots=simulated_roots(ratls["root"].encode()), crls=NO_CRL)
    connection = scene.connect(f"https://127.0.0.1:{ratls['port']}", expectation=scene.expectation(verifier=verifier))
    with large.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()

    def ours() -> None:
        with FileIO(large) as file:
            item = items.ReadItem(name=ITEM, path=large, size_bytes=SIZE_BYTES, sha256=digest, file=file)
            body = items.Upload(item, progress=lambda *_: None)
            _refused(connection.http.put(connection.base_url + PATH, data=body, headers=HEADERS))

    def theirs() -> None:
        _refused(plain.put(f"https://localhost:{own['port']}{PATH}", data=Upload(large), headers=HEADERS))

    with connection, plain:
        before = _peak_mib(os.getpid()), _peak_mib(ratls["pid"])
        ours()
        growth = _peak_mib(os.getpid()) - before[0], _peak_mib(ratls["pid"]) - before[1]
        theirs()
        ratio = interleaved(ours, theirs, rounds=ROUNDS)
    return [
        Ratio(name="release of 256 MiB, over uvicorn's own TLS", value=ratio, at_least=0.5),
        Ratio(name="releasing participant's memory for it, MiB", value=growth[0], at_most=MAX_GROWTH_MIB),
        Ratio(name="guest's memory for it beside the item, MiB", value=growth[1], at_most=MAX_GROWTH_MIB),
    ]


def _refused(answer: requests.Response) -> None:
    # At its very end: everything was read, hashed and written before.
    if answer.json().get("code") != "ITEM_DIGEST_MISMATCH":
        raise RuntimeError(f"the guest answered {answer.status_code}: {answer.text}")


@contextmanager
def _server(kind: str, folder: Path) -> Iterator[dict]:
    command = [sys.executable, "-m", "bench._release_server", kind, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield json.loads(process.stdout.readline()) | {"pid": process.pid}
        finally:
            process.kill()


if __name__ == "__main__":
    for figure in run():
        print(figure.line())
