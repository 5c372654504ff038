"""How a command that waits asks for fresh proofs meanwhile, and what it does when one fails."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

if TYPE_CHECKING:
    from twocvm_sdk.watch import Watching

INTERVAL_SECONDS: Final = 60.0


class OnFailure(StrEnum):
    """What `--on-failed-proof` takes: the values of `watch.FailedProof`, which costs more to import."""

    WITHDRAW = "withdraw"
    REPORT = "report"


ProofEvery: TypeAlias = Annotated[
    float, typer.Option("--proof-every", metavar="SECONDS", help="How often a fresh proof is asked for while waiting.")
]
OnFailedProof: TypeAlias = Annotated[
    OnFailure,
    typer.Option(
        "--on-failed-proof",
        help="What a fresh proof that fails leads to: end the session for everybody, or only this command.",
    ),
]


def read_watching(interval_seconds: float, on_failed_proof: OnFailure) -> Watching:
    """Return the rule that was asked for.

    Raises:
        typer.BadParameter: The interval is none.
    """
    from twocvm_sdk.watch import FailedProof, Watching

    try:
        return Watching(interval_seconds=interval_seconds, on_failed_proof=FailedProof(on_failed_proof))
    except ValueError as error:
        raise typer.BadParameter(
            f"got {interval_seconds:g}, want more than 0 seconds, not for ever", param_hint="--proof-every"
        ) from error
