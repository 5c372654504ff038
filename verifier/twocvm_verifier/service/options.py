"""The settings that a command of the service's owner runs with: its options, the environment and the file they name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from twocvm_verifier.errors import MalformedError, UnsupportedError
from twocvm_verifier.shell import file_option, unusable

from .configuration import CONFIG_VARIABLE, Configured, Said, configure, read_file

Config: TypeAlias = Annotated[Path | None, file_option(f"The settings, TOML; also {CONFIG_VARIABLE}.", "--config")]

# Options, the settings that they set, and variables that other commands read for the same.
_SETTINGS: Final[Mapping[str, tuple[str, str]]] = {
    "--listen": ("listen", "address"),
    "--issuer": ("listen", "issuer"),
    "--workers": ("listen", "workers"),
    "--key": ("tokens", "key"),
    "--next-key": ("tokens", "next_key"),
    "--federation": ("tokens", "federations"),
    "--policy": ("policies", "default"),
    "--also-policy": ("policies", "also"),
    "--store": ("collateral", "store"),
    "--mirror": ("collateral", "mirrors"),
    "--kds": ("collateral", "kds"),
    "--offline": ("collateral", "offline"),
    "--simulated-root": ("collateral", "simulated_root"),
}
_SHARED: Final[Mapping[str, str]] = {"TWOCVM_STORE": "store", "TWOCVM_MIRROR": "mirrors", "TWOCVM_KDS": "kds"}


def configured(config: Path | None, options: Mapping[str, object]) -> Configured:
    """Return the settings that hold.

    Args:
        config: The file that the command line names, if it does; else the environment may.
        options: The command line's options that set something; None and False do not.

    Raises:
        MalformedError: What the file or the environment says is not understood.
        typer.BadParameter: What an option says is not.
        UnsupportedError: The extra `service` is not installed.
    """
    said = tuple(
        Said(section=section, name=name, value=options[option], origin=f"option {option}")
        for option, (section, name) in _SETTINGS.items()
        if options.get(option) not in (None, False)
    )
    try:
        configure(toml=None, file="", environment={}, options=said)
    except MalformedError as error:
        raise typer.BadParameter(error.detail) from error
    named = os.environ.get(CONFIG_VARIABLE, "")
    file = config or (Path(named) if named else None)
    try:
        toml = None if file is None else read_file(file)
    except OSError as error:
        raise unusable(str(file), error, option="--config") from error
    return configure(toml=toml, file=str(file or ""), environment=os.environ, options=(*_shared(), *said))


def require_extra() -> None:
    """Refuse to go on without the extra `service`.

    Raises:
        UnsupportedError: It is not installed.
    """
    try:
        from . import assembly as _assembly  # noqa: F401 - imports all that the service needs
    except ModuleNotFoundError as error:
        raise UnsupportedError("EXTRA_MISSING", f"{error.name}: not installed; install twocvm[service]") from error


def _shared() -> tuple[Said, ...]:
    """Return what variables say that all commands read."""
    found: list[Said] = []
    for variable, name in _SHARED.items():
        text = os.environ.get(variable, "")
        if text:
            value: Any = text.split() if name == "mirrors" else text
            found.append(Said(section="collateral", name=name, value=value, origin=f"variable {variable}"))
    return tuple(found)
