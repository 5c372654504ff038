"""Folders with images, the emulator's words, and machines that do not start; the emulator is a script here."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.guest_process import gone
from tests.support.processes import uncounted

from twocvm_guest.demo.machine import GuestMachine
from twocvm_guest.image import filelist
from twocvm_guest.image.boot import EMULATOR, NETWORK, Machine, emulator_words, hardware, parse_event
from twocvm_guest.image.build import Image
from twocvm_guest.image.command_line import Variant, parse_command_line
from twocvm_guest.image.folder import ABOUT, ImageFolder, read_image, write_image
from twocvm_guest.image.payload import write_payload
from twocvm_guest.image.tree import IMAGE, Tree
from twocvm_guest.launch.qemu import Launch, command
from twocvm_guest.main import run as run_command
from twocvm_verifier.errors import FetchError, MalformedError, UnsupportedError


@pytest.fixture
def image(tmp_path: Path) -> ImageFolder:
    """A folder with an image that nobody built."""
    tree = Tree()
    tree.add_file("init", b"#!", program=True, origin=IMAGE)
    made = Image(
        variant=Variant.DEVELOPMENT,
        kernel=b"kernel",
        initrd=b"initrd",
        entries=tuple(tree.entries()),
        software=bytes(range(48)),
    )
    return write_image(made, tmp_path / "image")


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that is found under the emulator's name; its text is whatever a test writes."""
    program = tmp_path / "bin" / "qemu-system-x86_64"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def script(program: Path, text: str) -> None:
    """Let the emulator be a script, in which `$console` is the file of the machine's serial line."""
    find = 'for word; do case $word in file:*) console="${word#file:}";; esac; done'
    program.write_text(f"#!/bin/sh\n{find}\n{text}\n")
    program.chmod(0o755)


def test_written_is_read(image: ImageFolder) -> None:
    """A folder is read back as it was written."""
    assert read_image(image.folder) == image


@pytest.mark.parametrize(
    "break_it",
    [
        lambda folder: (folder / "kernel").write_bytes(b"other"),
        lambda folder: (folder / "initrd").write_bytes(b"other"),
        lambda folder: (folder / "initrd").unlink(),
        lambda folder: (folder / "initrd").rename(folder / "other") and (folder / "initrd").mkdir(),
        lambda folder: (folder / ABOUT).write_bytes(b"{}"),
        lambda folder: (folder / ABOUT).write_bytes((folder / ABOUT).read_bytes() + b" " * (1 << 16)),
        lambda folder: _change(folder, "schema", "other"),
        lambda folder: _change(folder, "variant", "other"),
        lambda folder: _change(folder, "software", "zz"),
    ],
)
def test_other_folders_are_refused(image: ImageFolder, break_it: object) -> None:
    """A changed or absent file, or another description, is no image."""
    assert callable(break_it)
    break_it(image.folder)
    with pytest.raises(MalformedError) as refused:
        read_image(image.folder)
    assert refused.value.code == "MALFORMED_IMAGE"


def _change(folder: Path, name: str, value: str) -> None:
    about = json.loads((folder / ABOUT).read_bytes())
    (folder / ABOUT).write_text(json.dumps({**about, name: value}))


def test_machine_is_plain(image: ImageFolder) -> None:
    """The whole command: no default devices, nothing of the user's, no second start, one port of the loopback."""
    given = hardware(image, words=("-more",))
    assert emulator_words(image, given, Path("console")) == (
        *(EMULATOR, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,-pku,-la57", "-smp", "2", "-m", "1024"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", given.command_line),
        *("-netdev", f"user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:{given.port}-:8443"),
        *("-device", "virtio-net-pci,netdev=net,romfile=", "-serial", "file:console", "-more"),
    )
    assert given.command_line.endswith("twocvm.port=8443")


def test_machine_brings_its_payload(image: ImageFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The disk comes before whatever else it is given, and can only be read; the command line names its root."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "x").write_bytes(b"x")
    disk = tmp_path / "disk"
    brought = write_payload(tmp_path / "files", disk).payload
    words = emulator_words(image, hardware(image, payload=disk, words=("-drive", "other")), Path("console"))
    drives = [words[place + 1] for place, word in enumerate(words) if word == "-drive"]
    assert drives == [f"file={disk},format=raw,if=none,id=payload,readonly=on", "other"]
    assert any(word.endswith(brought.word()) for word in words)
    folder = str(image.folder)
    assert run_command(["image", "command-line", folder, "--payload", str(disk)]) == 0
    assert parse_command_line(capsys.readouterr().out, Variant.DEVELOPMENT).payload == brought
    assert run_command(["image", "command-line", folder, "--payload", str(tmp_path / "none")]) == 2


def test_launch_brings_its_payload(tmp_path: Path) -> None:
    """On a host with SEV-SNP too: one disk, read alone, through memory that is shared on purpose."""
    files = dict.fromkeys(("firmware", "kernel", "initrd"), tmp_path)
    ports = {"host_port": 8443, "guest_port": 8443}
    plain = Launch(**files, **ports, append="", cpu="EPYC-Genoa", vcpus=1, memory_mib=512)
    words = command(replace(plain, payload=tmp_path / "disk"))
    assert words[: len(command(plain))] == command(plain)
    drive, device = words[-3], words[-1]
    assert drive == f"file={tmp_path / 'disk'},format=raw,if=none,id=payload,readonly=on"
    assert device == "virtio-blk-pci,drive=payload,disable-legacy=on,iommu_platform=on"
    with pytest.raises(ValueError, match="comma"):
        replace(plain, payload=Path("a,readonly=off"))


@pytest.mark.parametrize("line", ["", "text", "[1]", '{"other": 1}', '{"twocvm": 1}'])
def test_other_lines_are_no_events(line: str) -> None:
    """What the kernel or Python writes is not taken for an event."""
    assert parse_event(line) == ()


def test_machine_serves_and_ends(image: ImageFolder, emulator: Path, tmp_path: Path) -> None:
    """The event comes with its facts, the root is written for the participants, and the end is seen."""
    said = '{"twocvm": "ready", "platform": "simulated", "root": "PEM"}'
    noise = r"printf '[ 1.0] kernel\nhm \377\n' >> $console"
    script(emulator, f"echo '{said}' >> $console; {noise}; sleep 0.2")
    with GuestMachine(image, root=tmp_path / "root.pem", log=tmp_path / "log") as guest:
        assert guest.wait_ready().platform == "simulated"
        assert (tmp_path / "root.pem").read_text() == "PEM"
        assert guest.wait_ended(20.0) == 0
        assert guest.warnings() == ("hm \N{REPLACEMENT CHARACTER}",)
        assert guest.pid > 0


def test_machine_that_ends_or_is_silent_is_a_failure(image: ImageFolder, emulator: Path, tmp_path: Path) -> None:
    """Who waits learns how it ended and what it said last; stopping it twice is no error."""
    script(emulator, "echo 'Kernel panic' > $console; exit 1")
    with Machine(image, hardware(image), log=tmp_path / "log") as ended, pytest.raises(FetchError) as refused:
        ended.wait_for("ready", seconds=20.0)
    assert refused.value.code == "MACHINE_FAILED"
    assert "Kernel panic" in str(refused.value)
    script(emulator, "exit 1")
    with Machine(image, hardware(image), log=tmp_path / "log") as ended, pytest.raises(FetchError, match="'nothing'"):
        ended.wait_for("ready", seconds=20.0)
    own = """echo '{"twocvm": "failed", "step": "unmeasured"}' > $console; echo 'reboot: Power down' >> $console"""
    script(emulator, own)
    with Machine(image, hardware(image), log=tmp_path / "log") as ended, pytest.raises(FetchError) as refused:
        ended.wait_for("ready", seconds=20.0)
    assert "unmeasured" in str(refused.value)
    script(emulator, "trap '' TERM; while :; do sleep 0.05; done")
    with Machine(image, hardware(image), log=tmp_path / "log") as silent:
        with pytest.raises(FetchError):
            silent.wait_for("ready", seconds=0.2)
        assert silent.wait_ended(0.01) is None
        silent.stop()
        silent.stop()


def test_no_emulator_is_said(image: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where QEMU is not installed, the refusal says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError) as refused:
        Machine(image, hardware(image), log=tmp_path / "log")
    assert refused.value.code == "NO_EMULATOR"


@pytest.mark.parametrize(
    ("option", "place"), [("--log", "none/log"), ("--log", "image"), ("--payload", "none"), ("--payload", "image")]
)
def test_files_that_cannot_be_used_are_a_usage_error(
    image: ImageFolder,
    emulator: Path,
    option: str,
    place: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A log that cannot be written and a disk that cannot be read are named, and nothing is booted."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    script(emulator, f"touch {tmp_path / 'booted'}")
    words = {"--log": str(tmp_path / "log")} | {option: str(tmp_path / place)}
    given = [word for pair in words.items() for word in pair]
    assert run_command(["image", "boot", str(image.folder), *given]) == 2
    said = capsys.readouterr().err
    assert option in said
    assert "Traceback" not in said
    assert not (tmp_path / "booted").exists()


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("real", [False, True])
def test_machine_ends_with_its_command(image: ImageFolder, tmp_path: Path, *, real: bool, way: signal.Signals) -> None:
    """However `image boot` is ended, no emulator goes on: neither a script in its place, nor QEMU that stands still."""
    emulator = tmp_path / "bin" / EMULATOR
    emulator.parent.mkdir()
    found = shutil.which(EMULATOR)
    if real and found is None:
        pytest.skip(f"{EMULATOR} is not here")
    text = f"exec {found} -nodefaults -display none -S" if real else "exec sleep 600"
    script(emulator, f"echo $$ > {tmp_path / 'pid'}\n{text}")
    command = [sys.executable, "-c", "from twocvm_guest.main import main; main()", "image", "boot", str(image.folder)]
    path = f"{emulator.parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen([*command, "--log", str(tmp_path / "log")], env={**uncounted(), "PATH": path}) as process:
        while not (tmp_path / "pid").is_file() or not (pid := (tmp_path / "pid").read_text()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(way)
        assert process.wait(30.0) == (130 if way is signal.SIGTERM else -way)
    assert gone({int(pid)})


def test_commands(
    image: ImageFolder,
    emulator: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`list` prints and compares, `command-line` is what the image takes, `boot` ends, `demo` takes no production."""
    folder = str(image.folder)
    assert run_command(["image", "list", folder]) == 0
    assert "-r-xr-xr-x init  image\n" in capsys.readouterr().out
    assert run_command(["image", "list", folder, "--check"]) == 11
    assert run_command(["image", "command-line", folder]) == 0
    assert parse_command_line(capsys.readouterr().out, Variant.DEVELOPMENT).network == NETWORK
    assert run_command(["image", "command-line", folder, "--gateway", "10.0.3.1"]) == 2
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(filelist, "LIST", image.folder / "files.txt")
    assert run_command(["image", "list", folder, "--check"]) == 0
    script(emulator, """echo '{"twocvm": "ready", "listen": "x"}' > $console""")
    capsys.readouterr()
    assert run_command(["image", "boot", folder, "--log", str(tmp_path / "log")]) == 0
    assert json.loads(capsys.readouterr().out)["listen"].startswith("https://127.0.0.1:")
    _change(image.folder, "variant", "production")
    assert run_command(["image", "boot", folder, "--log", str(tmp_path / "log")]) == 0
    assert run_command(["demo", "--image", folder]) == 2
