"""The console script `twocvm`: which commands there are, where each lives, and what its ending means.

A command's module is imported only when the command is run, so that `twocvm --help` is quick and a missing extra
matters only to the commands that need it. Every refusal of ours ends as one line with its code, one with what can
be done, and the exit status of the code table; results go to stdout and everything else to stderr.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import typer
import typer.core
from typer._click.exceptions import ClickException  # the copy of click that typer carries raises its own classes

INTERNAL: Final = 1
UNSUPPORTED: Final = 20
INTERRUPTED: Final = 130
HOLDS_SECRETS: Final = (
    "guest",
    "serve",
)  # the command whose process is begun anew, so that it overwrites what it frees
COMPLETION: Final = "_TWOCVM_COMPLETE"  # set by the shell's script, which `source_bash` (zsh, fish) in it prints


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives: a module with a typer `app`, the extra it needs, and its line in the help."""

    module: str
    extra: str
    help: str


_VERIFIER: Final = "twocvm_verifier.cli"
_MANIFEST: Final = "twocvm_verifier.manifest_cli"
_POLICY: Final = "twocvm_verifier.policy_cli"
_SERVICE: Final = "twocvm_verifier.service.serve"
_AUDIT: Final = "twocvm_verifier.service.audit_cli"
_SERVICE_CONFIG: Final = "twocvm_verifier.service.config_cli"
_MEASURE: Final = "twocvm_verifier.measure_cli"
_LAUNCH: Final = "twocvm_guest.launch.cli"
_COLLATERAL: Final = "twocvm_verifier.collateral_cli"
_FEDERATE: Final = "twocvm_verifier.federate_cli"
_SDK: Final = "twocvm_sdk.cli"
_SERVE: Final = "twocvm_guest.cli"
_COMPONENT: Final = "twocvm_guest.component_cli"
_LOCAL: Final = "twocvm_guest.local_cli"
_IMAGE: Final = "twocvm_guest.image.cli"

COMMANDS: Final[Mapping[str, Entry | Mapping[str, Entry]]] = {
    "demo": Entry("twocvm_guest.demo.cli", "guest", "Run the whole story here: three organisations, one guest."),
    "identity": {
        "new": Entry(_SDK, "sdk", "Make a participant's TLS and consent keys."),
        "show": Entry(_SDK, "sdk", "Show a participant's public keys, as a manifest names them."),
    },
    "manifest": {
        "new": Entry(_MANIFEST, "", "Turn an authored TOML or JSON manifest into the canonical one."),
        "check": Entry(_MANIFEST, "", "List every problem of a manifest."),
        "hash": Entry(_MANIFEST, "", "Print the hash that names a manifest."),
        "show": Entry(_MANIFEST, "", "Show what a manifest permits, in lines or as a drawing."),
        "explain": Entry(_MANIFEST, "", "Say who sees what, and what a coalition can learn, before it is signed."),
        "diff": Entry(_MANIFEST, "", "Show where two manifests differ."),
        "sign": Entry(_SDK, "sdk", "Sign a consent to a manifest."),
    },
    "policy": {
        "new": Entry(_POLICY, "", "Write a policy that demands what one report shows."),
        "check": Entry(_POLICY, "", "Say what a policy leaves open; refuse one that decides nothing."),
        "explain": Entry(_POLICY, "", "Say in words what a policy demands."),
        "add": Entry(_POLICY, "", "Add reference values to a policy: a CoRIM's, or written out."),
    },
    "component": {
        "new": Entry(_COMPONENT, "guest", "Make a folder with a component that works, in C, Python or JavaScript."),
        "build": Entry(_COMPONENT, "guest", "Build the component of a folder."),
        "inspect": Entry(_COMPONENT, "guest", "Show what a component imports and exports."),
        "check": Entry(_COMPONENT, "guest", "Say whether a guest would admit a component under a manifest."),
    },
    "run": Entry(_LOCAL, "guest", "Run a manifest here, on data that is all one's own, and tell everything."),
    "guest": {"serve": Entry(_SERVE, "guest", "Run a guest.")},
    "image": {
        "build": Entry(_IMAGE, "guest", "Build the guest's image from locked packages."),
        "list": Entry(_IMAGE, "guest", "Print what is in an image, file by file."),
        "payload": Entry(_IMAGE, "guest", "Write large public files onto a disk that a machine brings along."),
        "command-line": Entry(_IMAGE, "guest", "Print the kernel's command line of one launch."),
        "boot": Entry(_IMAGE, "guest", "Boot an image here, emulated."),
    },
    "lock": Entry(_SDK, "sdk", "Lock a guest to a manifest that every participant signed."),
    "verify": Entry(_SDK, "sdk", "Verify a running guest; nothing is released."),
    "appraise": Entry(_VERIFIER, "", "Judge evidence at rest: a report and its certificates."),
    "verifier": {
        "serve": Entry(_SERVICE, "service", "Judge evidence for others, over HTTP."),
        "config": Entry(_SERVICE_CONFIG, "service", "Show the service's settings, and where each is from."),
        "audit": Entry(_AUDIT, "service", "Verify an audit log of verdicts, by itself or with the service's keys."),
    },
    "token": {"federate": Entry(_FEDERATE, "", "Print what lets a cloud or a Vault take a verifier's tokens.")},
    "collateral": {
        "fetch": Entry(_COLLATERAL, "sdk", "Fetch VCEKs and revocation lists into the local store."),
        "list": Entry(_COLLATERAL, "", "List what the store holds."),
        "export": Entry(_COLLATERAL, "", "Write the store into one file, for a site that reaches nothing."),
        "import": Entry(_COLLATERAL, "", "Take an export into the store."),
    },
    "join": Entry(_SDK, "sdk", "Sign a go for a verified guest."),
    "release": Entry(_SDK, "sdk", "Release this participant's items to a verified guest."),
    "status": Entry(_SDK, "sdk", "Ask a verified guest for its state."),
    "output": Entry(_SDK, "sdk", "Fetch an output together with its receipt."),
    "withdraw": Entry(_SDK, "sdk", "Withdraw from a session before it runs."),
    "proxy": Entry(_SDK, "sdk", "Let any tool on this machine talk to a verified guest."),
    "receipt": {"verify": Entry(_SDK, "sdk", "Judge a receipt, offline, years later.")},
    "measure": Entry(_MEASURE, "measure", "Compute the measurement of a guest, or say which launch has one."),
    "launch": {
        "new-key": Entry(_LAUNCH, "measure", "Make a key that signs identity blocks."),
        "id-block": Entry(_LAUNCH, "measure", "Sign the identity block of an image, so that there is no way back."),
        "reference": Entry(_LAUNCH, "measure", "Print the reference values to publish beside an image."),
        "command": Entry(_LAUNCH, "measure", "Print QEMU's command line for a host with SEV-SNP."),
    },
    "doctor": Entry(_SERVE, "guest", "Say what works on this machine, and what to do about the rest."),
}


class LazyGroup(typer.core.TyperGroup):
    """A group that knows its commands' names and help lines, and imports a command when it is called."""

    entries: Mapping[str, Entry | Mapping[str, Entry]]

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - typer's own signature
        """Return the names, in the order of the table."""
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002 - typer's own signature
        """Return the command itself, importing its module."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        if isinstance(entry, Entry):
            return _load(entry, (cmd_name,) if self.name in (None, "twocvm") else (str(self.name), cmd_name))
        return _group(cmd_name, entry)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - typer's own signature
        """Write the help lines without importing anything."""
        rows = [(name, _help(entry)) for name, entry in self.entries.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:  # noqa: ANN401 - typer's own signature
        """Return the names that begin so, without importing anything."""
        from typer._click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=_help(self.entries[name])) for name in self.entries if name.startswith(incomplete)
        ]


def main() -> None:
    """Run `twocvm` with the process's arguments and end with its exit status."""
    if COMPLETION in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
    elif tuple(sys.argv[1:3]) == HOLDS_SECRETS:
        from .runtime.protect import overwrite_what_is_freed

        overwrite_what_is_freed()
    _open_streams()
    sys.exit(_flushed(run(sys.argv[1:])))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit status (README, "Exit status"). Never raises for a refusal."""
    from twocvm_verifier.errors import TwoCvmError

    if arguments == ["--version"]:
        return _show_version()
    try:
        status = _group("twocvm", COMMANDS).main(args=arguments, prog_name="twocvm", standalone_mode=False)
    except ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except typer.Exit as ending:
        return ending.exit_code
    except TwoCvmError as error:
        sys.stderr.write(f"{error.code}: {error.detail}\n{error.row.meaning}\n")
        return error.exit_status
    except OSError as error:
        # What a command knew of is a usage error by now; this is a full disk, or the like.
        sys.stderr.write(f"{error.strerror or error}{f': {error.filename!r}' if error.filename else ''}\n")
        return INTERNAL
    return status if isinstance(status, int) else 0


def _open_streams() -> None:
    """Open what the caller has closed, on nothing: else the next file that is opened would be written to as output."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process


def _flushed(status: int) -> int:
    """Write what is still held back, and return the status that the process ends with."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python tries once more at its very end, and would then say so in its own words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if status != INTERNAL and not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"{error.strerror}\n")
        return INTERNAL
    return status


def _group(name: str, entries: Mapping[str, Entry | Mapping[str, Entry]]) -> LazyGroup:
    about = "Compute together with organisations that trust neither each other nor the cloud, and prove it."
    top = name == "twocvm"
    group = LazyGroup(
        name=name,
        help=about if top else None,
        epilog="`twocvm --version` says which version this is." if top else None,
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.entries = entries
    return group


def _help(entry: Entry | Mapping[str, Entry]) -> str:
    return entry.help if isinstance(entry, Entry) else ", ".join(entry)


def _show_version() -> int:
    from importlib.metadata import version

    sys.stdout.write(f"twocvm {version('twocvm')}\n")
    return 0


def _load(entry: Entry, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - a command of typer's own copy of click
    try:
        app = importlib.import_module(entry.module).app
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("twocvm_"):
            raise
        sys.stderr.write(f"this command needs {error.name}: install twocvm[{entry.extra or 'all'}]\n")
        raise typer.Exit(UNSUPPORTED) from error
    command: Any = typer.main.get_command(app)
    for word in path:
        command = getattr(command, "commands", {}).get(word, command)
    return command
