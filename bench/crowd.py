"""200 connections at once, half of them hostile: what honest participants notice of the others.

The hostile ones are silent, slow, half open, no TLS, no HTTP, or without the right to ask. They are connected while 100
honest ones connect, are proven and served, against the same 100 alone. The guest is in this process.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from bench.ratio import Ratio, seconds
from tests.support.guest import LiveGuest
from tests.support.hostile_clients import hostile_clients
from tests.support.manifests import World

HONEST = HOSTILE = 100
THREADS = 16
ROUNDS = 3
# Closing and judging what hostile clients send costs the guest something.
AT_LEAST = 0.5


def run() -> Iterator[Ratio]:
    """Measure, and return the ratios."""
    # Where every refusal is a line that nobody needs.
    logging.getLogger("uvicorn.error").disabled = True
    with LiveGuest(World()) as guest:
        guest.lock()
        served: list[int] = []

        def honest() -> None:
            served.append(_served(guest))

        alone = min(seconds(honest) for _ in range(ROUNDS))
        with hostile_clients(guest, HOSTILE):
            among = min(seconds(honest) for _ in range(ROUNDS))
    name = f"{HONEST} honest connections among {HOSTILE} hostile ones"
    yield Ratio(name=f"{name}: served", value=min(served), at_least=HONEST)
    yield Ratio(name=f"{name}: alone / among", value=alone / among, at_least=AT_LEAST)


def _served(guest: LiveGuest) -> int:
    names = [guest.world.names[number % len(guest.world.names)] for number in range(HONEST)]
    with ThreadPoolExecutor(THREADS) as threads, ExitStack() as stack:
        clients = [stack.enter_context(client) for client in threads.map(guest.connect, names)]
        return sum(client.get("/v1/manifest").status_code == 200 for client in clients)


if __name__ == "__main__":
    for figure in run():
        print(figure.line())
