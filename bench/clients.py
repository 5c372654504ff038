"""An upload of 64 MiB by each client of a guest, against the `requests` session that releases data.

All go over the same line, so what is measured is what a library, a worker thread or the proxy adds. The guest is a
process of its own, the proxy a thread here; the file, the route and the size of pieces are the same.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from bench.ratio import Ratio, interleaved
from bench.ratls_upload import Upload, upload_server

from twocvm_sdk import Endpoint
from twocvm_sdk.httpxbound import AttestedAsyncClient, AttestedClient
from twocvm_sdk.proxy import Gate, Proxy, open_listener
from twocvm_verifier.snp.roots import simulated_roots

SIZE_BYTES = 64 << 20
ROUNDS = 7


def run() -> Iterator[Ratio]:
    """Measure, and yield the ratios."""
    from tests.support.attested_guest import NO_CRL, Scene, policy
    from tests.support.sdk import StandingClock

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "file"
        path.write_bytes(bytes(SIZE_BYTES))
        with upload_server("ratls", folder) as ratls:
            place = Endpoint(
                f"https://127.0.0.1:{ratls['port']}",
                manifest=Scene().world.manifest,
                policy=policy(),
                identity=None,
                roots=simulated_roots(ratls["root"].encode()),
                crls=NO_CRL,
                clock=StandingClock(),
            )
            yield from _measure(place, path)


def _measure(place: Endpoint, path: Path) -> Iterator[Ratio]:
    def plain(session: requests.Session, url: str) -> None:
        _arrived(session.put(url + "/upload", data=Upload(path)).json())

    with place.requests() as base, place.httpx() as sync, _proxy(place) as url, requests.Session() as tool:
        tool.trust_env = False

        def ratio(ours: Callable[[], None]) -> float:
            ours()
            return interleaved(ours, lambda: plain(base, place.url), rounds=ROUNDS)

        yield Ratio(name="httpx2, over requests", value=ratio(lambda: _sync(sync, path)), at_least=0.85)
        with asyncio.Runner() as runner:
            client = runner.run(place.async_httpx())
            asynchronous = ratio(lambda: runner.run(_async(client, path)))
            runner.run(client.aclose())
        yield Ratio(name="httpx2 async, over requests", value=asynchronous, at_least=0.7)
        yield Ratio(
            name="requests through the proxy, over requests", value=ratio(lambda: plain(tool, url)), at_least=0.6
        )


def _sync(client: AttestedClient, path: Path) -> None:
    _arrived(client.put("/upload", content=Upload(path), headers=_length(path)).json())


async def _async(client: AttestedAsyncClient, path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in Upload(path):
            yield piece

    _arrived((await client.put("/upload", content=pieces(), headers=_length(path))).json())


@contextmanager
def _proxy(place: Endpoint) -> Iterator[str]:
    class Nobody:
        def connected(self, connection: object) -> None:
            pass

        def refused(self, error: object) -> None:
            raise RuntimeError(f"refused: {error!r}")

    stopping = threading.Event()
    with open_listener("127.0.0.1:0") as listener:
        gate = Gate(hosts=listener.hosts, secret=b"")
        proxy = Proxy(place, listener=listener, gate=gate, observer=Nobody())
        thread = threading.Thread(target=proxy.serve, args=(stopping,))
        thread.start()
        try:
            yield listener.url
        finally:
            stopping.set()
            thread.join()


def _length(path: Path) -> dict[str, str]:
    return {"Content-Length": str(path.stat().st_size)}


def _arrived(answer: object) -> None:
    if answer != {"size": SIZE_BYTES}:
        raise RuntimeError(f"the upload did not arrive: {answer!r}")


if __name__ == "__main__":
    for figure in run():
        print(figure.line())
