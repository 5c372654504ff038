"""`twocvm demo`: the whole run on this machine. What happens goes to stderr, what it comes to goes to stdout."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from twocvm_verifier.shell import Form, OutputForm, Quiet, command_group

if TYPE_CHECKING:
    from rich.console import Console

    from twocvm_guest.image.folder import ImageFolder

    from .summary import Section

app = command_group()


@app.command("demo")
def demo(
    *,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Keep keys, manifest, consents, outputs and receipts here."),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option("--image", metavar="DIR", help="Run the guest in this development image, booted here."),
    ] = None,
    form: Form = OutputForm.TEXT,
    quiet: Quiet = False,
) -> None:
    """Let three organisations compute together here: simulated SNP platform, real data, real protocol."""
    from rich.console import Console

    from .cast import CAST
    from .run import run_demo
    from .show import Show

    show = Show(Console(stderr=True, quiet=quiet), names=tuple(role.name for role in CAST))
    with ExitStack() as stack:
        folder = _new_folder(keep) if keep else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twocvm-")))
        summary = run_demo(folder, show, image=_development(image) if image else None)
    if form is OutputForm.JSON:
        sys.stdout.write(json.dumps(summary.to_json(), indent=2) + "\n")
        return
    console = Console()
    for section in summary.sections():
        _print_section(console, section)
    if keep:
        console.print(_what_to_try(keep), markup=False, highlight=False, soft_wrap=True)


def _development(folder: Path) -> ImageFolder:
    from twocvm_guest.image.command_line import Variant
    from twocvm_guest.image.folder import read_image

    image = read_image(folder)
    if image.variant is not Variant.DEVELOPMENT:
        raise typer.BadParameter("a production image serves only on hardware", param_hint="--image")
    return image


def _print_section(console: Console, section: Section) -> None:
    from rich.text import Text

    console.print()
    console.print(Text(section.title, style="bold yellow" if "NOT" in section.title else "bold"))
    for line in section.lines:
        # Long lines are folded for people only; whoever searches a file finds them whole.
        width = console.width if console.is_terminal else sys.maxsize
        for part in wrap(line, width, initial_indent="  ", subsequent_indent="    "):
            console.print(Text(part), soft_wrap=True)


def _what_to_try(folder: Path) -> str:
    believed = f"--manifest {folder}/manifest.json --policy {folder}/policy.toml"
    receipt = f"{folder}/received/hospital-a/receipt.json"
    return (
        f"\neverything is in {folder}; for instance:\n"
        f"  twocvm receipt verify {receipt} {believed} --simulated-root {folder}/simulated-root.pem\n"
        f"  twocvm manifest show {folder}/manifest.json"
    )


def _new_folder(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise typer.BadParameter(f"{str(folder)!r}: {error.strerror}", param_hint="--keep") from error
    return folder
