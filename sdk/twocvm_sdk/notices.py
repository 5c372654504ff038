"""What somebody has to know before it is too late, and that no check can decide for them.

One thing so far: the host of a confidential VM does not see memory, and yet it sees which pages are touched, in which
order. Of data that tells what depends on data; of *code* it tells most of what the code is. So the owner of a component
is told before it leaves, unless the owner is the host's operator.

>>> CodeNotice(components=("train",), operator="external").text[:48]
'The host can recover much of the code of train: '
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from twocvm_verifier.manifest import Manifest

_LOG: Final = logging.getLogger("twocvm.sdk")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeNotice:
    """That the host may recover code that is about to be released.

    Attributes:
        components: The owner's components, by name, sorted.
        operator: Who controls the host, by the manifest: a participant, or `external`.
    """

    components: tuple[str, ...]
    operator: str

    @property
    def text(self) -> str:
        """The notice in two sentences."""
        return (
            f"The host can recover much of the code of {', '.join(self.components)}: encrypted memory hides what pages "
            f"hold, and not which of them a component touches, in which order. Who operates the host: {self.operator}."
        )


Notify: TypeAlias = Callable[[CodeNotice], None]
"""Told before anything of its kind leaves; may raise to prevent it."""


def log_notice(notice: CodeNotice) -> None:
    """Write a notice to the log `twocvm.sdk`, as a warning; where nobody set logging up, that is stderr."""
    _LOG.warning("%s", notice.text)


def code_notice(manifest: Manifest, participant: str) -> CodeNotice | None:
    """Return what a participant has to know before it releases components, or None where there is nothing.

    Args:
        manifest: In force.
        participant: Whose components are meant; who operates the host is told nothing.
    """
    names = tuple(sorted(component.name for component in manifest.components_of(participant)))
    operator = manifest.platform.operator
    return CodeNotice(components=names, operator=operator) if names and operator != participant else None
