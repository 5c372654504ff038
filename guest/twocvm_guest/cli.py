"""The guest's commands: `twocvm guest serve` and `twocvm doctor`."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from twocvm_verifier.shell import (
    Form,
    OutputForm,
    Quiet,
    command_group,
    read_manifest,
    write_file,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .platforms.attester import Attester
    from .platforms.azure import AzurePlatform
    from .platforms.simulated import SimulatedPlatform
    from .platforms.snp import SnpPlatform
    from .runtime.isolation import IsolationReport

app = command_group()
guest = command_group("Run a guest.")
app.add_typer(guest, name="guest")

_MAX_PORT: Final = 65535


class PlatformChoice(StrEnum):
    """Where reports come from."""

    AUTO = "auto"
    SNP = "snp"
    AZURE = "azure"
    SIMULATED = "simulated"


Listen = Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes any that is free.")]
HardwareLatency = Annotated[
    bool, typer.Option("--hardware-latency", help="Simulated only: take 4.4 ms for a report, as a chip does.")
]
RequireIsolation = Annotated[
    bool,
    typer.Option("--require-isolation", help="Refuse to start unless workers get every means that `doctor` lists."),
]
ManifestFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Simulated only: be born locked to this manifest, by HOST_DATA."),
]
RootOut = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Simulated only: write the root of the simulated platform here (PEM)."),
]


@guest.command("serve")
def serve(
    listen: Listen,
    platform: Annotated[PlatformChoice, typer.Option(help="Where reports come from.")] = PlatformChoice.AUTO,
    manifest: ManifestFile = None,
    simulated_root_out: RootOut = None,
    hardware_latency: HardwareLatency = False,  # noqa: FBT002 - a flag
    require_isolation: RequireIsolation = False,  # noqa: FBT002 - a flag
    output: Form = OutputForm.TEXT,
    quiet: Quiet = False,  # noqa: FBT002 - a flag
) -> None:
    """Run one launch of a guest until its session is wiped, or until SIGTERM, which wipes it."""
    host, port = _parse_listen(listen)
    if platform is not PlatformChoice.SIMULATED:
        if manifest or simulated_root_out or hardware_latency:
            raise typer.BadParameter("only `--platform simulated` takes it", param_hint="--manifest and --simulated-*")
        from .platforms.azure import open_azure
        from .platforms.detect import open_any, open_snp

        openers: dict[PlatformChoice, Callable[[], SnpPlatform | AzurePlatform]] = {
            PlatformChoice.AUTO: open_any,
            PlatformChoice.SNP: open_snp,
            PlatformChoice.AZURE: open_azure,
        }
        with closing(openers[platform]()) as real:
            if not quiet:
                sys.stderr.write(f"reports come through {real.way}\n")
            isolation = _isolation(demand_all=require_isolation)
            _serve(real, isolation, host=host, port=port, output=output, quiet=quiet)
        return
    from .platforms.simulated import HARDWARE_LATENCY_SECONDS

    attester = _launch(manifest, HARDWARE_LATENCY_SECONDS if hardware_latency else 0.0)
    if simulated_root_out is not None:
        write_file(simulated_root_out, attester.root_pem, option="--simulated-root-out")
    isolation = _isolation(demand_all=require_isolation)
    _serve(attester, isolation, host=host, port=port, output=output, quiet=quiet)


@app.command("doctor")
def doctor(output: Form = OutputForm.TEXT) -> None:
    """Say what works on this machine, and what to do about the rest."""
    from .doctor import examine

    findings = examine()
    if output is OutputForm.JSON:
        rows = [{"name": row.name, "works": row.works, "value": row.value, "advice": row.advice} for row in findings]
        write_json({"findings": rows})
        return
    width = max(len(row.name) for row in findings)
    for row in findings:
        sys.stdout.write(f"{'ok' if row.works else '--'}  {row.name:{width}}  {row.value or row.advice}\n")


def _parse_listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
        raise typer.BadParameter("want HOST:PORT", param_hint="--listen")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _launch(manifest: Path | None, latency_seconds: float) -> SimulatedPlatform:
    from twocvm_verifier.clock import SystemClock
    from twocvm_verifier.framing import HASH_BYTES

    from .platforms.measure import measure_installed
    from .platforms.simulated import SimulatedPlatform

    host_data = bytes(HASH_BYTES) if manifest is None else read_manifest(manifest).hash
    return SimulatedPlatform.create(
        host_data=host_data,
        measurement=measure_installed(),
        at=SystemClock().now(),
        latency_seconds=latency_seconds,
    )


def _isolation(*, demand_all: bool) -> IsolationReport:
    from .runtime.isolation import probe

    found = probe()
    if demand_all:
        found.require_complete()
    return found


def _serve(
    attester: Attester, isolation: IsolationReport, *, host: str, port: int, output: OutputForm, quiet: bool
) -> None:
    from .serve import new_guest, run_to_its_end

    guest = new_guest(attester, isolation, host=host, port=port)
    if not quiet:
        if attester.name == PlatformChoice.SIMULATED:
            sys.stderr.write("this platform is simulated: it proves nothing and protects nothing from this machine\n")
        for feature in isolation.missing:
            sys.stderr.write(f"workers run without {feature.name}: {feature.reason}\n")
    try:
        run_to_its_end(guest, on_ready=lambda facts: _say_ready(facts, output))
    except OSError as error:
        raise typer.BadParameter(str(error.strerror), param_hint="--listen") from error


def _say_ready(facts: Mapping[str, str], output: OutputForm) -> None:
    # One line of JSON, at once: whoever started the guest waits for it.
    text = json.dumps(dict(facts)) if output is OutputForm.JSON else "\n".join(f"{k}: {v}" for k, v in facts.items())
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
