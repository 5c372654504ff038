"""A guest as a process, with real workers: it starts, it runs, it is killed, and nothing is left."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest
from tests.support.guest import LiveGuest, code_of
from tests.support.guest_process import COMMAND, PATIENCE_SECONDS, GuestProcess, acting_world, files_with, gone
from tests.support.manifests import MEASUREMENT, World

from twocvm_guest.runtime.isolation import probe
from twocvm_guest.runtime.supervisor import Runtime
from twocvm_verifier.errors import HandshakeError
from twocvm_verifier.logevents import EventType

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked into, not written to


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command and return how it ended."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def test_twenty_participants_run_with_real_components(tmp_path: Path) -> None:
    """Twenty participants release forty items, five real components run over them, and everybody is served."""
    with GuestProcess(tmp_path) as guest:
        world = acting_world(
            guest.measurement, commands=["read /in/records-a/data"], participants=20, items=35, components=5
        )
        assert len(world.manifest.data) == 40
        side = guest.side(world)
        side.released()
        assert side.wait_for("completed", "failed") == "completed"
        last = list(world.parties)[-1]
        for name in world.names:
            output = "model" if name == last else "evaluation"
            with side.connect(name) as client:
                content = client.get(f"/v1/outputs/{output}").content
                assert b"read: arguments" in content if name == last else len(content) == 7
                types = [event.type for event in client.log()]
                assert types.count(EventType.GO) == 20
                assert types.count(EventType.ADMITTED) == 45
                assert types.count(EventType.RUN) == 1
                assert client.get("/v1/receipt").status_code == 200
                client.accepted(client.send("POST", f"/v1/outputs/{output}/ack", {}))
        assert guest.process.wait(PATIENCE_SECONDS) == 0
        assert guest.workers() == set()


def test_killed_guest_leaves_nothing_readable(tmp_path: Path) -> None:
    """A guest that is killed in the middle of a run takes its workers along, and no file holds what was released."""
    secret = secrets.token_hex(32).encode()
    with GuestProcess(tmp_path) as guest:
        side = guest.side(acting_world(guest.measurement, commands=["loop"], secret=secret))
        side.released()
        side.wait_for("running")
        workers = guest.busy_workers()
        assert files_with(secret, tmp_path, SHARED_MEMORY) == []
        guest.kill()
        assert gone(workers)
        assert files_with(secret, tmp_path, SHARED_MEMORY) == []
        assert [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()] == []


def test_stopped_guest_ends_in_order(tmp_path: Path) -> None:
    """SIGTERM in the middle of a run kills the workers and ends the guest with status 0, with no word of the run."""
    secret = secrets.token_hex(32).encode()
    with GuestProcess(tmp_path) as guest:
        side = guest.side(acting_world(guest.measurement, commands=["loop"], secret=secret))
        side.released()
        side.wait_for("running")
        workers = guest.busy_workers()
        assert guest.terminate() == 0
        assert gone(workers)
        assert guest.process.stderr is not None
        said = guest.process.stderr.read()
        assert b"Traceback" not in said
        assert secret not in said
        assert files_with(secret, tmp_path, SHARED_MEMORY) == []


def test_killed_worker_is_a_failed_run(tmp_path: Path) -> None:
    """A worker that is killed in the middle of a run fails the session; the guest serves on, without outputs."""
    with GuestProcess(tmp_path) as guest:
        world = acting_world(guest.measurement, commands=["loop"])
        side = guest.side(world)
        side.released()
        side.wait_for("running")
        for worker in guest.busy_workers():
            os.kill(worker, signal.SIGKILL)
        assert side.wait_for("failed", "completed") == "failed"
        for name in world.names:
            with side.connect(name) as client:
                own = world.manifest.outputs_of(name)[0].name
                assert code_of(client.get(f"/v1/outputs/{own}")) == "SESSION_ENDED"
                assert client.get("/v1/receipt").status_code == 200
        assert guest.process.wait(PATIENCE_SECONDS) == 0


def test_component_that_traps_fails_without_a_word() -> None:
    """Whatever a component does wrong, its run is failed, and no participant is told more than that."""
    world = acting_world(MEASUREMENT, commands=["trap"])
    with LiveGuest(world, start_workers=partial(Runtime, isolation=probe())) as guest:
        guest.released()
        assert guest.wait_for("failed", "completed") == "failed"
        with guest.connect("hospital-a") as client:
            assert client.get("/v1/session").content == b'{"state":"failed"}'
            assert client.log()[-1].members == {"outcome": "failed"}
            for path in ("/v1/log", "/v1/receipt", "/v1/session"):
                assert not re.search(rb"NODE_|trap|wasm", client.get(path).content, re.IGNORECASE)


def test_core_module_is_not_admitted() -> None:
    """A core module in the place of a component is refused when it arrives, before any data has been near it."""
    world = World(components=1, component_files={"step-0": b"\x00asm\x01\x00\x00\x00"})
    with LiveGuest(world, start_workers=partial(Runtime, isolation=probe())) as guest:
        guest.collecting()
        with guest.connect("analytics") as client:
            assert code_of(client.upload("step-0")) == "COMPONENT_CORE_MODULE"
            assert client.state() == "collecting"


def test_born_locked_guest_has_its_manifest_in_every_report(tmp_path: Path) -> None:
    """`--manifest` sets HOST_DATA before any participant has come, and does not lock."""
    manifest = World().manifest
    with GuestProcess(tmp_path, manifest=manifest.raw) as guest:
        assert guest.facts["host_data"] == manifest.hash.hex()
        side = guest.side(World(measurement=guest.measurement))
        with pytest.raises(HandshakeError) as refused:
            side.connect(unlocked_ok=True)
        assert refused.value.code == "HOST_DATA_MISMATCH"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--listen", "127.0.0.1:0"], 20, "NO_PLATFORM"),
        (["--listen", "127.0.0.1:0", "--platform", "snp"], 20, "NO_PLATFORM"),
        (["--listen", "127.0.0.1:0", "--platform", "azure"], 20, "NO_PLATFORM"),
        (["--listen", "127.0.0.1:0", "--platform", "snp", "--hardware-latency"], 2, "simulated"),
        (["--listen", "127.0.0.1", "--platform", "simulated"], 2, "HOST:PORT"),
        (["--listen", "127.0.0.1:70000", "--platform", "simulated"], 2, "HOST:PORT"),
        (["--listen", "127.0.0.1:0", "--platform", "simulated", "--manifest", "/absent"], 2, "--manifest"),
        (["--listen", "127.0.0.1:0", "--platform", "simulated", "--simulated-root-out", "/absent/x"], 2, "root-out"),
        (["--platform", "simulated"], 2, "--listen"),
    ],
)
def test_guest_serve_says_what_is_wrong(arguments: list[str], status: int, said: str) -> None:
    """A guest that cannot be started says why, in the exit status too; it is never simulated unless that was said."""
    ended = run("guest", "serve", *arguments)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_doctor_looks_at_everything() -> None:
    """The doctor lists software, platforms and every means of isolation, as text and as JSON, and ends well."""
    text, machine = run("doctor"), run("doctor", "-o", "json")
    assert (text.returncode, machine.returncode) == (0, 0)
    for word in ("python", "openssl", "platform simulated", "/dev/sev-guest", "isolation"):
        assert word in text.stdout
        assert word in machine.stdout
