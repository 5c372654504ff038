"""What befalls workers and their supervisor: kills, nonsense, wipes; and what the kernel says a worker is kept in."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.support import processes
from tests.support.actor import MEBIBYTE, Ran, Stage, act, isolation, item, run, script, staged
from tests.support.bombs import compile_bomb
from tests.support.busy import running, seconds_used

from twocvm_guest.runtime import process
from twocvm_guest.runtime.isolation import new_uid
from twocvm_guest.runtime.supervisor import Runtime
from twocvm_verifier.errors import ComponentError

ROOT = Path(__file__).parents[2]
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only listed


@pytest.fixture
def looked_into() -> None:
    """Skips, visibly, where a worker cannot be looked into or this machine does not give everything."""
    if os.geteuid() != 0:
        pytest.skip("only root may look into a worker")
    if missing := [f"{feature.name} ({feature.reason})" for feature in isolation().missing]:
        pytest.skip(f"this machine does not give workers everything: {', '.join(missing)}")


@pytest.mark.parametrize("which", [0, -1])
def test_a_worker_killed_in_the_middle_of_a_run_is_a_failed_node(which: int) -> None:
    """Whichever of a worker's processes is killed, the node has failed, nothing is served, and nothing is left."""
    with running() as (_, results, workers):
        os.kill(workers[which], signal.SIGKILL)
        processes.wait_until(lambda: results)
        assert results[0] == Ran(failure="NODE_DIED", outputs={})
        processes.wait_until(lambda: not processes.descendants())


def test_a_wipe_in_the_middle_of_a_run_leaves_nothing() -> None:
    """After `wipe` returns there is no worker, the run has ended without outputs, and nothing starts again."""
    before = set(os.listdir("/proc/self/fd"))
    with running() as (runtime, results, workers):
        began = time.monotonic()
        runtime.wipe()
        assert time.monotonic() - began < 5
        assert [processes.memory_kilobytes(worker) for worker in workers] == [0] * len(workers)
        processes.wait_until(lambda: results)
        assert results[0] == Ran(failure="RUN_WIPED", outputs={})
        runtime.wipe()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_wipe_in_the_middle_of_an_admission_ends_it() -> None:
    """A wipe while a component compiles kills that worker too, and the admission says why it ended."""
    stage = Stage(wasm=compile_bomb(20_000), imports=())
    runtime = Runtime(stage.manifest, isolation=isolation())
    refused: list[ComponentError] = []

    def admit() -> None:
        with closing(item("actor", stage.wasm)) as own:
            try:
                runtime.admit(stage.manifest.component("actor"), own)
            except ComponentError as error:
                refused.append(error)

    thread = threading.Thread(target=admit, daemon=True)
    thread.start()
    processes.wait_until(lambda: [each for each in processes.descendants() if seconds_used(each) > 0.5])
    runtime.wipe()
    thread.join(timeout=10)
    assert [error.code for error in refused] == ["RUN_WIPED"]
    assert processes.descendants() == []


def test_wipes_from_many_threads_at_once_end() -> None:
    """Wiping from many threads in the middle of a run ends all of them, without a deadlock."""
    with running() as (runtime, results, _):
        threads = [threading.Thread(target=runtime.wipe, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=10)
        assert not any(thread.is_alive() for thread in threads)
        processes.wait_until(lambda: results)


def test_a_supervisor_killed_in_the_middle_of_a_run_leaves_nothing() -> None:
    """When the guest itself is killed, its workers end at once, and no folder, mount or process is left."""
    code = """
        from tests.support.actor import Stage, run, script, staged
        stage = Stage(inputs=script("loop"), wall_seconds=60)
        runtime = staged(stage)
        print("admitted", flush=True)
        run(runtime, stage)
    """
    shared = set(os.listdir(SHARED_MEMORY))
    mounts = Path("/proc/self/mounts").read_text()
    guest = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE, env=_paths()
    )
    with guest:
        assert guest.stdout is not None
        assert guest.stdout.readline() == b"admitted\n"
        processes.wait_until(lambda: processes.descendants(guest.pid))
        workers = processes.descendants(guest.pid)
        time.sleep(0.3)
        workers = sorted({*workers, *processes.descendants(guest.pid)})
        guest.kill()
    processes.wait_until(lambda: not [each for each in workers if Path(f"/proc/{each}/ns").exists()])
    assert Path("/proc/self/mounts").read_text() == mounts
    if "own-folders" in isolation().promised:
        assert_only_passing(set(os.listdir(SHARED_MEMORY)) - shared)


def _paths() -> dict[str, str]:
    folders = [str(ROOT), *(entry for entry in sys.path if entry)]
    return {"PYTHONPATH": os.pathsep.join(folders), "PATH": os.environ.get("PATH", "")}


HANDSHAKE = """
import json, os, socket, sys, time
control = socket.socket(fileno=int(sys.argv[1]))
job = json.loads(control.recv(1 << 17)[1:])
ready = json.dumps({name: "" for name in job["promised"]}).encode()
socket.send_fds(control, [ready], [os.open("/proc", os.O_RDONLY)])
control.recv(2)
"""
DONE = "control.send(b'2cvm\\0o\\0\\0')"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("control.send(b'completed')", "NODE_DIED"),
        ("control.send(b'2cvm\\0o\\xff\\0')", "NODE_DIED"),
        ("control.send(b'2cvm\\0o\\0\\1')", "NODE_DIED"),
        ("control.send(b'2cvm\\0o\\0\\0' * 2)", "NODE_DIED"),
        ("control.send(b'2cvm\\0o\\1\\0')", "NODE_DIED"),
        ("control.send(b'x' * 100000)", "NODE_DIED"),
        ("[control.send(b'noise') for _ in range(50)]", "NODE_DIED"),
        ("socket.send_fds(control, [b'take these'], [0, 1, 2])", "NODE_DIED"),
        ("pass", "NODE_DIED"),
        ("os.kill(os.getpid(), 11)", "NODE_DIED"),
        (f"{DONE}; sys.exit(7)", "NODE_DIED"),
        (f"{DONE}; os.kill(os.getpid(), 9)", "NODE_DIED"),
        ("time.sleep(60)", "NODE_TIME"),
        ("control.close(); time.sleep(60)", "NODE_DIED"),
        (DONE, "OUTPUT_UNEXPECTED"),
    ],
)
def test_a_worker_that_answers_nonsense_is_a_failed_node(monkeypatch: pytest.MonkeyPatch, said: str, code: str) -> None:
    """Whatever a worker says or leaves unsaid, its node fails, the supervisor goes on, and the process is gone."""
    stage = Stage(inputs=script("list /in"), wall_seconds=2)
    runtime = staged(stage)
    monkeypatch.setattr(process, "_BOOT", HANDSHAKE + said)
    assert run(runtime, stage).failure == code
    monkeypatch.undo()
    assert processes.descendants() == []
    runtime.wipe()


def test_a_worker_that_says_done_and_goes_on_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are looked at only when every process of the worker has ended; one that stays is killed, and failed."""
    stage = Stage(inputs=script("list /in"), wall_seconds=1)
    runtime = staged(stage)
    monkeypatch.setattr(process, "_BOOT", f"{HANDSHAKE}{DONE}; time.sleep(60)")
    monkeypatch.setattr(process, "_END_SECONDS", 1.0)
    assert run(runtime, stage).failure == "NODE_DIED"
    assert processes.descendants() == []
    runtime.wipe()


@pytest.mark.parametrize(
    "said",
    [
        "sys.exit(0)",
        "control.recv(1 << 17); control.send(b'{}'); control.recv(2)",
        'control.recv(1 << 17); control.send(b\'{"own-uid": "no"}\'); control.recv(2)',
    ],
)
def test_a_worker_with_less_isolation_than_promised_gets_no_data(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """A worker that is not shut in as the machine promised is ended before it is told to go on."""
    stage = Stage(inputs=script("list /in"), wall_seconds=2)
    runtime = staged(stage)
    boot = "import socket, sys; control = socket.socket(fileno=int(sys.argv[1])); "
    monkeypatch.setattr(process, "_BOOT", boot + said)
    assert run(runtime, stage).failure == "NODE_ISOLATION"
    runtime.wipe()


@pytest.mark.needs_root
@pytest.mark.usefixtures("looked_into")
def test_a_worker_is_kept_in_as_the_kernel_sees_it() -> None:
    """A running worker has its own identity and namespaces, no privilege, a filter, and nothing of ours open."""
    with running() as (_, _, workers):
        worker = workers[-1]
        status = processes.status(worker)
        assert int(status["Uid"].split()[0]) > 60_000
        assert (status["Groups"], status["NoNewPrivs"], status["Seccomp"]) == ("", "1", "2")
        # Loading, running, file times: a stage that was never set would leave one filter less.
        filters = {
            task.name: processes.status(int(task.name))["Seccomp_filters"]
            for task in Path(f"/proc/{worker}/task").iterdir()
        }
        assert filters.pop(str(worker)) == "3"
        assert set(filters.values()) <= {"2", "3"}
        assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
        for kind in ("user", "pid", "ipc", "mnt", "net", "uts", "cgroup"):
            assert os.readlink(f"/proc/{worker}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
        limits = processes.limits(worker)
        assert limits["Max core file size"] == "0"
        assert int(limits["Max data size"]) < 400 * MEBIBYTE
        assert int(limits["Max file size"]) == 100_001
        assert int(limits["Max processes"]) == 64
        assert int(limits["Max open files"]) < 300


@pytest.mark.usefixtures("looked_into")
def test_a_worker_ends_before_its_supervisor_where_memory_ends() -> None:
    """When the machine runs out of memory the kernel picks the worker's processes first, and the guest goes on."""
    with running() as (_, _, workers):
        assert {Path(f"/proc/{worker}/oom_score_adj").read_text() for worker in workers} == {"1000\n"}


@pytest.mark.needs_root
@pytest.mark.usefixtures("looked_into")
def test_a_worker_holds_nothing_but_what_it_was_handed() -> None:
    """A worker's descriptors are its socket, the compiled code, its inputs, and ones that it made itself."""
    with running() as (_, _, workers):
        for worker in workers:
            for fd, target in processes.descriptors(worker).items():
                handed = re.fullmatch(r"socket:\[\d+\]|/\d+/statm|/memfd:actor compiled \(deleted\)", target)
                made = target.startswith(("anon_inode:", "/in", "/out"))
                assert (fd <= 2 and target == "/dev/null") or handed or made, target


@pytest.mark.needs_root
@pytest.mark.usefixtures("looked_into")
def test_a_workers_root_holds_two_folders() -> None:
    """A worker's mount namespace is a read-only root with `/in`, read-only, and `/out`; no device, no `/proc`."""
    with running() as (_, _, workers):
        worker = workers[-1]
        assert sorted(os.listdir(f"/proc/{worker}/root/")) == ["in", "out"]
        lines = [line.split() for line in Path(f"/proc/{worker}/mountinfo").read_text().splitlines()]
        mounts = {line[4]: (set(line[5].split(",")), line[line.index("-") + 1]) for line in lines}
        assert set(mounts) == {"/", "/in", "/out"}
        for options, kind in mounts.values():
            assert kind == "tmpfs"
            assert {"nosuid", "nodev", "noexec", "noatime"} <= options
        assert {place for place, (options, _) in mounts.items() if "ro" in options} == {"/", "/in"}


@pytest.mark.needs_root
@pytest.mark.usefixtures("looked_into")
def test_a_worker_cannot_be_looked_into_by_its_like() -> None:
    """A worker is not dumpable: its `/proc` files are root's, so nobody of its own identity reads its memory."""
    with running() as (_, _, workers):
        assert Path(f"/proc/{workers[-1]}/mem").stat().st_uid == 0


def test_no_two_workers_share_an_identity() -> None:
    """Identities are drawn from so many that two workers hardly ever meet."""
    assert len({new_uid() for _ in range(200)}) > 190


def test_the_supervisor_holds_no_data(tmp_path: Path) -> None:
    """Running with an input and an output of 128 MiB costs the supervisor a fixed buffer, and each byte arrives."""
    content = os.urandom(MEBIBYTE) * 128
    stage = Stage(
        inputs=script("copy /in/big/data /out/copied/data") | {"big": content},
        ports={"report": 1000, "copied": len(content)},
        wall_seconds=60,
    )
    runtime = staged(stage)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    inputs = {f"item-{port}": item(port, data) for port, data in stage.inputs.items()}
    del content
    result = runtime.run(inputs)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert result.completed
    assert result.outputs["output-copied"].sha256 == inputs["item-big"].sha256
    assert (after - before) * 1024 < 24 * MEBIBYTE
    runtime.wipe()


def test_a_worker_is_small() -> None:
    """A worker's processes together have less than 64 MiB of their own and shared memory."""
    with running() as (_, _, workers):
        assert sum(processes.proportional_kilobytes(worker) for worker in workers) < 64 << 10


def assert_only_passing(names: set[str]) -> None:
    """Other tests of the same run have folders here too, which go when they end; what was left behind stays."""
    processes.wait_until(lambda: not names & set(os.listdir(SHARED_MEMORY)), seconds=20)


def test_nothing_is_left_open_after_runs() -> None:
    """Runs that end well and runs that fail leave no descriptor, no process and no folder behind."""
    act("list /in")
    before, shared = set(os.listdir("/proc/self/fd")), set(os.listdir(SHARED_MEMORY))
    for command in ("list /in", "trap", "mkdir /out/report/data", "write /out/report/data 9999999"):
        act(command)
    assert set(os.listdir("/proc/self/fd")) == before
    assert_only_passing(set(os.listdir(SHARED_MEMORY)) - shared)
    assert processes.descendants() == []
