"""`twocvm image`: build the guest's image, say what is in it, and boot it here."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from twocvm_verifier.shell import Form, OutputForm, Quiet, command_group, file_option, unusable, write_json

from .command_line import Variant

if TYPE_CHECKING:
    from .folder import ImageFolder

app = command_group()
image = command_group("Build, list and boot the guest's image.")
app.add_typer(image, name="image")

_CACHE: Final = Path.home() / ".cache" / "twocvm" / "packages"
PayloadDisk = Annotated[Path | None, file_option("The disk that `image payload` wrote.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="An image that `image build` wrote.")]


@image.command("build")
def build(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the images go, each into a folder of its own.")],
    variant: Annotated[list[Variant] | None, typer.Option(help="Which image; both where none is named.")] = None,
    cache: Annotated[Path, typer.Option(metavar="DIR", help="Where fetched packages are kept.")] = _CACHE,
    mirror: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Below it lie `debian` and `debian-security`.")
    ] = None,
    output: Form = OutputForm.TEXT,
    quiet: Quiet = False,  # noqa: FBT002 - a flag
) -> None:
    """Build the image from locked packages, with its bill of materials; the same bytes each time."""
    from importlib import metadata

    from . import packages
    from .build import Parts, build_images, own_files
    from .folder import write_image
    from .lock import load_lock
    from .sbom import BILL, bill_of_materials

    # What takes a minute is not begun where it could not be kept.
    for place, option in ((out, "--out"), (cache, "--cache")):
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(place, error, option=option) from error
    lock = load_lock()
    say = (lambda _: None) if quiet else (lambda text: sys.stderr.write(f"{text}\n"))
    say(f"{len(lock.packages)} packages of Debian and {len(lock.wheels)} wheels, locked")
    parts = Parts(
        lock=lock,
        packages=packages.fetch_packages(lock, cache, mirrors=mirror or packages.mirrors(), get=packages.get),
        wheels=packages.fetch_wheels(lock, cache),
        own=own_files(),
    )
    say("building ...")
    built = build_images(parts, tuple(variant or Variant))
    written = [write_image(each, out / each.variant.value) for each in built]
    for image_built, its in zip(built, written, strict=True):
        bill = bill_of_materials(image_built, parts, version=metadata.version("twocvm"))
        (its.folder / BILL).write_bytes(bill)
    _show([_facts(each) for each in written], output)


@image.command("list")
def list_files(
    folder: Folder,
    *,
    check: Annotated[bool, typer.Option("--check", help="Compare with the list that this version comes with.")] = False,
) -> None:
    """Print what is in an image: mode, path, digest and package of each file."""
    from .filelist import LIST, require_same
    from .folder import FILES, read_image

    text = (read_image(folder).folder / FILES).read_text(encoding="utf-8")
    if check:
        require_same(text, LIST.read_text(encoding="utf-8"))
        return
    sys.stdout.write(text)


@image.command("payload")
def write_disk(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The files, which may be public.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The disk.")],
    output: Form = OutputForm.TEXT,
) -> None:
    """Write large public files onto a disk that a machine brings along, fixed by its measured command line.

    The same files give the same bytes. Prints the word that the command line gets, and each file's digest.
    """
    from .payload import write_payload

    try:
        written = write_payload(folder, out)
    except OSError as error:
        raise unusable(str(error.filename), error, option="--out") from error
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--out") from error
    if output is OutputForm.JSON:
        write_json(
            {
                "root": written.payload.root.hex(),
                "blocks": written.payload.blocks,
                "files": {name: digest.hex() for name, digest in written.files.items()},
            }
        )
        return
    rows = (f"{digest.hex()}  {name}\n" for name, digest in written.files.items())
    sys.stdout.write(f"{written.payload.word()}\n{''.join(rows)}")


@image.command("command-line")
def show_command_line(
    folder: Folder,
    address: Annotated[str, typer.Option(metavar="IP/PREFIX", help="The guest's address.")] = "10.0.2.15/24",
    gateway: Annotated[str, typer.Option(metavar="IP", help="Its way to other networks.")] = "10.0.2.2",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Where it listens.")] = 8443,
    payload: PayloadDisk = None,
) -> None:
    """Print the kernel's command line of one launch: it is measured, so the same words go to `measure` and `launch`.

    The defaults are those of QEMU's user network, which `launch command` sets up.
    """
    from .command_line import CommandLineError, command_line, make_network
    from .folder import read_image
    from .payload import read_payload

    variant = read_image(folder).variant
    try:
        brought = None if payload is None else read_payload(payload)
        typer.echo(command_line(variant, make_network(address, gateway, str(port)), brought))
    except OSError as error:
        raise unusable(str(error.filename), error, option="--payload") from error
    except CommandLineError as error:
        raise typer.BadParameter(str(error)) from error


@image.command("boot")
def boot(
    folder: Folder,
    log: Annotated[Path, typer.Option(metavar="FILE", help="Where its console goes.")],
    payload: PayloadDisk = None,
) -> None:
    """Boot an image here, emulated, until it ends or is interrupted; what it says of itself goes to stdout."""
    from .boot import START_SECONDS, Machine, hardware
    from .folder import read_image

    read = read_image(folder)
    try:
        given = hardware(read, payload=payload)
    except OSError as error:
        raise unusable(str(error.filename), error, option="--payload") from error
    # Told to end, this tells the machine, as at an interrupt; where this is killed, the kernel kills the machine.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        machine = Machine(read, given, log=log)
    except OSError as error:
        raise unusable(log, error, option="--log") from error
    with machine:
        if read.variant is Variant.DEVELOPMENT:
            ready = machine.wait_for("ready", seconds=START_SECONDS)
            sys.stdout.write(json.dumps({**ready, "listen": machine.url}) + "\n")
            sys.stdout.flush()
        while machine.wait_ended(1.0) is None:
            pass


def _facts(written: ImageFolder) -> dict[str, str | int]:
    return {
        "variant": written.variant.value,
        "folder": str(written.folder),
        "bytes": written.kernel.stat().st_size + written.initrd.stat().st_size,
        "kernel_sha256": written.kernel_sha256.hex(),
        "initrd_sha256": written.initrd_sha256.hex(),
    }


def _show(rows: list[dict[str, str | int]], output: OutputForm) -> None:
    if output is OutputForm.JSON:
        write_json({"images": rows})
        return
    for row in rows:
        sys.stdout.write("".join(f"{name}: {value}\n" for name, value in row.items()) + "\n")
