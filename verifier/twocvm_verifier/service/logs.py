r"""What the service writes about itself: a JSON object on each line of standard error, whoever wrote it.

Our own lines have an event and fields that this program made. Of somebody else's (a library's, an exception's) only
where it was written and the kind of its error are kept: its text may quote a request. A line is ASCII and has no
line's end within, whatever is in it.

>>> record = logging.LogRecord("uvicorn.error", logging.ERROR, "h11.py", 7, "got %r", ("secret\r\nforged",), None)
>>> json.loads(JsonLines().format(record))["from"]
'uvicorn.error h11.py:7'
"""

from __future__ import annotations

import json
import logging
import os
import select
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from .observe import Account

Field: TypeAlias = str | int | float | bool
_OURS: Final = "twocvm.verifier"
_FIELDS: Final = "fields"
_MILLISECONDS: Final = 1000.0
STANDARD_ERROR: Final = 2
# PIPE_BUF of Linux: so much fits where anything does.
_MAX_LINE_BYTES: Final = 4096
_FRAMES: Final = 12
_LOGGER: Final = logging.getLogger(_OURS)
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


def event(name: str, /, *, level: int = logging.INFO, **fields: Field) -> None:
    """Write a line.

    Args:
        name: What happened: words of ours, with hyphens.
        level: How bad it is.
        fields: What is said of it: nothing that a caller chose.
    """
    if not _LOGGER.isEnabledFor(level):
        return
    handlers = logging.getLogger().handlers
    if len(handlers) == 1 and isinstance(handlers[0], LineHandler):
        # Nobody else listens: a record would cost more than the line.
        handlers[0].tell(_own_line(time.time(), level, name, fields))
        return
    _LOGGER.log(level, name, extra={_FIELDS: fields})


def error_event(name: str, error: Exception, /, **fields: Field) -> None:
    """Write a line about an error that nobody expected: its kind and where it was raised, and none of its text.

    Args:
        name: As `event`.
        error: Was raised.
        fields: As `event`.
    """
    places = [
        f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    ]
    event(name, level=logging.ERROR, kind=type(error).__name__, where=" ".join(places), **fields)


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        fields: dict[str, Field] | None = getattr(record, _FIELDS, None)
        if record.name == _OURS and fields is not None:
            return _own_line(record.created, record.levelno, record.msg, fields)
        theirs: dict[str, Field] = {"from": f"{record.name} {record.filename}:{record.lineno}"}
        if record.exc_info and record.exc_info[0] is not None:
            theirs["error"] = record.exc_info[0].__name__
        return _own_line(record.created, record.levelno, "library", theirs)


def _own_line(seconds: float, level: int, name: str, fields: dict[str, Field]) -> str:
    at = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _ENCODER.encode({"at": at, "level": logging.getLevelName(level).lower(), "event": name, **fields})


class LineHandler(logging.Handler):
    """Writes lines to whoever reads them, and waits for nobody: what finds no room is lost, and that is said later.

    Args:
        descriptor: A file, a pipe or a socket. Where a pipe can be written at all it takes a line of 4096 bytes whole.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as a line."""
        self.tell(self.format(record))

    def tell(self, text: str) -> None:
        """Write a line, or count it as lost."""
        self.acquire()
        try:
            self._write(text.encode("ascii")[: _MAX_LINE_BYTES - 1] + b"\n")
        finally:
            self.release()

    def _write(self, line: bytes) -> None:
        try:
            if not any(found & select.POLLOUT for _, found in self._room.poll(0)):
                self._lost += 1
                return
            lost, self._lost = self._lost, 0
            os.write(self._descriptor, line)
        except OSError:
            self._lost += 1
            return
        if lost:
            event("lines-lost", level=logging.ERROR, lines=lost)


@contextmanager
def lines_on(descriptor: int) -> Iterator[None]:
    """Have all that this process logs written there as lines of JSON: ours from info on, others' warnings."""
    root, ours = logging.getLogger(), logging.getLogger(_OURS)
    before = (root.handlers[:], root.level, ours.level)
    handler = LineHandler(descriptor)
    handler.setFormatter(JsonLines())
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    ours.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:], root.level, ours.level = before


class RequestLog:
    """Writes a line for each request that is over, and none for a probe that found nothing wrong.

    Args:
        quiet: Routes of which only what went wrong is written.
    """

    def __init__(self, *, quiet: frozenset[str]) -> None:
        self._quiet = quiet

    def begun(self) -> None:
        """Say nothing yet."""

    def ended(self, account: Account) -> None:
        """Write the line."""
        if account.route in self._quiet and account.status < 400:
            return
        noted = account.seen
        told = {name: text for name, text in (("code", noted.code), ("verdict", noted.verdict)) if text}
        event(
            "request",
            request_id=noted.request_id,
            method=account.method,
            route=account.route,
            status=account.status,
            ms=round(account.seconds * _MILLISECONDS, 1),
            **told,  # type: ignore[arg-type]
        )
