"""What commands print: results on stdout, everything else on stderr.

Bars only where a person watches; plain lines where not; nothing but refusals when asked to be quiet.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from twocvm_verifier.result import Status
from twocvm_verifier.shell import OutputForm

if TYPE_CHECKING:
    from rich.text import Text

    from twocvm_sdk.items import Progress
    from twocvm_verifier.result import Appraisal
    from twocvm_verifier.strictjson import Json

REVOCATION: Final = "snp.chain.revocation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Printer:
    """How one command speaks.

    Attributes:
        form: How its result is printed.
        quiet: Whether to print nothing but the result.
        verbose: Whether to print every check.
    """

    form: OutputForm
    quiet: bool = False
    verbose: bool = False

    def result(self, value: Mapping[str, Json], text: str) -> None:
        """Print the result, in the form that was asked for."""
        shown = json.dumps(value, indent=2, default=list) if self.form is OutputForm.JSON else text
        sys.stdout.write(shown + "\n")

    def lines(self, lines: Iterable[Text]) -> None:
        """Print a text result of several lines, styled where a person watches."""
        from rich.console import Console

        console = Console(highlight=False, soft_wrap=True)
        for line in lines:
            console.print(line)

    def say(self, line: str) -> None:
        """Tell a person what happens."""
        if not self.quiet:
            sys.stderr.write(line + "\n")

    @contextmanager
    def transfers(self) -> Iterator[Progress]:
        """Show transfers for the length of a `with`; yields what is told of them."""
        if self.quiet or not sys.stderr.isatty():
            yield _Lines(self).tell
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True)) as bars:
            tasks: dict[str, int] = {}

            def tell(name: str, done_bytes: int, total_bytes: int) -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=total_bytes)
                bars.update(tasks[name], completed=done_bytes)  # type: ignore[arg-type]

            yield tell


@dataclass(slots=True)
class _Lines:
    """Progress where nobody watches: one line when a transfer has ended."""

    printer: Printer
    told: set[str] = field(default_factory=set)

    def tell(self, name: str, done_bytes: int, total_bytes: int) -> None:
        if done_bytes == total_bytes and name not in self.told:
            self.told.add(name)
            self.printer.say(f"{name}: {total_bytes} bytes")


def proof_lines(name: str, appraisal: Appraisal, *, verbose: bool) -> Iterator[str]:
    """Yield how evidence was judged: the verdict, warnings, and whether revocation was asked about; or every check."""
    yield f"{name}: {appraisal.verdict} ({appraisal.platform}, {'secure' if appraisal.secure else 'NOT SECURE'})"
    for check in appraisal.checks:
        if verbose or check.status is Status.WARN or (check.id == REVOCATION and check.status is not Status.PASS):
            yield f"  {check.status:4}  {check.id}: {check.detail}"


def table(rows: Mapping[str, str]) -> str:
    """Return rows of a name and a value, aligned."""
    width = max(map(len, rows))
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows.items())
