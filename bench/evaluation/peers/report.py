"""What the report says of peers."""

from __future__ import annotations

from typing import Final

from bench.evaluation.chapter import Chapter, across_table, ratio_table, seconds_table
from bench.evaluation.runs import Runs

OVER_THEIRS: Final = "ours over go-sev-guest"
WARM_START: Final = "warm start over a fresh process"
OVER_WARM: Final = "warm start over a fresh process of what was compiled before"


def chapter(runs: Runs) -> Chapter:
    """Return the class's part of the report."""
    return Chapter(
        title="Peers",
        paragraphs=(
            "Reports of a made-up chip are verified and appraised by this project and by go-sev-guest, the same bytes. "
            "Ours has seen the chip before; go-sev-guest keeps nothing between two reports.",
            "A run is started in two ways: the paper's own, a fresh process that compiles the component every time, "
            "and the runtime's, which compiled it when it was admitted. The work itself is next to nothing.",
            "Beside them is a fresh process that loads what was compiled before. It is what whole runs of the runtime "
            "are held against everywhere else, so that its start is in all of those ratios.",
        ),
        parts=(
            ratio_table(runs, "peers", "All ratios"),
            *across_table(runs, "peers"),
            *(seconds_table(run, "peers", f"Times ({run.label})") for run in runs.each),
        ),
        conclusions=(
            "What compiling costs grows with the component, and what a warm start costs does not. The runtime's start "
            "has its walls in it; the fresh process has none.",
        ),
    )
