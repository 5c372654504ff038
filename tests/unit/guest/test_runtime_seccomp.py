"""The filter of system calls, in processes of their own: what is refused, and what still works."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from twocvm_guest.runtime import seccomp
from twocvm_guest.runtime.seccomp import NUMBERS, Stage, allow_list

HERE = Path(__file__).parent
EPERM, ENOSYS = 1, 38

PROGRAM = """
    import ctypes, os, sys, threading
    from twocvm_guest.runtime import filetimes, seccomp, syscalls
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(seccomp.Stage.LOADING)
    def call(number, *arguments):
        result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments))
        return -ctypes.get_errno() if result < 0 else result
"""


def said(code: str) -> str:
    """What a process prints that has set the filter of the stage LOADING and then runs `code`."""
    program = textwrap.dedent(PROGRAM) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=30, cwd=HERE, env={}
    )
    return done.stdout.decode().strip()


# Numbers of calls that no component needs (asm/unistd_64.h), with arguments that would otherwise do something.
REFUSED = {
    "socket": (41, 2, 1, 0),
    "socketpair": (53, 1, 1, 0, 0),
    "connect": (42, 0, 0, 0),
    "fork": (57,),
    "vfork": (58,),
    "execve": (59, 0, 0, 0),
    "kill": (62, 1, 0),
    "ptrace": (101, 0, 0, 0, 0),
    "symlink": (88, 0, 0),
    "linkat": (265, 0, 0, 0, 0, 0),
    "symlinkat": (266, 0, 0, 0),
    "mknodat": (259, 0, 0, 0, 0),
    "fchmod": (91, 0, 0),
    "fchmodat": (268, 0, 0, 0),
    "chown": (92, 0, 0, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "chroot": (161, 0),
    "unshare": (272, 0x10000000),
    "setns": (308, 0, 0),
    "setresuid": (117, 0, 0, 0),
    "setrlimit": (160, 0, 0),
    "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, 0, 0, 0),
    "io_uring_setup": (425, 0, 0),
    "userfaultfd": (323, 0),
    "memfd_create": (319, 0, 0),
    "process_vm_readv": (310, 0, 0, 0, 0, 0, 0),
    "keyctl": (250, 0, 0, 0, 0, 0),
    "pidfd_open": (434, 1, 0),
    "pkey_mprotect": (329, 0, 0, 0, 0),
    "clone as fork": (56, 17, 0, 0, 0, 0),
    "clone into namespaces": (56, 0x10000 | 0x10000000, 0, 0, 0, 0),
    "x32 calls": (0x40000000 | 39,),
}


def test_what_no_component_needs_is_refused() -> None:
    """Networks, processes, links, identities, mounts, other processes and new kernel interfaces: all EPERM."""
    results = json.loads(said(f"print([call(*each) for each in {list(REFUSED.values())}])"))
    assert dict(zip(REFUSED, results, strict=True)) == dict.fromkeys(REFUSED, -EPERM)


def test_the_newer_clone_is_said_not_to_exist() -> None:
    """`clone3`, whose flags no filter can see, is ENOSYS, so that the C library uses the one that is looked at."""
    assert said("print(call(435, 0, 0))") == str(-ENOSYS)


def test_threads_memory_and_files_still_work() -> None:
    """What the engine and Python need works: threads, anonymous memory, files, time, random numbers."""
    code = """
        seccomp.install(seccomp.Stage.RUNNING)
        found = []
        thread = threading.Thread(target=lambda: found.append(len(os.urandom(8)))); thread.start(); thread.join()
        with open("/proc/self/comm") as file:
            found.append(bool(file.read()))
        found.append(len(bytearray(1 << 26)) >> 20)
        print(found)
    """
    assert said(code) == "[8, True, 64]"


def test_no_code_can_be_mapped_while_running() -> None:
    """In the stage RUNNING neither `mmap` nor `mprotect` gives executable memory, and none is ever shared."""
    code = """
        anonymous, private, shared = 0x20, 2, 1
        size = 4096
        def mapped(protection, flags):
            return call(9, 0, size, protection, flags | anonymous, 2**64 - 1, 0)
        before = mapped(7, private) > 0, mapped(3, shared)
        seccomp.install(seccomp.Stage.RUNNING)
        plain = mapped(3, private)
        print(*before, plain > 0, call(10, plain, size, 5), mapped(7, private), mapped(3, shared))
    """
    assert said(code) == f"True {-EPERM} True {-EPERM} {-EPERM} {-EPERM}"


def test_descriptors_cannot_be_passed_while_running() -> None:
    """`sendmsg`, which could hand a descriptor over, is refused once a component may run."""
    code = "seccomp.install(seccomp.Stage.RUNNING); print(call(46, 0, 0, 0))"
    assert said(code) == str(-EPERM)


def test_a_filter_cannot_be_widened() -> None:
    """After RUNNING, setting LOADING's wider list is refused."""
    code = """
        seccomp.install(seccomp.Stage.RUNNING)
        try:
            seccomp.install(seccomp.Stage.LOADING)
        except OSError as error:
            print(error.errno)
    """
    assert said(code) == str(EPERM)


def test_file_times_are_hidden_from_every_thread() -> None:
    """After `hide`, statx, fstat and newfstatat give times of zero and devices of small numbers, in new threads too."""
    code = """
        descriptor = os.open("/proc/self/exe", os.O_RDONLY)
        true = os.fstat(descriptor)
        seccomp.install(seccomp.Stage.RUNNING)
        filetimes.hide()
        found = []
        def look():
            for one in (os.fstat(descriptor), os.stat("/proc/self/exe"), os.stat(".")):
                found.append(one)
        look()
        thread = threading.Thread(target=look); thread.start(); thread.join()
        buffer = ctypes.create_string_buffer(256)
        name = ctypes.create_string_buffer(b"/proc/self/exe")
        found_statx = call(332, 2**64 - 100, ctypes.addressof(name), 0, 0xfff, ctypes.addressof(buffer))
        devices = {one.st_dev for one in found} | {int.from_bytes(buffer.raw[0x8c:0x90], "little")}
        print(sorted(devices) == [*range(1, len(devices) + 1)], int.from_bytes(buffer.raw[0x88:0x8c], "little"))
        times = {one.st_mtime_ns + one.st_atime_ns + one.st_ctime_ns for one in found}
        print(true.st_mtime_ns > 0, times, found[0].st_size == true.st_size, found_statx, set(buffer.raw[0x40:0x80]))
        try:
            os.stat("/no/such/file")
        except FileNotFoundError:
            print("missing")
        sys.stdout.flush()
        os._exit(0)
    """
    assert said(code).splitlines() == ["True 0", "True {0} True 0 {0}", "missing"]


def test_every_number_is_the_kernels() -> None:
    """The names and numbers of this table are those of the machine's own header, where there is one."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no kernel headers on this machine")
    lines = (line.split() for line in header.read_text().splitlines() if line.startswith("#define __NR_"))
    true = {line[1].removeprefix("__NR_"): int(line[2]) for line in lines}
    assert {name: true[name] for name in NUMBERS} == dict(NUMBERS)


@pytest.mark.parametrize("stage", Stage)
def test_the_program_is_one_the_kernel_takes(stage: Stage) -> None:
    """A filter is whole instructions, fewer than the kernel's limit, and ends by refusing."""
    program = allow_list(stage)
    assert len(program) % 8 == 0
    assert len(program) // 8 < 4096
    assert struct.unpack("=HBBI", program[-8:]) == (6, 0, 0, 0x0005_0000 | EPERM)


def test_another_machine_is_said_to_have_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine whose calls have other numbers, installing fails aloud instead of filtering the wrong ones."""
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="riscv64"):
        seccomp.install(Stage.LOADING)
