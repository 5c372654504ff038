"""What the demo comes to: who could learn what, what left for whom, how long it took, and what nobody promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from .agreement import Reach
from .member import Received, Refused
from .show import Phase

# What holds of any run; what is particular to this one is added from its evidence.
NOT_PROTECTED: Final = (
    "The platform is SIMULATED: its root was made by the guest itself a moment ago. On this machine nothing is "
    "protected from whoever runs it.",
    "What a recipient can compute from its own output: the model says something about the patients it was fitted on.",
    "Sizes, times and the length of the run, which the host sees; whether it succeeded, which everybody sees.",
    "Availability: a host can end a run, or keep its result from anybody.",
    "Side channels of the hardware, and whoever can open the machine.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the summary for people: a title, and sentences below it."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The end of one demo.

    Attributes:
        manifest_hash: The manifest that was in force (32 bytes).
        report_id: The launch that all three verified (32 bytes).
        outcome: How the run ended.
        reaches: What each item of data can reach, by the manifest.
        received: Every output that left, for whom.
        refused: What was asked for and not given.
        receipts: Who has a verified receipt.
        evaluation: What the hospitals got to read.
        unchecked: What the policy did not check, each with its reason.
        warnings: What the guest said of its platform and of this machine.
        phases: How long each part took.
    """

    manifest_hash: bytes
    report_id: bytes
    outcome: str
    reaches: tuple[Reach, ...]
    received: tuple[Received, ...]
    refused: tuple[Refused, ...]
    receipts: tuple[str, ...]
    evaluation: Mapping[str, float]
    unchecked: tuple[str, ...]
    warnings: tuple[str, ...]
    phases: tuple[Phase, ...]

    @property
    def not_protected(self) -> tuple[str, ...]:
        """Everything that this run does not promise."""
        unchecked = (f"Not checked: {reason}" for reason in self.unchecked)
        said = (f"The guest says: {warning}" for warning in self.warnings)
        return (*NOT_PROTECTED, *unchecked, *said)

    def to_json(self) -> dict[str, object]:
        """Return the summary for programs."""
        return {
            "schema": "twocvm/demo/v1",
            "platform": "simulated",
            "secure": False,
            "manifest": self.manifest_hash.hex(),
            "report_id": self.report_id.hex(),
            "outcome": self.outcome,
            "reaches": [
                {"item": reach.item, "owner": reach.owner, "outputs": {k: list(v) for k, v in reach.outputs.items()}}
                for reach in self.reaches
            ],
            "received": [
                {"output": each.output, "recipient": each.recipient, "bytes": each.size_bytes} for each in self.received
            ],
            "refused": [{"who": each.who, "output": each.output, "code": each.code} for each in self.refused],
            "receipts": list(self.receipts),
            "evaluation": dict(self.evaluation),
            "phases": [{"title": phase.title, "milliseconds": round(1000 * phase.seconds)} for phase in self.phases],
            "not_protected": list(self.not_protected),
        }

    def sections(self) -> Iterator[Section]:
        """Yield the summary for people."""
        refused = (f"{each.who:10}  {each.output:10}  {each.code}" for each in self.refused)
        yield Section(title="who could learn what", lines=tuple(map(_reach_line, self.reaches)))
        yield Section(title="what left the guest, and for whom", lines=tuple(self._left()))
        yield Section(title="what was asked for and refused", lines=tuple(refused))
        yield Section(title="how long it took", lines=tuple(self._times()))
        yield Section(title="what is NOT protected", lines=self.not_protected)
        yield Section(title="the result, which the hospitals can read", lines=tuple(self._result()))

    def _left(self) -> Iterator[str]:
        for name in dict.fromkeys(each.output for each in self.received):
            copies = [each for each in self.received if each.output == name]
            yield f"{name:10}  {copies[0].size_bytes:5} bytes  for {', '.join(each.recipient for each in copies)}"
        yield f"a receipt for each of {', '.join(self.receipts)}, verified again from its file alone"

    def _times(self) -> Iterator[str]:
        width = max(len(phase.title) for phase in self.phases)
        for phase in self.phases:
            yield f"{phase.title:{width}}  {phase.seconds:6.2f} s"
        yield f"{'together':{width}}  {sum(phase.seconds for phase in self.phases):6.2f} s"

    def _result(self) -> Iterator[str]:
        values = self.evaluation
        yield (
            f"accuracy {values['accuracy']:.4f}, area under the curve {values['auc']:.4f}, on {values['evaluated_on']} "
            f"patients that the model had not seen ({values['fitted_on']} it had)"
        )


def _reach_line(reach: Reach) -> str:
    outputs = "; ".join(f"{name} for {', '.join(recipients)}" for name, recipients in reach.outputs.items())
    return f"{reach.item} of {reach.owner}: {outputs or 'nobody'}; and nothing else, whatever the components do"
