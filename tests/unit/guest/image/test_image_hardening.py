"""Every means of the image by itself: what is taken out or weakened is missed here, without a machine.

The words and settings stand here once more, so that nobody changes what is measured without meaning to.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import nft

from twocvm_guest.image import bytecode, packages, recipe
from twocvm_guest.image.command_line import (
    FIXED,
    Payload,
    Variant,
    command_line,
    make_network,
    parse_command_line,
)
from twocvm_guest.image.init import agent, firewall, kernel, main, mounts, report, unmeasured
from twocvm_guest.image.lock import WHEELS, Lock, Wheel, load_lock
from twocvm_guest.image.tree import Tree
from twocvm_guest.runtime import syscalls
from twocvm_verifier.errors import FetchError, UnsupportedError

PAGE = Path(__file__).parents[4] / "docs" / "image.md"
PORT = 8443
NETWORK = make_network("10.0.2.15/24", "10.0.2.2", str(PORT))
IN, FORWARD, OUT = 1, 2, 3
SETTINGS = """
    dev/tty/ldisc_autoload=0 fs/protected_fifos=2 fs/protected_hardlinks=1 fs/protected_regular=2
    fs/protected_symlinks=1 fs/suid_dumpable=0 kernel/core_pattern=|/none kernel/dmesg_restrict=1
    kernel/io_uring_disabled=2 kernel/kexec_load_disabled=1 kernel/kptr_restrict=2 kernel/modprobe=
    kernel/modules_disabled=1 kernel/perf_event_paranoid=3 kernel/randomize_va_space=2 kernel/sysrq=0
    kernel/unprivileged_bpf_disabled=1 kernel/yama/ptrace_scope=3 net/core/bpf_jit_harden=2
    net/ipv4/conf/all/accept_redirects=0 net/ipv4/conf/all/accept_source_route=0 net/ipv4/conf/all/arp_announce=2
    net/ipv4/conf/all/arp_ignore=1 net/ipv4/conf/all/rp_filter=1 net/ipv4/conf/all/secure_redirects=0
    net/ipv4/conf/all/send_redirects=0 net/ipv4/conf/default/accept_redirects=0 net/ipv4/icmp_echo_ignore_all=1
    net/ipv4/ip_forward=0 net/ipv4/tcp_mtu_probing=1 net/ipv4/tcp_syncookies=1 vm/mmap_min_addr=65536
    vm/unprivileged_userfaultfd=0
"""
CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, SETPCAP = 0, 1, 3, 5, 6, 7, 8
IPC_LOCK, SYS_CHROOT, SYS_ADMIN, SYS_RESOURCE = 14, 18, 21, 24


def test_words_are_those_of_the_page() -> None:
    """`docs/image.md` says of each word of the command line why it is there, and has no other."""
    table = PAGE.read_text(encoding="utf-8").partition("### The command line\n")[2].partition("\n#")[0]
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in table.splitlines() if line.startswith("| `")]
    said = {variant: set[str]() for variant in Variant}
    for words, where, why in rows:
        assert why
        for variant in Variant if where == "both" else (Variant(where),):
            said[variant] |= set(re.findall(r"`([^`]+)`", words))
    for variant in Variant:
        words = FIXED[variant].split(" ")
        assert len(words) == len(set(words))
        assert set(words) == said[variant]


def test_settings_are_all_there() -> None:
    """None is left out or weakened."""
    assert {f"{name}={value}" for name, value in kernel.SETTINGS.items()} == set(SETTINGS.split())


def test_kept_capabilities_are_these() -> None:
    """One more would be a way out; each is one that keeping workers apart needs."""
    needed = {CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, SETPCAP, IPC_LOCK, SYS_CHROOT, SYS_ADMIN, SYS_RESOURCE}
    assert needed == kernel.KEPT_CAPABILITIES


def test_nothing_that_can_be_written_to_is_run_or_a_device() -> None:
    """No mount takes programs, only the one of devices takes devices, and where all may write none takes another's."""
    for each in (*mounts.MOUNTS, mounts.CONFIGFS):
        assert each.flags & syscalls.MS_NOSUID
        assert each.flags & syscalls.MS_NOEXEC
        assert bool(each.flags & syscalls.MS_NODEV) is (each.kind != "devtmpfs")
    modes = {each.target: each.options.partition("mode=")[2].partition(",")[0] for each in mounts.MOUNTS}
    assert {target for target, mode in modes.items() if mode == "1777"} == {"/tmp", "/dev/shm"}  # noqa: S108 - its own
    assert {mode for mode in modes.values() if mode != "1777"} == {"", "0755"}


Done = list[tuple[object, ...]]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    """What the kernel is asked for, in order, instead of being asked."""
    asked: Done = []
    for owner, name in ((syscalls, "mount"), (os, "chdir"), (os, "chroot")):
        monkeypatch.setattr(owner, name, lambda *given, name=name: asked.append((name, *given)))
    return asked


def test_root_ends_read_only(done: Done) -> None:
    """It is laid over the first one and entered; file system and mount are read-only, without raised rights."""
    mounts.close_root()
    closed = syscalls.MS_REMOUNT | syscalls.MS_RDONLY
    assert done == [
        ("mount", "/", "/mnt", "none", mounts.MS_BIND, ""),
        ("chdir", "/mnt"),
        ("mount", ".", "/", "none", mounts.MS_MOVE, ""),
        ("chroot", "."),
        ("chdir", "/"),
        ("mount", "none", "/", "none", closed, ""),
        ("mount", "none", "/", "none", closed | mounts.MS_BIND | syscalls.MS_NOSUID | syscalls.MS_NODEV, ""),
    ]


def test_a_mount_is_what_is_wanted(done: Done, tmp_path: Path) -> None:
    """With its flags, options and device; its folder is made where there is none."""
    for target, source in ((tmp_path / "new", ""), (tmp_path, "/dev/x")):
        mounts.mount(mounts.Mount(kind="erofs", target=str(target), flags=7, options="size=1m", source=source))
        assert target.is_dir()
    assert done == [
        ("mount", "erofs", str(tmp_path / "new"), "erofs", 7, "size=1m"),
        ("mount", "/dev/x", str(tmp_path), "erofs", 7, "size=1m"),
    ]


def test_serial_line_is_opened_for_a_moment_and_never_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that takes nothing holds nobody up, and none is left open for whoever is started."""
    assert report.LINE == "/dev/ttyS0"
    line = tmp_path / "line"
    os.mkfifo(line)
    monkeypatch.setattr(report, "LINE", str(line))
    report.to_host("made")
    reader = os.open(line, os.O_RDONLY | os.O_NONBLOCK)
    try:
        before = os.listdir("/proc/self/fd")
        report.to_host("made")
        assert os.read(reader, 100) == b"twocvm MADE\n"
        with line.open("wb", buffering=0) as full:
            os.set_blocking(full.fileno(), False)
            while full.write(bytes(1 << 16)):
                pass
        report.to_host("made")
        assert os.listdir("/proc/self/fd") == before
    finally:
        os.close(reader)
    opened: list[int] = []
    monkeypatch.setattr(os, "open", lambda _, flags: opened.append(flags) or os.dup(2))  # type: ignore[func-returns-value]
    monkeypatch.setattr(os, "write", lambda *_: None)
    report.to_host("made")
    assert opened == [os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC]


STEPS = (
    (main.unmeasured, "require_plain_start"),
    (main, "parse_command_line"),
    (main.kernel, "load_modules"),
    (main.payload, "attach"),
    (main.mounts, "mount"),
    (main.firewall, "close_to_all_but"),
    (main.network, "connect"),
    (main.kernel, "settle"),
    (main.unmeasured, "find_ignored"),
    (main.agent, "run"),
)


@pytest.mark.parametrize("payload", [None, Payload(root=bytes(32), blocks=2)])
def test_steps_come_in_this_order(payload: Payload | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are judged before anything is done, the filter is there before the card, settings before the agent."""
    done: list[str] = []
    launch = parse_command_line(command_line(Variant.PRODUCTION, NETWORK, payload), Variant.PRODUCTION)

    def step(name: str) -> Callable[..., object]:
        def note(*_: object, **__: object) -> object:
            done.append(name)
            return {"parse_command_line": launch, "run": 0}.get(name, ())

        return note

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, step(name))
    main.make_and_serve(Variant.PRODUCTION, lambda event, **_: done.append(event))
    names = [name for _, name in STEPS if payload or name != "attach"]
    assert done == [*names[:-1], "made", "run", "ended"]


def test_root_is_closed_before_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the root, then every mount of the list, and only then is it asked which image this is."""
    done: list[object] = []
    settings = tmp_path / "twocvm.json"
    settings.write_text('{"variant": "production"}')
    monkeypatch.setattr(main, "SETTINGS", settings)
    monkeypatch.setattr(main.mounts, "close_root", lambda: done.append("root"))
    monkeypatch.setattr(main.mounts, "mount", done.append)
    monkeypatch.setattr(main, "open_output", done.append)
    monkeypatch.setattr(main, "make_and_serve", lambda *_: done.append("made"))
    main._run()
    assert done == ["root", *mounts.MOUNTS, Variant.PRODUCTION, "made"]


def test_production_is_connected_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three streams of the first process lead nowhere, whatever console the kernel has."""
    opened: list[object] = []
    monkeypatch.setattr(os, "open", lambda name, _: opened.append(name) or 7)  # type: ignore[func-returns-value]
    monkeypatch.setattr(os, "dup2", lambda descriptor, number: opened.append((descriptor, number)))
    for variant, name, say in (
        (Variant.PRODUCTION, os.devnull, report.to_host),
        (Variant.DEVELOPMENT, "/dev/console", report.to_console),
    ):
        opened.clear()
        assert main.open_output(variant) is say
        assert opened == [name, (7, 0), (7, 1), (7, 2)]


def test_agent_begins_with_a_fixed_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the first process's environment reaches it, and it gives its rights up first."""
    order: list[object] = []
    monkeypatch.setattr(agent.kernel, "give_up_capabilities", lambda: order.append("given up"))
    monkeypatch.setattr(os, "execve", lambda _, words, environment: order.extend((words, set(environment))))
    monkeypatch.setattr(os, "_exit", lambda _: None)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    agent._become(("/usr/bin/python3.11", "-I"), None)
    assert order == ["given up", ("/usr/bin/python3.11", "-I"), {"HOME", "LANG", "PYTHONMALLOC", "GLIBC_TUNABLES"}]
    assert agent.command(Variant.PRODUCTION, PORT)[1] == "-I"


def accepted(hook: int, packet: nft.Packet) -> bool:
    """What the image's own rules do with a packet."""
    return nft.is_accepted(firewall.ruleset(PORT), hook, packet)


@pytest.mark.parametrize("flags", [nft.SYN, nft.ACK, nft.FIN | nft.ACK, nft.RST])
def test_what_comes_in_is_tcp_to_the_port(flags: int) -> None:
    """To the one port, whatever its flags; to no other, and nothing is handed on."""
    assert accepted(IN, nft.tcp(source=50_000, destination=PORT, flags=flags))
    for port in (PORT + 1, PORT - 1, 22, PORT ^ 0x0100, 0):
        assert not accepted(IN, nft.tcp(source=PORT, destination=port, flags=flags))
    assert not accepted(FORWARD, nft.tcp(source=50_000, destination=PORT, flags=flags))


@pytest.mark.parametrize("flags", [nft.ACK, nft.SYN | nft.ACK, nft.FIN | nft.ACK, nft.RST, nft.RST | nft.ACK])
def test_what_goes_out_answers_from_the_port(flags: int) -> None:
    """From the one port, of a connection that another side opened; from no other port, whatever its flags."""
    assert accepted(OUT, nft.tcp(source=PORT, destination=50_000, flags=flags))
    assert not accepted(OUT, nft.tcp(source=50_000, destination=PORT, flags=flags))
    assert not accepted(FORWARD, nft.tcp(source=PORT, destination=50_000, flags=flags))


def test_nothing_that_goes_out_opens_a_connection() -> None:
    """SYN without ACK is dropped from the one port too, with every other flag and bit."""
    for flags in range(256):
        opens = flags & (nft.SYN | nft.ACK) == nft.SYN
        assert accepted(OUT, nft.tcp(source=PORT, destination=443, flags=flags)) is not opens


def test_no_other_protocol_comes_or_goes() -> None:
    """Neither UDP nor ICMP nor any other, though its bytes look like a segment of an open connection."""
    for protocol in set(range(256)) - {nft.TCP}:
        packet = nft.other(protocol, source=PORT, destination=PORT)
        assert not any(accepted(hook, packet) for hook in (IN, FORWARD, OUT))


def test_tables_that_the_kernel_would_act_on_are_reported(tmp_path: Path) -> None:
    """A store for the kernel's last words, sources of errors, and whatever else a host's tables bring."""
    tables = tmp_path / "firmware/acpi/tables"
    tables.mkdir(parents=True)
    for name in ("APIC", "DSDT", "ERST", "HEST", "BERT", "SPCR", "TPM2", "SSDT1"):
        (tables / name).write_bytes(name.encode())
    found = {each.name.split(" ")[0] for each in unmeasured.find_ignored(tmp_path)}
    assert found == {"ERST", "HEST", "BERT", "SPCR", "TPM2", "SSDT1"}


def test_builder_that_cannot_give_the_same_bytes_builds_nothing(tmp_path: Path) -> None:
    """Where addresses cannot be fixed, as in a container that forbids it, or the program is not for this machine."""
    forbidden = "class C:\n def __init__(self, _): self.personality = lambda _: -1\nimport ctypes\nctypes.CDLL = C\n"
    words = (sys.executable, "-I", "-c", forbidden + bytecode._PROGRAM, str(tmp_path), sys.executable, "[]", "{}")
    for program in (words, (str(tmp_path / "none"),), ("/bin/false",)):
        with pytest.raises(UnsupportedError) as refused:
            bytecode.run_locked(program, b"[]")
        assert refused.value.code == "IMAGE_NOT_BUILT"
    with pytest.raises(UnsupportedError, match="cannot be fixed"):
        bytecode.run_locked(words, b"[]")
    assert bytecode.run_locked(("/bin/cat",), b"as it is") == b"as it is"
    assert bytecode.run_locked(("/usr/bin/env",), b"") == b""


def test_order_in_compiled_files_is_not_left_to_chance() -> None:
    """The compiler's Python takes the seed that it is given; it is told to ignore everything else of this machine's."""
    asked = "hash('a'), sys.flags.hash_randomization, sys.flags.safe_path, sys.flags.no_user_site, sys.flags.no_site"
    program = f"import sys; print({asked}, sys.flags.dont_write_bytecode, sys.path)"
    words = (sys.executable, *bytecode.FLAGS, "-c", program)
    environments = ({**bytecode.ORDERED, "HOME": home} for home in ("/one", "/another"))
    said = {subprocess.run(words, env=each, check=True, capture_output=True).stdout for each in environments}
    assert len(said) == 1
    assert said.pop().split()[1:6] == [b"0", b"True", b"1", b"1", b"1"]


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's Python in the place of the image's; skips where addresses cannot be fixed."""
    monkeypatch.setattr(bytecode, "run_inside", lambda _, __, *arguments: (sys.executable, *arguments))
    if subprocess.run(("setarch", "-R", "true"), capture_output=True, check=False).returncode:
        pytest.skip("personality(2) is not allowed here")


def test_compiled_files_have_nothing_of_the_building_machine(compiler: None, tmp_path: Path) -> None:
    """They are never compared with their sources, name them as the image does, and take others' places."""
    own, others = f"{recipe.SITE}/twocvm_x/a.py", ("usr/lib/python3.11/b.py", f"{recipe.SITE}/c.py")
    tree = Tree()
    for path in (own, *others):
        tree.add_file(path, b"def f(): pass", program=False, origin="x 1")
    tree.write(tmp_path)
    bytecode.compile_all(tree, tmp_path)
    compiled = f"{recipe.SITE}/twocvm_x/__pycache__/a.cpython-311.pyc"
    files = {each.path for each in tree.entries() if stat.S_ISREG(each.mode)}
    assert files == {own, compiled, *(f"{other}c" for other in others)}
    for path, source in ((compiled, own), *((f"{other}c", other) for other in others)):
        raw = tree[path].content
        # PEP 552: a hash is there, and nobody looks at it.
        assert raw[4:8] == (1).to_bytes(4, "little")
        assert marshal.loads(raw[16:]).co_filename == f"/{source}"  # noqa: S302 - compiled a moment ago
        assert (tree[path].origin, stat.S_IMODE(tree[path].mode)) == ("x 1", 0o444)


def test_what_is_no_python_is_no_image(compiler: None, tmp_path: Path) -> None:
    """One file that cannot be compiled ends the build."""
    tree = Tree()
    tree.add_file("a.py", b"def", program=False, origin="x 1")
    tree.write(tmp_path)
    with pytest.raises(UnsupportedError) as refused:
        bytecode.compile_all(tree, tmp_path)
    assert refused.value.code == "IMAGE_NOT_BUILT"


def test_compiler_runs_at_fixed_addresses(compiler: None) -> None:
    """Begun anew, it has ADDR_NO_RANDOMIZE, and of its environment only what it was given."""
    begun, _, _ = bytecode._PROGRAM.partition("root =")
    # Python itself adds the one for its locale.
    asked = "print(open('/proc/self/personality').read().strip(), *sorted({*os.environ} - {'LC_CTYPE'}))"
    words = (sys.executable, *bytecode.FLAGS, "-c", begun + asked)
    again = json.dumps([*words, "", "", "", ""])
    said = bytecode.run_locked((*words, "", sys.executable, again, json.dumps(bytecode.ORDERED)), b"")
    assert said.split() == [b"00040000", b"FIXED", b"PYTHONHASHSEED"]


def test_pip_runs_nothing_that_it_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for built files alone, with the locked digests, and for nothing that these would like beside them."""
    asked: list[str] = []

    def run(words: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        asked.extend(words)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(FetchError):
        packages.fetch_wheels(load_lock(), tmp_path)
    assert asked[1:4] == ["-m", "pip", "download"]
    assert {"--require-hashes", "--no-deps"} <= set(asked)
    assert asked[asked.index("--only-binary") + 1] == ":all:"
    assert asked[asked.index("--requirement") + 1] == str(WHEELS)


def test_wheel_of_other_bytes_is_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is called, beside the genuine one or in its place."""
    monkeypatch.setattr(subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, 0, "", ""))
    wheel = Wheel(name="a", version="1", sha256=frozenset({hashlib.sha256(b"wheel").digest()}))
    lock = Lock(packages=(), wheels=(wheel,))
    for name in ("a-1-py3-none-any.whl", "z.whl"):
        (tmp_path / name).write_bytes(b"other")
    with pytest.raises(FetchError):
        packages.fetch_wheels(lock, tmp_path)
    (tmp_path / "b.whl").write_bytes(b"wheel")
    assert packages.fetch_wheels(lock, tmp_path) == {wheel: b"wheel"}
