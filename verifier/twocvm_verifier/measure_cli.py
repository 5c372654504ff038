"""`twocvm measure`: the MEASUREMENT of a guest, before it is launched, or when another one was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from .measure import CPU_TYPES, VMMS, LaunchFiles, Match, launch_of, search
from .shell import Form, OutputForm, command_group, file_option, read_file, write_json
from .snp.launch import MAX_VCPUS

app = command_group()

_SCHEMA: Final = "twocvm/measure/v1"
_SEARCH_SCHEMA: Final = "twocvm/measure-search/v1"

Ovmf: TypeAlias = Annotated[Path, file_option("The firmware: OVMF built for SEV.")]
Kernel: TypeAlias = Annotated[Path | None, file_option("The kernel, where it is measured with the firmware.")]
Initrd: TypeAlias = Annotated[Path | None, file_option("The initial file system, with --kernel.")]
Append: TypeAlias = Annotated[str, typer.Option("--append", metavar="TEXT", help="The kernel's command line.")]
Vcpus: TypeAlias = Annotated[int, typer.Option("--vcpus", min=1, max=MAX_VCPUS, help="How many vCPUs.")]
Cpu: TypeAlias = Annotated[str, typer.Option("--cpu", metavar="TYPE", help="QEMU's CPU type, such as EPYC-Milan.")]
Signature: TypeAlias = Annotated[
    str, typer.Option("--cpu-signature", metavar="NUMBER", help="CPUID 1, EAX, instead of --cpu: such as 0xa00f11.")
]
Features: TypeAlias = Annotated[
    str, typer.Option("--guest-features", metavar="NUMBER", help="SEV_FEATURES of the guest, such as 0x1.")
]
Vmm: TypeAlias = Annotated[str, typer.Option("--vmm", metavar="NAME", help=f"One of {', '.join(VMMS)}.")]
Prefix: TypeAlias = Annotated[
    bool, typer.Option("--prefix", help="Print the one line that stands for every number of vCPUs.")
]
Search: TypeAlias = Annotated[
    str,
    typer.Option("--search", metavar="HEX|FILE", help="Say which launch has this measurement, or this report's."),
]
Most: TypeAlias = Annotated[
    int, typer.Option("--most-vcpus", min=1, max=MAX_VCPUS, help="Up to how many vCPUs a search tries.")
]


@app.callback()
def _group() -> None:
    """Compute measurements."""


@app.command("measure")
def measure_command(
    ovmf: Ovmf,
    kernel: Kernel = None,
    initrd: Initrd = None,
    append: Append = "",
    vcpus: Vcpus = 1,
    cpu: Cpu = "",
    cpu_signature: Signature = "",
    guest_features: Features = "0x1",
    vmm: Vmm = "qemu",
    prefix: Prefix = False,  # noqa: FBT002 - a flag of the command line
    search_for: Search = "",
    most_vcpus: Most = 256,
    output: Form = OutputForm.TEXT,
) -> None:
    """Compute the MEASUREMENT of a guest from what it is launched with.

    Exit status: 0 computed or found, 11 no launch of these files has the measurement that was searched, 30 the firmware
    or the report is malformed.
    """
    files = _files(ovmf, kernel=kernel, initrd=initrd, append=append, vmm=vmm)
    try:
        if search_for:
            _search(files, _measurement(search_for), output, most_vcpus=most_vcpus)
        else:
            launch = launch_of(
                files,
                cpu_signature=_signature(cpu, cpu_signature, vmm=vmm),
                guest_features=_number(guest_features, "--guest-features", 1 << 64),
            )
            measurement = launch.measurement(vcpus).hex()
            if output is OutputForm.JSON:
                write_json({"schema": _SCHEMA, "measurement": measurement, "vcpus": vcpus, "launch": str(launch)})
            else:
                typer.echo(str(launch) if prefix else measurement)
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}") from error


def _search(files: LaunchFiles, measurement: bytes, output: OutputForm, *, most_vcpus: int) -> None:
    from .errors import TwoCvmError

    found = tuple(search(files, measurement, most_vcpus=most_vcpus))
    if output is OutputForm.JSON:
        matches = [_match_json(match) for match in found]
        write_json({"schema": _SEARCH_SCHEMA, "measurement": measurement.hex(), "matches": matches})
    else:
        for match in found:
            typer.echo(
                f"{match.vcpus} vCPUs, {match.vmm}, CPU type {match.cpu}, guest features {match.guest_features:#x} "
                f"({match.features})\n  {match.launch}"
            )
    if not found:
        raise TwoCvmError(
            "MEASUREMENT_MISMATCH",
            f"measurement: got {measurement.hex()}, want that of some launch of these files: the firmware, the kernel, "
            "the initial file system or the command line is another",
        )


def _match_json(match: Match) -> dict[str, Any]:
    return {
        "vcpus": match.vcpus,
        "vmm": match.vmm,
        "cpu": match.cpu,
        "guest_features": f"{match.guest_features:#x}",
        "launch": str(match.launch),
    }


def _files(ovmf: Path, *, kernel: Path | None, initrd: Path | None, append: str, vmm: str) -> LaunchFiles:
    if vmm not in VMMS:
        raise typer.BadParameter(f"want one of {', '.join(VMMS)}", param_hint="--vmm")
    if kernel is None and (initrd is not None or append):
        raise typer.BadParameter("--initrd and --append are measured with a kernel", param_hint="--kernel")
    return LaunchFiles(ovmf=ovmf, kernel=kernel, initrd=initrd, append=append, vmm=vmm)


def _signature(cpu: str, signature: str, *, vmm: str) -> int:
    if cpu and signature:
        raise typer.BadParameter("is given in the place of --cpu, not with it", param_hint="--cpu-signature")
    if signature:
        return _number(signature, "--cpu-signature", 1 << 32)
    if cpu in CPU_TYPES:
        return CPU_TYPES[cpu]
    if not cpu and vmm != "qemu":
        return 0
    raise typer.BadParameter(f"want one of {', '.join(CPU_TYPES)}", param_hint="--cpu")


def _number(text: str, option: str, limit: int) -> int:
    try:
        number = int(text, 0)
    except ValueError as error:
        raise typer.BadParameter("want a number such as 0x1", param_hint=option) from error
    if not 0 <= number < limit:
        raise typer.BadParameter(f"want less than {limit:#x}", param_hint=option)
    return number


def _measurement(text: str) -> bytes:
    from .snp.report import parse_report

    try:
        measurement = bytes.fromhex(text)
    except ValueError:
        return parse_report(read_file(text, option="--search")).measurement
    if len(measurement) != 48:
        raise typer.BadParameter("want 96 hex digits, or a report's file", param_hint="--search")
    return measurement
