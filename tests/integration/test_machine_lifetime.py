"""The machine's life is the agent's: it ends whenever the first process does, and a full folder ends no session."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest
from tests.support.guest_process import PATIENCE_SECONDS, GuestProcess, acting_world

WAYS = (
    "None",
    "OSError('mount')",
    "MemoryError()",
    "SystemExit(0)",
    "KeyboardInterrupt()",
    "RecursionError()",
    "GeneratorExit()",
)


@pytest.mark.parametrize("switch", ["works", "is refused", "fails otherwise"])
@pytest.mark.parametrize("way", WAYS)
def test_first_process_ends_the_machine_however_it_ends(way: str, switch: str) -> None:
    """Done, refused or broken off: the switch is used once; where it fails the process ends, so the kernel does."""
    program = f"""
        import os
        from twocvm_guest.image.init import kernel, main
        def run():
            error = {way}
            if error is not None:
                raise error
        def power_off():
            os.write(1, b"off;")
            error = dict([("works", None), ("is refused", OSError(1)), ("fails otherwise", MemoryError())])[{switch!r}]
            if error is not None:
                raise error
        main._run, kernel.power_off = run, power_off
        main.main()
        os.write(1, b"went on")
        """
    done = subprocess.run([sys.executable, "-c", dedent(program)], capture_output=True, check=False, timeout=60)
    assert done.stdout == b"off;"
    assert done.returncode == 1


def test_agent_is_started_once() -> None:
    """Whatever its status, there is one start and one end: no restart, no second try."""
    program = """
        import os
        from twocvm_guest.image.command_line import Variant
        from twocvm_guest.image.init import main
        for name in ("load_modules", "settle"):
            setattr(main.kernel, name, lambda: None)
        main.mounts.mount = main.firewall.close_to_all_but = main.network.connect = lambda *_: None
        main.unmeasured.require_plain_start, main.unmeasured.find_ignored = lambda *_: None, lambda **_: ()
        net = type("Network", (), dict(port=1))
        main.parse_command_line = lambda *_: type("Launch", (), dict(network=net, payload=None))
        for status in (0, 1, 20, 137):
            def run(*_):
                os.write(1, b"start;")
                return status
            main.agent.run = run
            main.make_and_serve(Variant.PRODUCTION, lambda event, **facts: os.write(1, f"{event}{facts};".encode()))
        """
    done = subprocess.run([sys.executable, "-c", dedent(program)], capture_output=True, check=True, timeout=60)
    rounds = [f"made{{'ignored': []}};start;ended{{'status': {status}}};" for status in (0, 1, 20, 137)]
    assert done.stdout.decode() == "".join(rounds)


@pytest.fixture
def full(tmp_path: Path) -> GuestProcess:
    """A guest whose temporary folder is a small file system with no byte left."""
    guest = GuestProcess(tmp_path)
    folder = tmp_path / "tmp"
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    words = ("mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=64", "tmpfs", str(folder))
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    return guest


def test_full_folder_ends_no_session(full: GuestProcess) -> None:
    """Items, workers and outputs lie in memory files: with the folder full from the start, a session is completed."""
    folder = full.folder / "tmp"
    try:
        _fill(folder)
        with full as guest:
            side = guest.side(acting_world(guest.measurement, commands=["read /in/records-a/data"]))
            side.released()
            assert side.wait_for("completed", "failed") == "completed"
            _fill(folder)
            for name in side.world.names:
                output = "model" if name == list(side.world.parties)[-1] else "evaluation"
                with side.connect(name) as client:
                    assert client.get(f"/v1/outputs/{output}").content
                    client.accepted(client.send("POST", f"/v1/outputs/{output}/ack", {}))
                    assert client.get("/v1/receipt").status_code == 200
            assert guest.process.wait(PATIENCE_SECONDS) == 0
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path) -> None:
    with suppress(OSError):
        for number in range(100):
            (folder / f"full-{number}").write_bytes(bytes(4096))
