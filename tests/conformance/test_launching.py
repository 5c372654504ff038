"""`docs/launching.md`: what a machine without SNP can run of it runs as it stands there, and the rest is shell."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest
from tests.support.manifests import World
from tests.support.ovmf import ovmf
from tools.launch_tools import OVMF, QEMU

from twocvm_guest.image.build import Image
from twocvm_guest.image.command_line import Variant
from twocvm_guest.image.folder import write_image
from twocvm_guest.launch.id_block import ID_AUTH_BYTES, ID_BLOCK_BYTES
from twocvm_guest.main import run
from twocvm_verifier import parse_policy, strictjson

PAGE = Path(__file__).parents[2] / "docs" / "launching.md"
HARDWARE = PAGE.with_name("hardware.md")
PATIENCE_SECONDS = 120.0
# What QEMU says where there is no SNP: with the kernel's help, and without.
REFUSALS = ("SEV-SNP not supported by KVM", "KVM required", "failed to initialize kvm", "Could not access KVM")


def blocks(language: str) -> list[str]:
    """The page's blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the page takes for granted: the command, an image, a firmware, and QEMU where one is at hand."""
    tools = tmp_path / "bin"
    tools.mkdir()
    programs = {"twocvm": f'exec {sys.executable} -c "from twocvm_guest.main import main; main()" "$@"'}
    # Debian's, which stands in no path; emulated where there is no KVM to ask.
    accel = "" if os.access("/dev/kvm", os.R_OK | os.W_OK) else 'shift; set -- -accel tcg "$@"\n'
    programs["qemu-system-x86_64"] = f'{accel}exec {QEMU} "$@"' if QEMU.is_file() else "echo KVM required >&2; exit 1"
    for name, text in programs.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    image = Image(variant=Variant.PRODUCTION, kernel=b"k" * 5000, initrd=b"i" * 5000, entries=(), software=bytes(48))
    write_image(image, tmp_path / "image")
    firmware = OVMF
    if not OVMF.is_file():
        firmware = tmp_path / "OVMF.fd"
        firmware.write_bytes(ovmf())
    (tmp_path / "manifest.json").write_bytes(World().raw)
    named = {"IMAGE": str(tmp_path / "image"), "OVMF": str(firmware)}
    return {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path), **named}


def test_page_leads_to_a_launch(tmp_path: Path, environment: dict[str, str]) -> None:
    """Keys, references, blocks and policies are made as the page says, and QEMU misses nothing but the hardware."""
    script = "\n".join(blocks("sh"))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 1, done.stderr
    assert any(each in done.stderr for each in REFUSALS), done.stderr
    assert (tmp_path / "identity" / "id-block.bin").stat().st_size == ID_BLOCK_BYTES
    assert (tmp_path / "identity" / "id-auth.bin").stat().st_size == ID_AUTH_BYTES
    command = (tmp_path / "launch.sh").read_text()
    assert "kernel-hashes=on" in command
    reference = strictjson.parse((tmp_path / "reference.json").read_bytes(), document="x", max_bytes=1 << 16)
    assert isinstance(reference, dict)
    pinned, signed = (parse_policy((tmp_path / f"{name}.toml").read_text()) for name in ("pinned", "signed"))
    assert isinstance(pinned.launches, tuple)
    assert [str(each) for each in pinned.launches] == [reference["launches"]["Genoa"]]  # type: ignore[index, call-overload]
    assert signed.minimum_guest_svn == 1
    assert signed.id_key_digests == (bytes.fromhex((tmp_path / "id.digest").read_text()),)


def test_the_rest_is_shell_and_policy() -> None:
    """What only a host or a cloud can run is syntactically shell, and what stands there of policies is read."""
    assert len(blocks("bash")) == 5
    for text in blocks("bash"):
        subprocess.run(["bash", "-n", "-c", text], check=True, timeout=PATIENCE_SECONDS)
    digests = f'firmware_measurements = ["{"ab" * 48}"]'
    for text in blocks("toml"):
        policy = parse_policy(text.replace('firmware_measurements = ["..."]', digests))
        assert [str(level) for level in policy.require_levels.levels] == ["AL1", "AL2"]


def test_commands_of_hosts_and_clouds_have_the_options_that_they_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Of `twocvm`'s commands that need a machine elsewhere, each is there, with every option."""
    lines = re.findall(r"^twocvm .*", "\n".join(blocks("bash")), re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        _, *words = shlex.split(line, comments=True)
        command = tuple(takewhile(re.compile("[a-z][a-z-]*").fullmatch, words))
        assert run([*command, "--help"]) == 0
        told = capsys.readouterr().out
        assert all(word in told for word in words if word.startswith("--")), line


def test_table_of_what_was_tried_names_tests_that_exist() -> None:
    """Every row of `docs/hardware.md` has a test of its own that is there; who claims hardware says when and which."""
    table = [line for line in HARDWARE.read_text().splitlines() if line.startswith("| ")][2:]
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in table]
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`(tests/[a-z0-9_/]+\.py)`", row[-1])
        assert named, row
        assert all((HARDWARE.parents[1] / name).is_file() for name in named), row
        assert row[4] == "never" or re.match(r"20\d\d-\d\d-\d\d, \w", row[4]), row
