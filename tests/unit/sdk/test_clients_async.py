"""The asynchronous client: the event loop goes on, tasks take turns, and what is cancelled is over."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import httpx2
import pytest
from tests.support.attested_guest import RunningGuest, Scene
from tests.support.clients import endpoint
from tests.support.hostile_guest import Forgery, HostileGuest, Talk

from twocvm_sdk import Endpoint
from twocvm_verifier.errors import FetchError, UnsupportedError


@pytest.fixture(scope="module")
def guest() -> Iterator[RunningGuest]:
    """An honest guest."""
    with Scene().serve() as running:
        yield running


def _place(guest: RunningGuest) -> Endpoint:
    return endpoint(guest.scene, guest.url)


def _hostile(script: Callable[[Talk, Forgery], None]) -> tuple[HostileGuest, Callable[[], Endpoint]]:
    forgery = Forgery(scene=Scene())
    hostile = HostileGuest(forgery.context(), lambda talk: script(talk, forgery))
    return hostile, lambda: endpoint(forgery.scene, hostile.url)


def test_the_event_loop_goes_on_while_a_guest_takes_its_time() -> None:
    """A guest that proves itself, and answers, only when another task has had its turn: both do."""
    turns = [threading.Event(), threading.Event()]

    def slow(talk: Talk, forgery: Forgery) -> None:
        if turns[0].wait(4):
            talk.prove(forgery)
        talk.hear()
        if turns[1].wait(4):
            talk.answer(b"done")

    async def other() -> None:
        for turn in turns:
            await anyio.sleep(0.1)
            turn.set()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            async with await place().async_httpx() as client:
                assert (await client.get("/slow")).content == b"done"

    hostile, place = _hostile(slow)
    with hostile:
        anyio.run(main)


def test_tasks_take_turns(guest: RunningGuest) -> None:
    """Many tasks on one client are all served, one after the other, streams included."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield bytes(1000)

    async def main() -> list[int]:
        sizes: list[int] = []
        async with await _place(guest).async_httpx() as client, anyio.create_task_group() as tasks:

            async def down(size: int) -> None:
                async with client.stream("GET", f"/bytes/{size}") as answer:
                    sizes.append(sum([len(piece) async for piece in answer.aiter_bytes()]))

            async def up() -> None:
                answer = await client.put("/count", content=body(), headers={"Content-Length": "8000"})
                sizes.append(answer.json())

            for size in (1, 70_000, 2_000_000):
                tasks.start_soon(down, size)
                tasks.start_soon(up)
        return sorted(sizes)

    assert anyio.run(main) == [1, 8000, 8000, 8000, 70_000, 2_000_000]


def test_a_turn_is_waited_for_only_so_long(guest: RunningGuest) -> None:
    """Who asks again while holding an answer is told so instead of waiting for ever."""

    async def main() -> None:
        async with await _place(guest).async_httpx() as client, client.stream("GET", "/bytes/1000000"):
            with pytest.raises(httpx2.PoolTimeout):
                await client.get("/whoami", timeout=httpx2.Timeout(5, pool=0.05))

    anyio.run(main)


def test_a_cancelled_request_ends_the_connection_at_once() -> None:
    """After a cancelled request nobody knows where the next answer begins, so there is none."""
    hostile, place = _hostile(lambda talk, forgery: (talk.prove(forgery), talk.hear(), time.sleep(1))[0])

    async def main() -> None:
        client = await place().async_httpx()
        began = time.monotonic()
        with anyio.move_on_after(0.1):
            await client.get("/never")
        with pytest.raises(FetchError) as ending:
            await client.get("/next")
        assert ending.value.code == "CONNECTION_LOST"
        assert time.monotonic() - began < 0.8
        await client.aclose()

    with hostile:
        anyio.run(main)
    assert b"/next" not in hostile.heard


def test_a_cancelled_answer_ends_the_connection() -> None:
    """The same holds in the middle of an answer, and the client still closes."""

    def half(talk: Talk, forgery: Forgery) -> None:
        talk.prove(forgery)
        talk.hear()
        talk.answer(b"half of it", length="20")
        time.sleep(1)

    async def main() -> None:
        async with await place().async_httpx() as client:
            with anyio.move_on_after(0.2) as scope:
                await client.get("/half")
            assert scope.cancelled_caught
            assert client.connection.closed

    hostile, place = _hostile(half)
    with hostile:
        anyio.run(main)


def test_a_cancelled_body_ends_the_connection(guest: RunningGuest) -> None:
    """An upload whose own source never goes on can be cancelled too."""

    async def stuck() -> AsyncIterator[bytes]:
        yield b"first"
        await anyio.sleep(30)

    async def main() -> None:
        async with await _place(guest).async_httpx() as client:
            with anyio.move_on_after(0.2) as scope:
                await client.put("/count", content=stuck(), headers={"Content-Length": "10"})
            assert scope.cancelled_caught
            with pytest.raises(FetchError):
                await client.get("/whoami")

    anyio.run(main)


def test_a_connection_that_nobody_waits_for_any_more_is_closed() -> None:
    """Cancelling the opening leaves no verified connection behind."""
    gone: list[bool] = []

    def late(talk: Talk, forgery: Forgery) -> None:
        time.sleep(0.3)
        talk.prove(forgery)
        gone.append(talk.hear() == b"")

    async def main() -> None:
        with anyio.move_on_after(0.1) as scope:
            await place().async_httpx()
        assert scope.cancelled_caught
        await anyio.sleep(0.6)

    hostile, place = _hostile(late)
    with hostile:
        anyio.run(main)
    assert gone == [True]


def test_the_extra_that_is_missing_is_named(guest: RunningGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `httpx2` the refusal says what to install, before anything is opened."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    opened = len(guest.requests)
    with pytest.raises(UnsupportedError) as refusal:
        _place(guest).httpx()
    with pytest.raises(UnsupportedError):
        anyio.run(_place(guest).async_httpx)
    assert (refusal.value.code, refusal.value.exit_status) == ("EXTRA_MISSING", 20)
    assert "twocvm[httpx]" in str(refusal.value)
    assert len(guest.requests) == opened
