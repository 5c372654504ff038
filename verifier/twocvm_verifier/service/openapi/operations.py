"""Every route of the service, by method and path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from . import asking, owning
from .model import Operation

_GROUPS: Final = (
    asking.judging,
    asking.sessions,
    asking.discovery,
    asking.pages,
    asking.health,
    owning.documents,
    owning.mirror,
)

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = dict(entry for group in _GROUPS for entry in group())
