"""What the demo says while it runs: on stderr, in bars and colours where a person watches, in plain lines where not.

Everything may be called from several threads at once. Each phase is timed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from twocvm_sdk.items import Progress

_COLOURS: Final = ("cyan", "magenta", "green", "yellow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One part of the run that has ended: what it was called, and how long it took."""

    title: str
    seconds: float


class Show:
    """The demo's voice.

    Args:
        console: Where to write; a terminal gets colours and bars.
        names: The participants, so that each gets a colour of its own.
    """

    def __init__(self, console: Console, names: tuple[str, ...]) -> None:
        self._console: Final = console
        self._width: Final = max(map(len, names))
        self._colours: Final = dict(zip(names, _COLOURS, strict=False))
        self._phases: list[Phase] = []

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases so far."""
        return tuple(self._phases)

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """Name a part of the run, and time it."""
        self._print(Text(f"{len(self._phases) + 1:2}  {title}", style="bold"))
        start = time.perf_counter()
        yield
        self._phases.append(Phase(title=title, seconds=time.perf_counter() - start))

    def line(self, text: str, *, style: str = "") -> None:
        """Say something that is nobody's in particular."""
        self._print(Text(f"      {text}", style=style))

    def says(self, name: str, text: str) -> None:
        """Say something of one participant."""
        self._print(Text.assemble("      ", (f"{name:{self._width}}", self._colours.get(name, "")), f"  {text}"))

    @contextmanager
    def transfers(self) -> Iterator[_Transfers]:
        """Show transfers for the length of a `with`."""
        if not self._console.is_terminal:
            yield _Lines(self)
            return
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("      {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Bars(*columns, console=self._console) as bars:
            yield _Bars(bars)

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


class _Lines:
    """Transfers where nobody watches: one line when a whole one has arrived."""

    def __init__(self, show: Show) -> None:
        self._show: Final = show

    def of(self, participant: str) -> Progress:
        """Return what is told of one participant's transfers."""
        told: set[str] = set()

        def tell(name: str, done_bytes: int, total_bytes: int) -> None:
            if done_bytes == total_bytes and name not in told:
                told.add(name)
                self._show.says(participant, f"{name}: {total_bytes} bytes sent")

        return tell


class _Bars:
    """Transfers where a person watches: one bar each."""

    def __init__(self, bars: Bars) -> None:
        self._bars: Final = bars

    def of(self, participant: str) -> Progress:
        """Return what is told of one participant's transfers."""
        tasks: dict[str, TaskID] = {}

        def tell(name: str, done_bytes: int, total_bytes: int) -> None:
            if name not in tasks:
                tasks[name] = self._bars.add_task(f"{participant}: {name}", total=total_bytes)
            self._bars.update(tasks[name], completed=done_bytes)

        return tell


_Transfers: TypeAlias = _Lines | _Bars
