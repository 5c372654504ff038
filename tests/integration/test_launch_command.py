"""The command line for hardware, tried on a QEMU that knows SEV-SNP, on a machine that has none.

QEMU reads every option before it asks the kernel for a confidential guest, so it refuses for the one reason that is
left only where everything that was asked is right.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tools.launch_tools import OVMF, QEMU

from twocvm_guest.launch.id_block import IdBlock, id_auth
from twocvm_guest.launch.keys import read_key, write_new_key
from twocvm_guest.launch.qemu import Identity, Launch, command
from twocvm_guest.launch.reference import PRODUCTS
from twocvm_verifier.measure import CPU_TYPES, LaunchFiles, launch_of

PATIENCE_SECONDS = 60
# What QEMU says where there is no SNP: with the kernel's help, and without.
REFUSALS = (
    "vm-type SEV-SNP not supported by KVM",
    "cannot set up private guest memory for sev-snp-guest: KVM required",
)


def _loads() -> bool:
    return QEMU.is_file() and subprocess.run([QEMU, "--version"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    not _loads(), reason="needs QEMU 10 and its libraries: `python -m tools.launch_tools`, and QEMU of this machine"
)


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """A guest with an identity, born locked."""
    for name in ("kernel", "initrd"):
        (tmp_path / name).write_bytes(name.encode() * 5_000)
    files = LaunchFiles(
        ovmf=OVMF, kernel=tmp_path / "kernel", initrd=tmp_path / "initrd", append="quiet panic=-1", vmm="qemu"
    )
    measured = launch_of(files, cpu_signature=CPU_TYPES["EPYC-Genoa"], guest_features=1).measurement(2)
    for name in ("id", "author"):
        write_new_key(tmp_path / name)
    block = IdBlock(measurement=measured, guest_svn=1)
    auth = id_auth(block, id_key=read_key(tmp_path / "id"), author_key=read_key(tmp_path / "author"))
    return Launch(
        firmware=OVMF,
        kernel=tmp_path / "kernel",
        initrd=tmp_path / "initrd",
        append=files.append,
        cpu="EPYC-Genoa",
        vcpus=2,
        memory_mib=512,
        host_port=0,
        guest_port=8443,
        host_data=bytes(range(32)),
        identity=Identity(block=block.to_bytes(), auth=auth),
    )


def said(words: tuple[str, ...]) -> str:
    """What QEMU says of a command line before it ends; emulated where there is no KVM to ask."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        at = words.index("-enable-kvm")
        words = (*words[:at], "-accel", "tcg", *words[at + 1 :])
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 1
    return done.stderr


def test_only_the_hardware_is_missing(launch: Launch) -> None:
    """QEMU takes every option and every block, and ends because this machine has no SEV-SNP."""
    assert any(each in said(command(launch, qemu=str(QEMU))) for each in REFUSALS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kernel-hashes=on", "kernel-hash=on"),
        ("author-key-enabled=on", "author-key-enabled=perhaps"),
        ("id-block=", "id-block=AAAA"),
        ("id-auth=", "id-auth=AAAA"),
        ("host-data=", "host-data=AAAA"),
        ("policy=0x30000", "policy=all"),
    ],
)
def test_what_is_wrong_is_found_before(launch: Launch, old: str, new: str) -> None:
    """A misspelled option, or a block of another size, is another refusal: so the first test says something."""
    words = tuple(word.replace(old, new) for word in command(launch, qemu=str(QEMU)))
    assert words != command(launch, qemu=str(QEMU))
    assert not any(each in said(words) for each in REFUSALS)


def measured(launch: Launch, **changes: object) -> bytes:
    """The MEASUREMENT of a launch, with something changed."""
    given = replace(launch, **changes)  # type: ignore[arg-type]
    files = LaunchFiles(ovmf=given.firmware, kernel=given.kernel, initrd=given.initrd, append=given.append, vmm="qemu")
    return launch_of(files, cpu_signature=CPU_TYPES[given.cpu], guest_features=1).measurement(given.vcpus)


def test_what_a_host_changes_is_another_measurement_or_not_the_guests(launch: Launch, tmp_path: Path) -> None:
    """One bit of what the chip measures is another guest; what a host adds is not measured, and changes nothing."""
    assert launch.identity is not None
    base = measured(launch)
    assert launch.identity.block[:48] == base
    others = {measured(launch, append=launch.append + " "), measured(launch, append="")}
    others |= {measured(launch, vcpus=3), measured(launch, cpu="EPYC-Milan")}
    for name in ("firmware", "kernel", "initrd"):
        content = bytearray(getattr(launch, name).read_bytes())
        for place in (0, len(content) // 2):
            content[place] ^= 1
            (tmp_path / f"{name}-{place}").write_bytes(content)
            others.add(measured(launch, **{name: tmp_path / f"{name}-{place}"}))
            content[place] ^= 1
    assert len(others - {base}) == 4 + 6
    assert measured(launch, memory_mib=1024, host_port=1, host_data=bytes(32), identity=None) == base
    words = (*command(launch, qemu=str(QEMU)), "-fw_cfg", "name=opt/x,string=y", "-drive", "file=/dev/null,format=raw")
    assert any(each in said(words) for each in REFUSALS)


def test_the_firmware_has_room_for_the_kernels_hashes(tmp_path: Path) -> None:
    """Another kernel, initial file system or command line is another measurement, on every product."""
    base = {"kernel": b"kernel", "initrd": b"initrd"}
    seen = set()
    for change in ({}, {"kernel": b"Kernel"}, {"initrd": b"Initrd"}):
        for name, content in {**base, **change}.items():
            (tmp_path / name).write_bytes(content)
        for append in ("quiet", "quiet init=/bin/sh"):
            files = LaunchFiles(
                ovmf=OVMF, kernel=tmp_path / "kernel", initrd=tmp_path / "initrd", append=append, vmm="qemu"
            )
            seen |= {
                launch_of(files, cpu_signature=CPU_TYPES[cpu], guest_features=1).measurement(1)
                for cpu in PRODUCTS.values()
            }
    assert len(seen) == 3 * 2 * len(PRODUCTS)
