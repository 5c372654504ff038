"""What is left of a secret when a session has ended: nothing in the guest's memory, in files, or in another process.

Each test plants random bytes as an item, has a real component read them and write them to an output, ends the session
in one of the ways there are, and then reads the guest's whole memory.
"""

from __future__ import annotations

import base64
import os
import resource
import secrets
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from tests.support import processes
from tests.support.bombs import compile_bomb
from tests.support.guest import Client
from tests.support.guest_process import GuestProcess, Side, acting_world, files_with, gone
from tests.support.manifests import World
from tests.support.paced import Paced
from tests.support.residue import residue, skip_unless_root

from twocvm_guest.runtime.protect import OVERWRITING, can_overwrite
from twocvm_verifier import strictjson
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.framing import sha256

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked into, not written to
ITEM, OWNER, OTHER, LAST = "records-a", "hospital-a", "hospital-b", "analytics"
# The first into a report of a few lines, the second the whole, which is more than the output may have.
READ, COPY = f"read /in/{ITEM}/data", f"copy /in/{ITEM}/data /out/evaluation/data"

# What a client meets whose guest is killed under it.
LOST = (requests.RequestException, TwoCvmError, OSError)


class Planted:
    """A secret, and everything that gives it away.

    Attributes:
        content: What the item holds: many records, each with the secret in it.
    """

    def __init__(self, records: int = 20_000) -> None:
        # Without zeros, so that a component may print it.
        self._secret = bytes(1 + secrets.randbelow(255) for _ in range(32))
        self.content = self._secret * records
        self.salt = secrets.token_bytes(32)

    @property
    def traces(self) -> tuple[bytes, ...]:
        """The secret from its middle, and what its owner sends along: salt and digest, as bytes and as they travel."""
        digest = sha256(self.content)
        return (
            self._secret[8:24],
            self.salt,
            strictjson.base64url(self.salt).encode(),
            digest,
            base64.b64encode(digest),
        )

    def put_into(self, world: World) -> World:
        """Have the item of a world made for this secret released with its own salt."""
        world.salt[ITEM] = self.salt
        return world


@contextmanager
def serving(folder: Path, planted: Planted, *commands: str, **options: int) -> Iterator[Side]:
    """A guest and the participants of a world whose first item is the secret."""
    with GuestProcess(folder) as guest:
        world = acting_world(guest.measurement, commands=commands, secret=planted.content, **options)
        yield guest.side(planted.put_into(world))


def joined(side: Side) -> None:
    """Lock the guest, and join as everybody."""
    with side.connect(unlocked_ok=True) as client:
        client.accepted(client.put_manifest())
    for name in side.world.names:
        with side.connect(name) as client:
            client.join()


@contextmanager
def held_back(client: Client, content: bytes) -> Iterator[None]:
    """An upload of the item that stands still after its first half, for the length of the block."""
    body = Paced(content, breaks=False)

    def send() -> None:
        with suppress(*LOST):
            client.put(ITEM, body)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    assert body.half_sent.wait(20)
    try:
        yield
    finally:
        body.may_go_on.set()
        sender.join(20)


def assert_nothing_left(side: Side, planted: Planted) -> None:
    """Demand that no copy of the secret, or of what gives it away, is anywhere where the guest has been."""
    guest = side.guest
    # The state may be read an instant before the last of the killed is gone, and what it shared with the guest.
    processes.wait_until(lambda: not guest.workers() and not guest.memory_files(), seconds=2.0)
    assert residue(guest.process.pid, *planted.traces) == []
    assert files_with(planted.traces[0], guest.folder, SHARED_MEMORY) == []


@pytest.fixture
def planted() -> Planted:
    """A secret of this test's own; skips where nobody may look for it."""
    skip_unless_root()
    if not can_overwrite():
        pytest.skip("this C library does not overwrite what it is given back")
    return Planted()


@pytest.mark.needs_root
def test_nothing_is_left_of_a_session_that_failed(tmp_path: Path, planted: Planted) -> None:
    """A component that has read the secret, written it out and trapped leaves no trace in a guest that goes on."""
    with serving(tmp_path, planted, READ, COPY, "trap") as side:
        side.released()
        assert side.wait_for("failed", "completed") == "failed"
        assert_nothing_left(side, planted)


@pytest.mark.needs_root
def test_nothing_is_left_of_a_session_that_completed(tmp_path: Path, planted: Planted) -> None:
    """Once every recipient has acknowledged an output that holds the secret, no trace of either is in the guest."""
    with serving(tmp_path, planted, READ) as side:
        side.released()
        assert side.wait_for("failed", "completed") == "completed"
        for name in side.world.names:
            output = "model" if name == LAST else "evaluation"
            with side.connect(name) as client:
                content = client.get(f"/v1/outputs/{output}").content
                # The report says what the component has read.
                assert (planted.traces[0] in content) == (name == LAST)
                client.accepted(client.send("POST", f"/v1/outputs/{output}/ack", {}))
        assert_nothing_left(side, planted)


@pytest.mark.needs_root
def test_nothing_is_left_after_a_withdrawal(tmp_path: Path, planted: Planted) -> None:
    """A withdrawal while another's upload stands still: what came of it is gone, and with its request everything."""
    with serving(tmp_path, planted, "loop") as side:
        joined(side)
        with side.connect(OWNER) as sender, held_back(sender, planted.content):
            processes.wait_until(lambda: f"{ITEM} (deleted)" in side.guest.memory_files())
            with side.connect(OTHER) as client:
                client.accepted(client.withdraw())
            assert side.guest.memory_files() == set()
            assert residue(side.guest.process.pid, planted.traces[0]) == []
        assert side.wait_for("withdrawn") == "withdrawn"
        assert_nothing_left(side, planted)


@pytest.mark.needs_root
def test_nothing_is_left_of_a_session_that_expired(tmp_path: Path, planted: Planted) -> None:
    """The deadline in the middle of a run ends the worker that holds the secret; before, it is there to be found."""
    with serving(tmp_path, planted, READ, "loop", wall_seconds=5, deadline_seconds=5) as side:
        side.released()
        # That this search finds what is there: the component has the secret in its memory.
        processes.wait_until(lambda: [each for each in side.guest.workers() if found_in(each, planted)])
        assert residue(side.guest.process.pid, planted.traces[0]) == []
        assert side.wait_for("expired", "failed") == "expired"
        assert_nothing_left(side, planted)


def found_in(process: int, planted: Planted) -> bool:
    """Whether a process, if it is still there, holds the secret."""
    with suppress(OSError):
        return residue(process, planted.traces[0]) != []
    return False


STATES = ("locked", "collecting", "admitting", "running", "completed")


@pytest.mark.parametrize("state", STATES)
def test_a_guest_killed_in_any_state_leaves_nothing_readable(tmp_path: Path, state: str) -> None:
    """SIGKILL at any moment: every worker ends with the guest, and no file and no shared memory holds the secret."""
    planted = Planted()
    with serving(tmp_path, planted, READ, *(["loop"] if state == "running" else [])) as side:
        with reached(side, state, planted):
            workers = side.guest.workers()
            assert files_with(planted.traces[0], tmp_path, SHARED_MEMORY) == []
            side.guest.kill()
        assert gone(workers)
        assert files_with(planted.traces[0], tmp_path, SHARED_MEMORY) == []
        assert [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()] == []


@contextmanager
def reached(side: Side, state: str, planted: Planted) -> Iterator[None]:
    """A guest in one of its states, with as much of the secret in it as that state can have."""
    if state == "locked":
        with side.connect(unlocked_ok=True) as client:
            client.accepted(client.put_manifest())
        yield
    elif state == "collecting":
        joined(side)
        with side.connect(OWNER) as sender, held_back(sender, planted.content):
            yield
    elif state == "admitting":
        yield from _admitting(side)
    else:
        side.released()
        side.wait_for(state)
        if state == "running":
            side.guest.busy_workers()
        yield


def _admitting(side: Side) -> Iterator[None]:
    # A component that compiles for longer than this test takes.
    bomb = compile_bomb(20_000)
    side.world._files["step-0"] = bomb
    side.world.document["components"][0]["sha256"] = sha256(bomb).hex()
    joined(side)
    with side.connect(OWNER) as client:
        client.accepted(client.upload(ITEM))

    def send() -> None:
        with suppress(*LOST), side.connect(LAST) as client:
            client.upload("step-0")

    threading.Thread(target=send, daemon=True).start()
    side.guest.busy_workers()
    yield


@pytest.fixture
def dumping(tmp_path: Path) -> Iterator[None]:
    """Lets processes that this one starts dump cores as long as they like; skips where the machine dumps none."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        process = subprocess.Popen([sys.executable, "-c", "import os; os.abort()"], cwd=tmp_path)
        if not dumped_core(process):
            pytest.skip("this machine dumps no cores")
        for core in tmp_path.glob("core*"):
            core.unlink()
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def dumped_core(process: subprocess.Popen[bytes]) -> bool:
    """Wait for a process that SIGABRT ends, and return whether the kernel dumped its core."""
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -signal.SIGABRT
    return os.WCOREDUMP(status)


@pytest.mark.usefixtures("dumping")
def test_no_core_is_dumped(tmp_path: Path) -> None:
    """SIGABRT ends every process of a worker, and then the guest, without a core, on a machine that dumps them."""
    planted = Planted()
    with serving(tmp_path, planted, READ, "loop") as side:
        side.released()
        side.wait_for("running")
        for worker in side.guest.busy_workers():
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGABRT)
        assert side.wait_for("failed") == "failed"
        side.guest.process.send_signal(signal.SIGABRT)
        assert not dumped_core(side.guest.process)
        assert files_with(planted.traces[0], tmp_path, SHARED_MEMORY) == []
        assert list(tmp_path.rglob("core*")) == []


FREED = """
    import ctypes, secrets
    from twocvm_guest.runtime.protect import overwrite_what_is_freed
    overwrite_what_is_freed()
    def left(size):
        # Where the object's bytes are, after nothing refers to it any more. What lies around it keeps the heap mapped.
        before = bytearray(size)
        value = bytes(bytearray(secrets.token_bytes(8)) * (size // 8))
        kept, address, after = bytes(value[:8]), id(value) + bytes.__basicsize__ - 1, bytearray(size)
        del value
        return ctypes.string_at(address, size).count(kept), before, after
    print([left(size)[0] for size in (32, 200, 512, 1000, 5000)])
"""


@pytest.mark.parametrize("environment", [{}, {"PYTHONMALLOC": "pymalloc"}, dict(OVERWRITING)])
def test_what_is_freed_is_overwritten(environment: dict[str, str]) -> None:
    """Small and large objects are overwritten when they are let go of, in a process that began itself anew for it."""
    if not can_overwrite():
        pytest.skip("this C library does not overwrite what it is given back")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FREED)],
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert max(map(int, done.stdout.strip("[]\n").split(","))) <= 1
