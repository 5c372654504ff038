"""What the service keeps for others beside verdicts: its owner's documents, and the mirror of collateral."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar, cast

from starlette.requests import Request

from twocvm_verifier.clock import SystemClock
from twocvm_verifier.corim import Unsigned

from .admin import NOBODY, Admins
from .library import Library
from .line import Line
from .mirror import Mirror
from .state.documents_memory import MemoryDocuments

THREADS: Final = 4
MAX_WAITING: Final = 64
FETCHING_THREADS: Final = 2
MAX_FETCHING: Final = 16
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """What is kept, and who may change it.

    Attributes:
        library: The documents.
        admins: Who may put one.
        mirror: The collateral, where it is handed out at all.
        line: In which stores are waited for.
        fetching: In which sources of collateral are: slow, and nobody else waits behind them.
    """

    library: Library
    admins: Admins
    mirror: Mirror | None
    line: Line = field(repr=False, default_factory=lambda: Line(threads=THREADS, max_waiting=MAX_WAITING))
    fetching: Line = field(repr=False, default_factory=lambda: Line(threads=FETCHING_THREADS, max_waiting=MAX_FETCHING))

    @classmethod
    def empty(cls) -> Shelf:
        """Return one that holds nothing, and that nobody may change."""
        library = Library(MemoryDocuments(), trust=Unsigned(), clock=SystemClock())
        return cls(library=library, admins=NOBODY, mirror=None)

    async def run(self, work: Callable[[], _T]) -> _T:
        """Look something up, which may mean to wait for a store elsewhere.

        Raises:
            ServiceError: SERVICE_BUSY, or what `work` does.
        """
        return await self.line.run(work)

    async def fetch(self, work: Callable[[], _T]) -> _T:
        """Look something up that may have to be fetched; else as `run`."""
        return await self.fetching.run(work)

    def stop(self) -> None:
        """Begin nothing more; what runs ends by itself."""
        self.line.stop()
        self.fetching.stop()


def shelf_of(request: Request) -> Shelf:
    """Return the shelf of the application that a request came to."""
    return cast(Shelf, request.app.state.desk.parts.shelf)
