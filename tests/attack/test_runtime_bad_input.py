"""What else may be in a component, or become of a worker: every trap, files left open, and a worker that is taken over.

The last is an attacker's best day: native code of its own in the place of the component, in a worker like every other.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from tests.support import processes
from tests.support.actor import MEBIBYTE, RUN, Stage, act, isolation, run, script, staged, wat
from tests.support.busy import running
from tests.support.guest_process import GuestProcess, acting_world
from tests.support.manifests import Document

from twocvm_guest.runtime import process

# Every trap that the engine has and that is not switched off with its proposal (threads, exceptions, collection).
TRAPS = {
    "unreachable": "unreachable",
    "a load outside of memory": "(drop (i32.load (i32.const -1)))",
    "a store outside of memory": "(i64.store (i32.const 65535) (i64.const 1))",
    "a fill outside of memory": "(memory.fill (i32.const 65000) (i32.const 7) (i32.const 65536))",
    "a copy outside of memory": "(memory.copy (i32.const 0) (i32.const 65000) (i32.const 65536))",
    "data that was dropped": "(data.drop 0) (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1))",
    "an access outside of a table": "(drop (table.get 0 (i32.const 9)))",
    "a table filled beyond its end": "(table.fill 0 (i32.const 1) (ref.null func) (i32.const 9))",
    "a call through nothing": "(call_indirect (type $t) (i32.const 1))",
    "a call through another type": "(drop (call_indirect (type $u) (i32.const 1) (i32.const 0)))",
    "a division by zero": "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
    "a remainder by zero": "(drop (i64.rem_s (i64.const 1) (i64.const 0)))",
    "an overflow": "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
    "a float that is no number": "(drop (i32.trunc_f64_s (f64.const nan)))",
    "a float that is too large": "(drop (i64.trunc_f32_u (f32.const 1e30)))",
}


def trapping(body: str, *, at_start: bool) -> Stage:
    """A component that does this in its entry, or in a start function, before its entry is called."""
    where = ("(start $bad)", "") if at_start else ("", "call $bad")
    return Stage(
        wasm=wat(f"""(component
            (core module $main
                (type $t (func)) (type $u (func (param i32) (result i32)))
                (memory 1) (data "x") (table 2 funcref) (elem (i32.const 0) $plain)
                (func $plain) (func $bad {body}) {where[0]}
                (func (export "run") (result i32) {where[1]} i32.const 0))
            (core instance $i (instantiate $main))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $interface (export "run" (func $run)))
            (export "{RUN}" (instance $interface)))"""),
        imports=(),
    )


def failure_of(stage: Stage) -> str:
    """How a component fails."""
    runtime = staged(stage)
    try:
        return run(runtime, stage).failure
    finally:
        runtime.wipe()


@pytest.mark.parametrize("kind", TRAPS)
def test_every_trap_is_a_failed_node(kind: str) -> None:
    """Each kind of trap ends its own node with the one code that all of them have."""
    assert failure_of(trapping(TRAPS[kind], at_start=False)) == "NODE_TRAPPED"


def test_a_trap_before_the_entry_is_a_failed_node() -> None:
    """A start function that traps, or that never ends, fails its node like an entry that does."""
    assert failure_of(trapping("unreachable", at_start=True)) == "NODE_TRAPPED"
    assert failure_of(trapping("(call $bad)", at_start=True)) == "NODE_STACK"


def test_an_output_that_is_never_closed() -> None:
    """A component that ends with its output open has written what it wrote; one that goes on has written nothing."""
    ended = act("list /in", "exit 0")
    assert ended.failure == ""
    assert ended.told("list")
    assert act("list /in", "loop", wall_seconds=1).outputs == {}


TAKEN_OVER = """
import sys; sys.path += sys.argv[2:]
import ctypes, errno, json, os, resource, signal, socket, stat
from twocvm_guest.runtime import engine, worker
from twocvm_guest.runtime.messages import Outcome
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def call(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *(ctypes.c_long(each) for each in arguments)) == -1:
        raise OSError(ctypes.get_errno(), "")

def tried(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    except ValueError:
        return "EPERM"  # The module's own word for a limit that cannot be raised.
    return "ok"

def is_socket(descriptor):
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False

def control():
    return next(filter(is_socket, range(resource.getrlimit(resource.RLIMIT_NOFILE)[0])))

VICTIM = {victim}
ATTEMPTS = {{
    # Another worker's process, the supervisor's, and every one there is.
    **{{f"kill {{process}}": (lambda process=process: os.kill(process, 0)) for process in (VICTIM, {supervisor}, -1)}},
    "ptrace": lambda: call(101, 16, VICTIM, 0, 0),
    "process_vm_readv": lambda: call(310, VICTIM, 0, 0, 0, 0, 0),
    "pidfd_open": lambda: call(434, VICTIM, 0),
    # Devices, processes and files of the machine.
    **{{path: (lambda path=path: os.open(path, os.O_RDONLY)) for path in (
        "/dev/sev-guest", "/dev/null", "/dev/mem", "/sys/kernel/config/tsm/report", "/proc/self/mem", "/etc/passwd",
        f"/proc/{{VICTIM}}/mem", "/in/../etc/passwd", "/dev/shm", "/tmp")}},
    # Sockets of every family that matters, and the one that there is.
    **{{f"socket {{family}}": (lambda family=family: call(41, family, 1, 0)) for family in (1, 2, 10, 16, 17, 38, 40)}},
    "pass a descriptor": lambda: socket.send_fds(socket.socket(fileno=os.dup(control())), [b"x"], [0]),
    # More rights, other namespaces, other programs.
    "setuid": lambda: os.setuid(0),
    "unshare": lambda: call(272, 0x10000000),
    "setns": lambda: call(308, 0, 0),
    "mount": lambda: call(165, 0, 0, 0, 0, 0),
    "chroot": lambda: os.chroot("/in"),
    "fork": os.fork,
    "execve": lambda: os.execv("/bin/sh", ["sh"]),
    "dump again": lambda: call(157, 4, 1, 0, 0, 0),
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)),
    "new code": lambda: call(9, 0, 4096, 7, 0x22, -1, 0),
    "shared memory": lambda: call(29, 0, 4096, 0o1777),
    "memfd_create": lambda: os.memfd_create("x"),
    **{{name: (lambda number=number: call(number, 0, 0, 0, 0, 0)) for name, number in {{
        "bpf": 321, "io_uring_setup": 425, "userfaultfd": 323, "perf_event_open": 298, "keyctl": 250, "mq_open": 240,
        "iopl": 172, "init_module": 175, "reboot": 169, "kexec_load": 246, "add_key": 248, "ptrace me": 101,
        "sethostname": 170, "settimeofday": 164, "swapon": 167, "quotactl": 179, "acct": 163, "modify_ldt": 154,
    }}.items()}},
    # Inputs, and what is no plain file at an output.
    "write to an input": lambda: os.open("/in/script/data", os.O_WRONLY),
    "make an input": lambda: os.open("/in/script/more", os.O_WRONLY | os.O_CREAT),
    "move an input": lambda: os.rename("/in/script/data", "/out/report/stolen"),
    "link an input": lambda: os.link("/in/script/data", "/out/report/stolen"),
    "link": lambda: os.symlink("/in/script/data", "/out/report/way"),
    "device": lambda: os.mknod("/out/report/device", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    "pipe": lambda: os.mkfifo("/out/report/pipe"),
    "another port": lambda: os.mkdir("/out/mine"),
    "a file beside": lambda: os.open("/mine", os.O_WRONLY | os.O_CREAT),
}}

def attack(*_):
    found = {{"root": sorted(os.listdir("/")), "attempts": {{name: tried(each) for name, each in ATTEMPTS.items()}}}}
    report = os.open("/out/report/data", os.O_WRONLY | os.O_CREAT)
    os.write(report, json.dumps(found).encode())
    return Outcome.DONE

engine.run = attack
worker.main(int(sys.argv[1]))
"""


def test_a_worker_that_is_taken_over_reaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Native code in a component's place gets at no process, device, socket, right or file but its own ports.

    What it writes there is taken as any component's output is, and the worker beside it runs on.
    """
    if missing := [feature.name for feature in isolation().missing if feature.name not in ("own-uid", "no-swap")]:
        pytest.skip(f"this machine does not give workers everything: {', '.join(missing)}")
    with running() as (_, _, (*_, victim)):
        stage = Stage(inputs=script("list /in"))
        runtime = staged(stage)
        monkeypatch.setattr(process, "_BOOT", TAKEN_OVER.format(victim=victim, supervisor=os.getpid()))
        ran = run(runtime, stage)
        monkeypatch.undo()
        runtime.wipe()
        assert ran.failure == ""
        found = json.loads(ran.outputs["report"])
        assert found["root"] == ["in", "out"]
        assert len(found["attempts"]) > 50
        allowed = {name: answer for name, answer in found["attempts"].items() if answer not in REFUSALS}
        assert allowed == {}
        assert processes.status(victim)["State"].startswith("R")


# The filter says EPERM; what is in no mount is not there; `/in` is read-only and another file system than `/out`.
REFUSALS = {errno.errorcode[number] for number in (errno.EPERM, errno.ENOENT, errno.EROFS, errno.EACCES, errno.EXDEV)}


def test_a_guests_memory_does_not_depend_on_the_size_of_data(tmp_path: Path) -> None:
    """An item of 96 MiB that is uploaded, read and copied costs the guest's process less than 24 MiB at any moment."""
    size = 96 * MEBIBYTE
    with GuestProcess(tmp_path) as guest:
        world = acting_world(guest.measurement, commands=["read /in/records-a/data"], secret=os.urandom(MEBIBYTE) * 96)
        edit = world._edit

        def roomy(document: Document) -> None:
            assert edit is not None
            edit(document)
            for entry in (*document["data"], *document["channels"]):
                if "records-a" in (entry.get("name"), entry.get("from", "").partition(":")[2]):
                    entry["max_bytes"] = size

        world._edit = roomy
        side = guest.side(world)
        with side.connect(unlocked_ok=True) as client:
            client.accepted(client.put_manifest())
        before = peak_kilobytes(guest.process.pid)
        side.joined_and_released()
        assert side.wait_for("completed", "failed") == "completed"
        assert peak_kilobytes(guest.process.pid) - before < 24 << 10


def peak_kilobytes(process: int) -> int:
    """The most memory that a process has had at once, in kB."""
    return int(processes.status(process)["VmHWM"].split()[0])
