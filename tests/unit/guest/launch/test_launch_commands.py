"""`twocvm launch`: reference values, identity blocks and QEMU's command line, of the same files."""

from __future__ import annotations

import json
import shlex
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from tests.support.ovmf import ovmf

pytest.importorskip("sevsnpmeasure", reason="needs the extra `measure`: pip install 'twocvm[measure]'")

from twocvm_guest.launch.reference import Published, reference_document
from twocvm_guest.main import run
from twocvm_verifier import strictjson
from twocvm_verifier.measure import LaunchFiles
from twocvm_verifier.snp.launch import parse_launch_prefix

APPEND = "console=none panic=-1"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The options that name what is launched."""
    for name, content in {"ovmf": ovmf(), "kernel": b"kernel", "initrd": b"initrd"}.items():
        (tmp_path / name).write_bytes(content)
    named = [word for name in ("ovmf", "kernel", "initrd") for word in (f"--{name}", str(tmp_path / name))]
    return [*named, "--append", APPEND]


@pytest.fixture
def keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The options that name both keys, new."""
    for name in ("id", "author"):
        assert run(["launch", "new-key", str(tmp_path / name)]) == 0
    capsys.readouterr()
    return ["--id-key", str(tmp_path / "id"), "--author-key", str(tmp_path / "author")]


def test_block_reference_and_command_agree(
    files: list[str], keys: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The block holds for the measurement that the published launch has, and the command line carries it."""
    signing = ["--cpu", "EPYC-Genoa", "--vcpus", "4", "--guest-svn", "3", "--out", str(tmp_path / "id-blocks")]
    assert run(["launch", "id-block", *files, *keys, *signing, "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert run(["launch", "reference", *files, *keys, "--guest-svn", "3", "--name", "guest", "--version", "1"]) == 0
    printed = capsys.readouterr().out.encode()
    reference = strictjson.parse(printed.rstrip(b"\n"), document="reference", max_bytes=10_000)
    assert isinstance(reference, dict)
    assert strictjson.canonical(reference) == printed.rstrip(b"\n")
    assert parse_launch_prefix(reference["launches"]["Genoa"]).measurement(4).hex() == told["measurement"]
    assert reference["identity"] == {name: told[name] for name in reference["identity"]}
    assert reference["files"]["kernel"] == {"bytes": 6, "sha256": sha256(b"kernel").hexdigest()}
    assert set(reference["launches"]) == {"Milan", "Genoa", "Turin"}
    launching = ["--cpu", "EPYC-Genoa", "--vcpus", "4", "--identity-block", str(tmp_path / "id-blocks")]
    launching += ["--host-data", "ab" * 32, "--host-address", "192.0.2.1"]
    assert run(["launch", "command", *files, *launching]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[words.index("-append") + 1] == APPEND
    assert "hostfwd=tcp:192.0.2.1:8443-:8443" in words[words.index("-netdev") + 1]
    (snp,) = (word for word in words if word.startswith("sev-snp-guest,"))
    fields = dict(field.partition("=")[::2] for field in snp.split(",")[1:])
    block, auth = b64decode(fields["id-block"]), b64decode(fields["id-auth"])
    assert (block[:48].hex(), len(auth)) == (told["measurement"], 4096)
    assert fields["author-key-enabled"] == "on"
    assert (fields["kernel-hashes"], fields["host-data"]) == ("on", "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=")


def test_reference_without_an_identity(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An image that is launched without a block has a document without one."""
    assert run(["launch", "reference", *files, "--name", "guest", "--version", "1"]) == 0
    assert "identity" not in json.loads(capsys.readouterr().out)


# CPUID function 1, EAX, as QEMU's types of these chips have it.
SIGNATURES = {"Milan": "0xa00f11", "Genoa": "0xa10f10", "Turin": "0xb00f00"}


def test_reference_values_are_of_the_chips_that_they_name(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is what `measure` says of that chip, with SNP alone; without a kernel there is no document."""
    assert run(["launch", "reference", *files, "--name", "guest", "--version", "1"]) == 0
    reference = json.loads(capsys.readouterr().out)
    for product, signature in SIGNATURES.items():
        assert run(["measure", *files, "--cpu-signature", signature, "--guest-features", "0x1", "--prefix"]) == 0
        assert capsys.readouterr().out.strip() == reference["launches"].pop(product)
    assert (reference["launches"], reference["guest_features"]) == ({}, "0x1")
    bare = LaunchFiles(ovmf=Path(files[1]), kernel=None, initrd=None, append="", vmm="qemu")
    with pytest.raises(ValueError, match="kernel"):
        reference_document(bare, Published(name="guest", version="1"))


Words = Callable[[list[str], list[str], Path], list[str]]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(lambda files, keys, _: ["reference", *files, *keys, "--name", "n", "--version", "1"], id="no svn"),
        pytest.param(lambda files, _, __: ["command", *files, "--cpu", "486"], id="no such cpu"),
        pytest.param(
            lambda files, _, __: ["command", *files, "--cpu", "EPYC-Genoa", "--host-data", "ab"], id="short host data"
        ),
        pytest.param(lambda files, _, __: ["command", *files, "--cpu", "EPYC-Genoa", "--host-data", "xy"], id="no hex"),
        pytest.param(
            lambda files, _, __: ["command", *files, "--cpu", "EPYC-Genoa", "--guest-policy", "all"], id="no number"
        ),
        pytest.param(
            lambda files, _, folder: [
                *("command", *files, "--cpu", "EPYC-Genoa"),
                *("--identity-block", str(folder / "absent")),
            ],
            id="no block",
        ),
        pytest.param(
            lambda files, keys, folder: [
                *("id-block", *files, *keys, "--cpu", "EPYC-Genoa", "--guest-svn", "1"),
                *("--out", str(folder), "--guest-policy", "0x80000"),
            ],
            id="debugging",
        ),
        pytest.param(
            lambda files, keys, folder: [
                *("id-block", *files, *keys[:2], "--author-key", keys[1]),
                *("--cpu", "EPYC-Genoa", "--guest-svn", "1", "--out", str(folder)),
            ],
            id="one key",
        ),
        pytest.param(
            lambda files, keys, _: [
                *("reference", *files, *keys[:2], "--author-key", keys[1]),
                *("--guest-svn", "1", "--name", "n", "--version", "1"),
            ],
            id="one key to publish",
        ),
        pytest.param(
            lambda files, _, __: ["command", *files, "--cpu", "EPYC-Genoa", "--host-address", "0.0.0.0,guestfwd=x"],
            id="no address",
        ),
        pytest.param(
            lambda files, _, __: ["command", *files, "--cpu", "EPYC-Genoa", "--memory-mib", "511"], id="little memory"
        ),
        pytest.param(
            lambda files, _, __: ["command", *files, "--cpu", "EPYC-Genoa", "--memory-mib", "8388609"], id="much memory"
        ),
        *(
            pytest.param(
                lambda files, _, __, policy=policy: [
                    *("command", *files, "--cpu", "EPYC-Genoa", f"--guest-policy={policy}"),
                ],
                id=named,
            )
            for policy, named in (("0xb0000", "debugged"), ("0x70000", "migrated"), ("-1", "less than no policy"))
        ),
        pytest.param(lambda _, keys, __: ["new-key", keys[1]], id="key is there"),
    ],
)
def test_what_is_asked_wrongly_is_a_usage_error(
    files: list[str], keys: list[str], tmp_path: Path, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is made of a half, a contradiction or a file that is not there, and what is wrong is said."""
    assert run(["launch", *words(files, keys, tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error" in captured.err


def test_guest_is_given_nothing_that_was_not_asked_for(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """No default devices, no settings, no monitor, no second start, no way out of its network, no loose policy."""
    assert run(["launch", "command", *files, "--cpu", "EPYC-Genoa"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert {"-enable-kvm", "-nodefaults", "-no-user-config", "-no-reboot"} <= set(words)
    assert {"-monitor", "-qmp", "-serial", "-drive", "-incoming", "-s"}.isdisjoint(words)
    assert words[words.index("-netdev") + 1] == "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:8443-:8443"
    assert words[words.index("-device") + 1] == "virtio-net-pci,netdev=net,disable-legacy=on,iommu_platform=on,romfile="
    assert words.count("-netdev") == words.count("-device") == 1
    assert words[words.index("-machine") + 1] == "q35,confidential-guest-support=snp,memory-backend=ram"
    (snp,) = (word for word in words if word.startswith("sev-snp-guest,"))
    assert "policy=0x30000,kernel-hashes=on,host-data=" + "A" * 43 + "=" in snp


@pytest.mark.parametrize(
    ("option", "value"),
    [("--cpu", "486"), ("--guest-policy", "all"), ("--host-data", "xy"), ("--host-data", "ab"), ("--host-data", "abc")],
)
def test_what_is_wrong_is_named(files: list[str], option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several options, the one that is wrong."""
    given = {"--cpu": "EPYC-Genoa", "--guest-policy": "0x30000", "--host-data": "ab" * 32} | {option: value}
    assert run(["launch", "command", *files, *(word for pair in given.items() for word in pair)]) == 2
    said = capsys.readouterr().err
    assert [each for each in given if each in said] == [option]


@pytest.mark.parametrize("mebibytes", ["512", "8388608"])
def test_memory_is_what_was_asked_for(files: list[str], mebibytes: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From as much as a guest needs to what one slot of KVM's holds, both as memory and as what backs it."""
    assert run(["launch", "command", *files, "--cpu", "EPYC-Genoa", "--memory-mib", mebibytes]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[words.index("-m") + 1] == f"{mebibytes}M"
    assert f"memory-backend-memfd,id=ram,size={mebibytes}M,share=true,prealloc=false" in words


def test_version_never_falls(
    files: list[str], keys: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A block takes the place of one of the same security version or a lower one, and of nothing else."""
    signing = [
        "launch",
        "id-block",
        *files,
        *keys,
        "--cpu",
        "EPYC-Genoa",
        "--out",
        str(tmp_path / "out"),
        "--guest-svn",
    ]
    assert [run([*signing, svn]) for svn in ("2", "2", "3")] == [0, 0, 0]
    written = (tmp_path / "out" / "id-block.bin").read_bytes()
    assert run([*signing, "2"]) == 2
    assert "never falls" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "out" / "id-block.bin").read_bytes() == written
    (tmp_path / "out" / "id-block.bin").write_bytes(b"something else")
    assert run([*signing, "4"]) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--vcpus", "3"], "another launch"),
        (["--cpu", "EPYC-Milan"], "another launch"),
        (["--append", "other"], "another launch"),
        (["--guest-policy", "0x20000"], "policy"),
    ],
)
def test_block_of_another_launch_is_refused(
    files: list[str], keys: list[str], tmp_path: Path, given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the chip would refuse when everything is loaded is said before anything is."""
    signed = ["--cpu", "EPYC-Genoa", "--vcpus", "2"]
    assert run(["launch", "id-block", *files, *keys, *signed, "--guest-svn", "1", "--out", str(tmp_path)]) == 0
    launching = ["launch", "command", *files, *signed, "--identity-block", str(tmp_path)]
    assert run(launching) == 0
    capsys.readouterr()
    assert run([*launching, *given]) == 2
    assert said in capsys.readouterr().err
    for name, size in (("id-auth.bin", 4095), ("id-block.bin", 97)):
        (tmp_path / name).write_bytes(bytes(size))
        assert run(launching) == 2
        assert f"got {size} bytes" in capsys.readouterr().err


def test_comma_in_a_path_is_no_option_of_the_hypervisor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file's name cannot say anything to QEMU."""
    odd = tmp_path / "a,readonly=off"
    named = [word for name in ("ovmf", "kernel", "initrd") for word in (f"--{name}", str(odd))]
    assert run(["launch", "command", *named, "--append", "", "--cpu", "EPYC-Genoa"]) == 2
    assert "comma" in capsys.readouterr().err
