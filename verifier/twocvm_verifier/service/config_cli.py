"""`twocvm verifier config show`: the settings that the service would run with, and where each is from."""

from __future__ import annotations

import sys
from typing import Annotated, TypeAlias

import typer

from twocvm_verifier.shell import command_group

from .options import Config, configured

app = command_group("Show the settings of the verifier service.")

Origin: TypeAlias = Annotated[bool, typer.Option("--origin", help="Say where each value is from.")]


@app.callback()
def _group() -> None:
    """Show the settings of the verifier service."""


@app.command("show")
def show_command(
    config: Config = None,
    origin: Origin = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Print all settings as TOML, after reading the file and the environment. None of them is a secret."""
    from .configuration import shown
    from .rules import require_sound

    found = configured(config, {})
    sys.stdout.write(shown(found, origins=origin))
    require_sound(found.settings)
