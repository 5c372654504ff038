"""The first process's decisions, outside a machine; what only a machine can show, `test_image_boot` shows."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import struct
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from twocvm_guest.image.command_line import Variant, make_network
from twocvm_guest.image.init import agent, firewall, kernel, main, mounts, netlink, network, probe, report, unmeasured

# A structure without strings, one with two of the host's, and the end.
SMBIOS = b"\0\x05\0\0\x01\0\0" + b"\x0b\x05\x01\0\x02io.systemd.credential:x=y\0z\0\0" + b"\x7f\x04\x02\0\0\0"
NETWORK = make_network("10.0.2.15/24", "10.0.2.2", "8443")


def kinds(messages: bytes) -> list[int]:
    """The types of messages, whose lengths must add up."""
    found, position = [], 0
    while position < len(messages):
        length, kind = struct.unpack_from("=IH", messages, position)
        found.append(kind)
        position += length
    assert position == len(messages)
    return found


def test_rules_are_one_batch() -> None:
    """A table, three chains that drop, two rules, between the marks that make them one change."""
    raw = firewall.ruleset(8443)
    subsystem = 10 << 8
    assert kinds(raw) == [16, subsystem, subsystem + 3, subsystem + 3, subsystem + 3, subsystem + 6, subsystem + 6, 17]
    assert raw.count((8443).to_bytes(2, "big")) == 2
    assert raw.count(b"filter\0") == 3


def test_network_is_three_messages() -> None:
    """Address, switching on, and route, for the card that is named."""
    address, link, route = network.configuration(NETWORK, 7)
    assert kinds(address + link + route) == [20, 16, 24]
    assert NETWORK.address.ip.packed in address
    assert NETWORK.gateway.packed in route
    assert struct.pack("=I", 7) in route


def test_kernel_answers() -> None:
    """A real change is acknowledged or refused: no card has number 2^30, whoever asks."""
    with pytest.raises(OSError, match="netlink"):
        netlink.exchange(network.NETLINK_ROUTE, network.configuration(NETWORK, 1 << 30)[0], acknowledgements=1)
    # A question that only asks to be acknowledged: NLMSG_NOOP.
    netlink.exchange(network.NETLINK_ROUTE, netlink.message(1, netlink.ACKNOWLEDGE, 1, b""), acknowledgements=1)


def test_answer_that_is_cut_short_is_refused() -> None:
    """An acknowledgement without its number is no acknowledgement."""
    good = struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -errno.EPERM)
    assert list(netlink.failures(good)) == [errno.EPERM]
    assert list(netlink.failures(struct.pack("=IHHIIi", 20, 3, 0, 1, 0, 0))) == []
    with pytest.raises(OSError, match="cut short"):
        list(netlink.failures(good[:-1]))


def test_card_that_never_comes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a card there is no guest."""
    monkeypatch.setattr(network, "CARDS", tmp_path)
    monkeypatch.setattr(network, "CARD", "none0")
    monkeypatch.setattr(network, "_WAIT_SECONDS", 0.05)
    with pytest.raises(OSError, match="interface"):
        network.connect(NETWORK)


def test_settings_are_all_made_and_none_is_left_out(tmp_path: Path) -> None:
    """Each is written, the locking of modules last; one that the kernel has not is an error."""
    for name in kernel.SETTINGS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    kernel.settle(tmp_path)
    assert list(probe._differing(tmp_path, kernel.SETTINGS)) == []
    assert list(kernel.SETTINGS)[-1] == "kernel/modules_disabled"
    (tmp_path / "kernel" / "sysrq").write_text("1")
    assert list(probe._differing(tmp_path, kernel.SETTINGS)) == ["kernel/sysrq"]
    with pytest.raises(FileNotFoundError):
        kernel.settle(tmp_path / "kernel")


def test_what_is_no_module_is_not_loaded(tmp_path: Path) -> None:
    """The kernel refuses a file that is none, and that ends it; a folder without modules loads nothing."""
    (tmp_path / "order").write_text("x.ko\n")
    (tmp_path / "x.ko").write_bytes(b"\x7fELF")
    with pytest.raises(OSError, match=r"x\.ko"):
        kernel.load_modules(tmp_path)
    (tmp_path / "order").write_text("")
    assert kernel.load_modules(tmp_path) == ()


def test_lists_of_modules_may_share_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded already is passed over, and what has no device here is told."""
    (tmp_path / "payload").write_text("a.ko\nb.ko\nc.ko\n")
    loaded: list[str] = []

    def load(file: Path) -> None:
        loaded.append(file.name)
        if number := {"a.ko": errno.EEXIST, "b.ko": errno.ENODEV}.get(file.name):
            raise OSError(number, file.name)

    monkeypatch.setattr(kernel, "load_module", load)
    assert kernel.load_modules(tmp_path, order="payload") == ("b.ko",)
    assert loaded == ["a.ko", "b.ko", "c.ko"]


def test_kept_capabilities_are_no_way_out() -> None:
    """Neither modules, raw packets, the network, the clock, tracing nor the power switch are kept."""
    module, network_admin, raw, rawio, trace, boot, clock = 16, 12, 13, 17, 19, 22, 25
    assert kernel.KEPT_CAPABILITIES.isdisjoint({module, network_admin, raw, rawio, trace, boot, clock})
    assert kernel.capability_sets({0, 33}) == struct.pack("=6I", 1, 1, 1, 2, 2, 2)


def test_a_process_gives_capabilities_up() -> None:
    """In a process that may, what is not kept is gone, and so is the way to have it back."""
    if os.geteuid() != 0:
        pytest.skip("only root has capabilities to give up")
    said = alone(
        """
        agent.kernel.give_up_capabilities()
        print(Path("/proc/self/status").read_text())
        """
    )
    rows = dict(line.split(":\t") for line in said.splitlines() if ":\t" in line)
    mask = sum(1 << each for each in kernel.KEPT_CAPABILITIES)
    assert int(rows["CapPrm"], 16) & ~mask == 0
    assert int(rows["CapEff"], 16) & ~mask == 0
    assert int(rows["CapBnd"], 16) & ~mask == 0
    assert rows["NoNewPrivs"] == "1"


def test_first_process_takes_no_words() -> None:
    """The kernel's own two variables are all; an argument or another variable is refused."""
    unmeasured.require_plain_start([], {"HOME": "/", "TERM": "linux"})
    for arguments, environment in (
        (["single"], {}),
        ([], {"HOME": "/root"}),
        ([], {"LD_PRELOAD": "/x.so", "HOME": "/"}),
    ):
        with pytest.raises(unmeasured.InputError):
            unmeasured.require_plain_start(arguments, environment)


def test_what_the_host_adds_is_reported(tmp_path: Path) -> None:
    """Disks, further cards, devices without drivers, tables and fw_cfg, each once; what is used is not."""
    for name in ("bus/pci/devices/1", "block/vda", "class/net/eth0", "class/net/eth1"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("class/net/lo", "bus/acpi/devices/QEMU0002:00", "bus/acpi/devices/PNP0A03:00"):
        (tmp_path / name).mkdir(parents=True)
    for number, driver in ((2, "virtio-pci"), (3, "other")):
        (tmp_path / f"bus/pci/devices/{number}").mkdir()
        (tmp_path / f"bus/pci/drivers/{driver}").mkdir(parents=True)
        (tmp_path / f"bus/pci/devices/{number}/driver").symlink_to(tmp_path / f"bus/pci/drivers/{driver}")
        (tmp_path / f"bus/pci/devices/{number}/vendor").write_text("0x8086\n")
        (tmp_path / f"bus/pci/devices/{number}/device").write_text("0x2922\n")
    (tmp_path / "firmware/dmi/tables").mkdir(parents=True)
    (tmp_path / "firmware/dmi/tables/DMI").write_bytes(SMBIOS)
    (tmp_path / "bus/pci/devices/1/vendor").write_text("0x1af4\n")
    (tmp_path / "bus/pci/devices/1/device").write_text("0x1001\n")
    tables = tmp_path / "firmware/acpi/tables"
    (tables / "dynamic").mkdir(parents=True)
    (tables / "DSDT").write_bytes(b"d")
    (tables / "SSDT").write_bytes(b"s")
    found = [f"{each.kind}: {each.name.split(' ')[0]}" for each in unmeasured.find_ignored(tmp_path)]
    assert found == [
        "pci device without a driver: 1af4:1001",
        "pci device that nothing uses: 8086:2922",
        "disk: vda",
        "network card, switched off: eth1",
        "ACPI table: SSDT",
        "SMBIOS strings, not used: 2",
        "firmware configuration, never read: fw_cfg",
    ]
    assert unmeasured.find_ignored(tmp_path / "none") == ()
    with_payload = unmeasured.find_ignored(tmp_path, used=frozenset({"vda"}))
    assert "disk" not in {each.kind for each in with_payload}


@pytest.mark.parametrize("cut", range(len(SMBIOS) + 1))
def test_a_table_of_smbios_is_read_as_far_as_it_goes(cut: int) -> None:
    """Cut anywhere it gives what is whole before the cut, and nothing that is not there; no byte in it is believed."""
    whole = unmeasured.oem_strings(SMBIOS)
    assert whole == (b"io.systemd.credential:x=y", b"z")
    assert unmeasured.oem_strings(SMBIOS[:cut]) in ((), whole)
    assert unmeasured.oem_strings(SMBIOS[:1] + b"\x03" + SMBIOS[2:]) == ()


def test_agent_is_told_its_platform() -> None:
    """Production takes whatever device is there; development simulates; neither is asked for anything else."""
    production, development = (agent.command(variant, 8443) for variant in Variant)
    assert production[-1] == "8443"
    assert development == (*production, str(agent.ROOT))
    assert production[0] == sys.executable


def test_agent_is_run_to_its_end(tmp_path: Path) -> None:
    """What it says when it serves is said on, with the root and the memory in use; its status comes back."""
    if os.geteuid() != 0:
        pytest.skip("only root has capabilities to give up")
    (tmp_path / "root.pem").write_text("PEM")
    said = alone(
        f"""
        agent.ROOT = Path({str(tmp_path / "root.pem")!r})
        words = "print(json.dumps(dict(listen='here')), flush=True); time.sleep(1); raise SystemExit(7)"
        agent.command = lambda variant, port: (sys.executable, "-I", "-c", "import json, time; " + words)
        said = threading.Event()
        def say(event, **facts):
            print(event, facts["listen"], facts["root"], facts["used_kib"] > 0)
            said.set()
        status = agent.run(Variant.DEVELOPMENT, 1, say)
        said.wait(20)
        print(status)
        """
    )
    assert said == "ready here PEM True\n7\n"


def test_all_children_are_waited_for() -> None:
    """Whoever else ends first does not count; a signal is 128 and more."""
    said = alone(
        """
        if os.fork() == 0:
            os._exit(3)
        if (pid := os.fork()) == 0:
            time.sleep(0.1)
            os.kill(os.getpid(), 9)
        print(agent.wait(pid))
        """
    )
    assert said == "137\n"


def alone(program: str) -> str:
    """What a program prints that waits for any child, and so must have none but its own."""
    imports = """
        import os, sys, threading, time
        from pathlib import Path
        from twocvm_guest.image.command_line import Variant
        from twocvm_guest.image.init import agent
        """
    words = (sys.executable, "-c", dedent(imports) + dedent(program))
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


def test_failure_is_said_once() -> None:
    """What went wrong is an event, and nothing is raised on."""
    said: list[tuple[str, dict[str, object]]] = []
    error = OSError(errno.ENODEV, "card")

    def fail() -> None:
        raise error

    main.tell_failure(fail, lambda event, **facts: said.append((event, facts)))
    assert said == [("refused", {"error": error})]
    main.tell_failure(lambda: None, lambda event, **facts: said.append((event, facts)))
    assert len(said) == 1


def test_console_is_one_line_of_json(capfd: pytest.CaptureFixture[str]) -> None:
    """An event carries its name, the time and its facts; of an error, what it is and says."""
    report.to_console("made", ignored=["disk: vda"])
    report.to_console("refused", error=OSError(errno.ENODEV, "card"))
    made, refused = map(json.loads, capfd.readouterr().out.splitlines())
    assert (made["twocvm"], made["ignored"]) == ("made", ["disk: vda"])
    assert (refused["twocvm"], refused["error"]) == ("refused", "OSError: [Errno 19] card")


def test_probe_says_how_each_attempt_ended() -> None:
    """Done, or the name of the refusal."""

    def late() -> None:
        raise TimeoutError

    assert probe.attempt(lambda: None) == "done"
    assert probe.attempt(late) == "TimeoutError"
    assert probe.attempt(lambda: os.open("/none", os.O_RDONLY)) == "No such file or directory"
    assert probe._mounts("rootfs / rootfs ro,nosuid 0 0\n") == ["rootfs / ro,nosuid"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        probe._connect("127.0.0.1", server.getsockname()[1])
        probe._send("127.0.0.1")


def test_probe_sees_programs_and_links(tmp_path: Path) -> None:
    """A program shows with its permissions; a link to one does not count as another."""
    (tmp_path / "run").write_bytes(b"")
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "link").symlink_to("run")
    found = dict(probe._files(tmp_path))
    assert stat.S_IMODE(found[f"{tmp_path}/run"]) == 0o755
    assert not found[f"{tmp_path}/link"] & 0o111


def test_mounts_have_bounds() -> None:
    """Whatever lies in memory has a size and a number of files, and no mount takes set-user-ID programs."""
    for each in mounts.MOUNTS:
        assert each.flags & 0x2
        if each.kind in {"tmpfs", "devtmpfs"}:
            assert "size=" in each.options
            assert "nr_inodes=" in each.options
