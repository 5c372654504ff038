"""Measurements computed from files, held against the library's own, and searched for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.amd import AT, fake_amd
from tests.support.ovmf import CPUID, KERNEL_HASHES, MEMORY, PAGE, SECTIONS, ovmf

from twocvm_guest.main import run
from twocvm_verifier import Policy, SnpVerifier, appraise
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.snp.launch import LaunchPrefix, parse_launch_prefix
from twocvm_verifier.snp.product import Product

pytest.importorskip("sevsnpmeasure", reason="needs the extra `measure`: pip install 'twocvm[measure]'")

from sevsnpmeasure.guest import calc_launch_digest
from sevsnpmeasure.sev_mode import SevMode

from twocvm_verifier.measure import CPU_TYPES, MAX_OVMF_BYTES, VMMS, LaunchFiles, launch_of, search

SPEC = Path(__file__).parents[3] / "docs" / "spec" / "measure.md"


@pytest.fixture
def files(tmp_path):
    """Return a launch's files: firmware, kernel, initial file system and command line."""
    for name, content in {"ovmf": ovmf(), "kernel": b"kernel", "initrd": b"initrd"}.items():
        (tmp_path / name).write_bytes(content)
    return LaunchFiles(
        ovmf=tmp_path / "ovmf", kernel=tmp_path / "kernel", initrd=tmp_path / "initrd", append="quiet", vmm="qemu"
    )


def theirs(files, *, vcpus, signature, features):
    """Return the measurement as the library itself computes it."""
    return calc_launch_digest(
        SevMode.SEV_SNP,
        vcpus,
        signature,
        str(files.ovmf),
        str(files.kernel or ""),
        str(files.initrd or ""),
        files.append,
        features,
        "",
        VMMS[files.vmm],
    )


@pytest.mark.parametrize("vmm", list(VMMS))
@pytest.mark.parametrize("cpu", ["EPYC-Milan", "EPYC-Genoa", "EPYC-Turin"])
@pytest.mark.parametrize("features", [0x1, 0x21])
@pytest.mark.parametrize("bare", [False, True], ids=["kernel", "bare"])
def test_measurements_are_the_librarys(files, vmm, cpu, features, bare):
    """For every number of vCPUs, from one computation."""
    files = replace(files, vmm=vmm, **({"kernel": None, "initrd": None, "append": ""} if bare else {}))
    launch = launch_of(files, cpu_signature=CPU_TYPES[cpu], guest_features=features)
    for vcpus in (1, 2, 17):
        wanted = theirs(files, vcpus=vcpus, signature=CPU_TYPES[cpu], features=features)
        assert launch.measurement(vcpus) == wanted


@pytest.mark.parametrize(
    "change",
    [{"ovmf": b"\x00"}, {"kernel": b"other"}, {"initrd": b"other"}, {"append": "debug"}],
    ids=lambda it: next(iter(it)),
)
def test_every_input_is_measured(files, change):
    """Another byte anywhere is another measurement."""
    before = launch_of(files, cpu_signature=0, guest_features=1)
    for name, content in change.items():
        if name == "append":
            files = replace(files, append=content)
        elif name == "ovmf":
            changed = bytearray(files.ovmf.read_bytes())
            changed[0] ^= 1
            files.ovmf.write_bytes(changed)
        else:
            getattr(files, name).write_bytes(content)
    assert launch_of(files, cpu_signature=0, guest_features=1).digest != before.digest


@pytest.mark.parametrize(
    ("vmm", "cpu", "features", "vcpus"),
    [("qemu", "EPYC-Milan", 0x21, 37), ("qemu", "EPYC-Turin", 0x1, 1), ("ec2", "EPYC-Genoa", 0x1, 4)],
)
def test_a_measurement_is_found(files, vmm, cpu, features, vcpus):
    """The search says with which vCPUs, CPU type and features these files have it, and nothing else."""
    launch = launch_of(replace(files, vmm=vmm), cpu_signature=CPU_TYPES[cpu], guest_features=features)
    (match,) = search(files, launch.measurement(vcpus), most_vcpus=40)
    assert (match.vmm, match.cpu) == (vmm, cpu if vmm == "qemu" else "any")
    assert (match.guest_features, match.vcpus, match.launch) == (features, vcpus, launch)
    assert match.features == ("SNP, debug swap" if features == 0x21 else "SNP")


def test_a_strange_measurement_is_not_found(files):
    """No launch of these files has the zero measurement."""
    assert not list(search(files, bytes(48), most_vcpus=40))


MALFORMED = {
    "empty": b"",
    "no pages": ovmf()[:-1],
    "no tables": bytes(4 * PAGE),
    "signature": ovmf(signature=b"XSEV"),
    "version": ovmf(version=2),
    "no reset block": ovmf(reset_eip=None),
    "no reset address": ovmf(reset_eip=0),
    "no kernel hashes": ovmf(sections=SECTIONS[:-1]),
    "unknown section": ovmf(sections=((0, PAGE, 99), *SECTIONS)),
    "half a page": ovmf(sections=((0, 100, MEMORY), *SECTIONS)),
    "two pages of hashes": ovmf(sections=((0, 2 * PAGE, KERNEL_HASHES),)),
}


@pytest.mark.parametrize("firmware", MALFORMED.values(), ids=MALFORMED)
def test_other_files_are_malformed(files, firmware):
    """A firmware without the tables that a measured launch needs is refused, whatever is wrong with it."""
    files.ovmf.write_bytes(firmware)
    with pytest.raises(MalformedError) as caught:
        launch_of(files, cpu_signature=0, guest_features=1)
    assert caught.value.code == "MALFORMED_OVMF"


def test_large_files_are_not_read(files):
    """More than any flash holds is refused before it is read."""
    with files.ovmf.open("wb") as stream:
        stream.truncate(MAX_OVMF_BYTES + PAGE)
    with pytest.raises(MalformedError, match="at most"):
        launch_of(files, cpu_signature=0, guest_features=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    at=st.integers(0, 4 * PAGE - 1),
    change=st.binary(min_size=1, max_size=64),
)
def test_firmware_is_read_totally(files, at, change):
    """Whatever bytes stand in it, there is a launch or a refusal of ours."""
    firmware = bytearray(ovmf(sections=((0x800000, PAGE, CPUID), (0x810000, PAGE, KERNEL_HASHES))))
    at = 4 * PAGE - 160 + at % 160 if at % 2 else 500 + at % 64
    change = change[: 4 * PAGE - at]
    firmware[at : at + len(change)] = change
    files.ovmf.write_bytes(firmware)
    try:
        launch = launch_of(files, cpu_signature=0, guest_features=1)
    except MalformedError as error:
        launch = error
    assert isinstance(launch, (LaunchPrefix, MalformedError))


def test_the_specifications_vector():
    """`docs/spec/measure.md` shows what the code computes."""
    launch = LaunchPrefix(digest=b"a" * 48, first_vcpu=b"b" * 48, other_vcpu=b"c" * 48)
    rows = re.findall(r"^\| (\d+) \| `([0-9a-f]{96})` \|$", SPEC.read_text(encoding="utf-8"), re.MULTILINE)
    assert [(int(vcpus), launch.measurement(int(vcpus)).hex()) for vcpus, _ in rows] == [
        (int(vcpus), written) for vcpus, written in rows
    ]
    assert len(rows) == 3


@pytest.fixture
def shell(capsys, files):
    """Return a function that runs `twocvm measure` on the files."""
    given = ["--ovmf", files.ovmf, "--kernel", files.kernel, "--initrd", files.initrd, "--append", "quiet"]

    def call(*arguments, files=given):
        status = run(["measure", *map(str, [*files, *arguments])])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_command_prints_measurement_and_launch(shell, files):
    """One line each, for people and programs."""
    signature = CPU_TYPES["EPYC-Milan"]
    launch = launch_of(files, cpu_signature=signature, guest_features=1)
    assert shell("--cpu", "EPYC-Milan", "--vcpus", 4) == (0, launch.measurement(4).hex() + "\n", "")
    assert shell("--cpu-signature", hex(signature), "--prefix") == (0, f"{launch}\n", "")
    status, out, _ = shell("--cpu", "EPYC-Milan", "--vcpus", 4, "-o", "json")
    assert status == 0
    assert f'"launch": "{launch}"' in out
    assert shell("--vmm", "ec2")[0] == 0


def test_command_searches(shell, files, tmp_path):
    """By digits or by a report's file; exit 11 where nothing matches."""
    measurement = launch_of(files, cpu_signature=CPU_TYPES["EPYC-Milan"], guest_features=1).measurement(2)
    report = tmp_path / "report.bin"
    report.write_bytes(fake_amd(Product.MILAN).report(measurement=measurement))
    for target in (measurement.hex(), report):
        status, out, _ = shell("--search", target, "--most-vcpus", 4)
        assert status == 0
        assert out.startswith("2 vCPUs, qemu, CPU type EPYC-Milan, guest features 0x1 (SNP)\n  snp-launch-v1:")
    status, out, _ = shell("--search", measurement.hex(), "-o", "json", "--most-vcpus", 4)
    assert (status, '"vcpus": 2' in out) == (0, True)
    status, out, err = shell("--search", "00" * 48, "--most-vcpus", 4)
    assert (status, out, err.split(":")[0]) == (11, "", "MEASUREMENT_MISMATCH")
    report.write_bytes(b"no report")
    assert shell("--search", report)[0] == 30


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--cpu", "Pentium"),
        ("--cpu-signature", "x"),
        ("--cpu", "EPYC-Milan", "--cpu-signature", "0xa00f11"),
        ("--cpu-signature", hex(1 << 32)),
        ("--cpu", "EPYC", "--guest-features", "-1"),
        ("--cpu", "EPYC", "--vmm", "xen"),
        ("--cpu", "EPYC", "--vcpus", "0"),
        ("--search", "00" * 47),
        ("--search", "none"),
    ],
)
def test_wrong_use_is_exit_2(shell, arguments):
    """With what is wanted instead."""
    status, _, err = shell(*arguments)
    assert (status, bool(err)) == (2, True)


def test_kernel_options_need_a_kernel(shell, files):
    """An initial file system or a command line without a kernel is measured by nothing."""
    for extra in (("--initrd", files.initrd), ("--append", "x")):
        assert shell("--cpu", "EPYC", *extra, files=("--ovmf", files.ovmf))[0] == 2
    assert shell("--cpu", "EPYC", files=("--ovmf", files.ovmf.parent / "none"))[0] == 2


def test_one_line_serves_a_policy(files):
    """From files to a policy that accepts every number of vCPUs, and refuses another kernel."""
    launch = parse_launch_prefix(str(launch_of(files, cpu_signature=1, guest_features=1)))
    amd = fake_amd(Product.MILAN)
    verifier = SnpVerifier(roots=amd.roots())
    policy = replace(Policy.builtin(), launches=(launch,))
    files.kernel.write_bytes(b"backdoor")
    other = launch_of(files, cpu_signature=1, guest_features=1)
    for measurement, codes in ((launch.measurement(9), set()), (other.measurement(9), {"MEASUREMENT_MISMATCH"})):
        report = verifier.verify(amd.report(measurement=measurement), vek=amd.vcek(), at=AT)
        assert {finding.code for finding in appraise(report, policy=policy, at=AT).findings} == codes
