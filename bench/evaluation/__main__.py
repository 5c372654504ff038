"""`make evaluation`: measure, keep the samples as JSON, and make the report of them.

python -m bench.evaluation run [--reduced] [--label snp] [--only CLASS ...]    measures, then makes the report
python -m bench.evaluation again [--label snp] [WORKLOAD ...]                  measures these again, or the disturbed
python -m bench.evaluation report                                              makes it again of what was measured
python -m bench.evaluation table [--readme]                                    the main table, as README has it
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from . import classes, judge, load, machine, record, table
from .build import BUILT, ROOT
from .measure import build, measure
from .model import Plan
from .report.page import page
from .runs import Measured, Run, Runs

LABELS: Final = ("plain", "snp")
README: Final = ROOT / "README.md"


def main() -> int:
    """Do what the command line says; 1 where a result differs or something failed, 2 where it cannot be done."""
    arguments = _arguments()
    try:
        return _done(arguments)
    except record.UnreadableError as error:
        print(error, file=sys.stderr)
        return 2


def _done(arguments: argparse.Namespace) -> int:
    if arguments.command == "run":
        return _run(arguments)
    if arguments.command == "again":
        return _again(arguments)
    runs = _read(arguments.out)
    if not runs.each:
        print(f"nothing was measured yet: {arguments.out} has no plain.json", file=sys.stderr)
        return 2
    if arguments.command == "report":
        _report(runs, arguments.out)
        return 0
    return _table(runs, README if arguments.readme else None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=BUILT, help="the folder of results (default: build/evaluation)")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, then make the report")
    run.add_argument("--reduced", action="store_true", help="small, into a folder of its own: three minutes, two cores")
    run.add_argument("--label", choices=LABELS, default="plain", help="which columns are filled")
    run.add_argument("--only", nargs="+", choices=classes.NAMES, default=classes.NAMES, help="these classes")
    again = commands.add_parser("again", help="measure workloads of a whole run again, and put them in their places")
    again.add_argument("--label", choices=LABELS, default="plain", help="of which run")
    again.add_argument("names", nargs="*", metavar="WORKLOAD", help="default: what was disturbed or is missing")
    commands.add_parser("report", help="make the report again of what was measured")
    table_command = commands.add_parser("table", help="the main table, in Markdown")
    table_command.add_argument("--readme", action="store_true", help="put it into README.md")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> int:
    if arguments.label == "snp" and not machine.is_snp_guest():
        print("--label snp: this machine is no SEV-SNP guest, so that nothing it measures is of one", file=sys.stderr)
        return 2
    out = arguments.out / "reduced" if arguments.reduced else arguments.out
    path = out / f"{arguments.label}.json"
    # An hour's measuring has a place before it begins, and takes the place of none that measured more.
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"--out {out}: {error.strerror}", file=sys.stderr)
        return 2
    if lost := _lost(path, arguments.only):
        wanted = "`again` measures workloads of it, another --out keeps it"
        print(f"{path} has {', '.join(lost)}, too, which would be lost: {wanted}", file=sys.stderr)
        return 2
    described = {**machine.describe(), "commit": _commit(), "load_before": load.averages()}
    started = _now()
    workloads = tuple(_measured(arguments.only, Plan(reduced=arguments.reduced)))
    run = Run(
        label=arguments.label,
        reduced=arguments.reduced,
        started=started,
        ended=_now(),
        machine={**described, "load_after": load.averages()},
        workloads=workloads,
    )
    record.write(run, path)
    _report(_read(out), out)
    return ending(run)


def _lost(path: Path, only: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of a run at rest that one of these classes would take away."""
    if set(only) == set(classes.NAMES) or not path.exists():
        return ()
    kept = record.read(path)
    return tuple(name for name in classes.NAMES if name not in only and kept.of_class(name))


def _again(arguments: argparse.Namespace) -> int:
    path: Path = arguments.out / f"{arguments.label}.json"
    if not path.exists():
        print(f"there is no run of which to measure anything again: {path}", file=sys.stderr)
        return 2
    run = record.read(path)
    if run.machine["cpu"] != machine.cpu():
        print(f"the run is of another processor: {run.machine['cpu']}", file=sys.stderr)
        return 2
    plan = Plan(reduced=run.reduced)
    offered = [each.name for name in classes.NAMES if run.of_class(name) for each in classes.load(name).workloads(plan)]
    names = arguments.names or [name for name in offered if judge.disturbed(run.workload(name))]
    if unknown := set(names) - set(offered):
        print(f"there is no {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    touched = tuple(each for each in classes.NAMES if any(name.startswith(f"{each}/") for name in names))
    found = {each.name: each for each in _measured(touched, plan, names)}
    when = f"{_now()}, at commit {_commit()}"
    # What is measured no more is not kept, so that all that there is was measured as it is described.
    there = (replace(found[name], again=when) if name in found else run.workload(name) for name in offered)
    run = replace(run, workloads=tuple(each for each in there if each))
    record.write(run, path)
    _report(_read(arguments.out), arguments.out)
    return ending(run)


def ending(run: Run) -> int:
    """Say how many ratios are told; 1 where something failed or computed another result."""
    judged = [verdict for each in run.workloads for verdict in judge.verdicts(each)]
    print(f"{sum(verdict.figure is not None for verdict in judged)} of {len(judged)} ratios are told")
    wrong = {why for each in run.workloads for index in range(len(each.steps)) for why in judge.differing(each, index)}
    wrong |= {
        f"{each.title}: {column.configuration.title} failed: {column.empty}"
        for each in run.workloads
        for column in each.columns
        if column.failed
    }
    for why in sorted(wrong):
        print(why, file=sys.stderr)
    return 1 if wrong else 0


def _table(runs: Runs, readme: Path | None) -> int:
    try:
        made = table.markdown(runs)
        if readme is None:
            print(made, end="")
        else:
            table.into(readme, made)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _measured(names: tuple[str, ...], plan: Plan, wanted: Sequence[str] = ()) -> Iterator[Measured]:
    """Measure these classes, or of them the workloads that are wanted."""
    for name in names:
        workloads = tuple(each for each in classes.load(name).workloads(plan) if not wanted or each.name in wanted)
        build(workloads)
        for workload in workloads:
            began = time.monotonic()
            measured = measure(workload, plan)
            print(f"-- {measured.title} ({time.monotonic() - began:.0f} s)", flush=True)
            for verdict in judge.verdicts(measured):
                figure = f"{verdict.figure.median:7.3f}" if verdict.figure else f"none: {verdict.reasons[0]}"
                print(f"   {verdict.comparison.step}: {verdict.comparison.name:36} {figure}", flush=True)
            yield measured


def _report(runs: Runs, out: Path) -> None:
    path = out / "report.html"
    there = [name for name in classes.NAMES if any(run.of_class(name) for run in runs.each)]
    path.write_text(page(runs, (classes.load(name).chapter(runs) for name in there)))
    print(path)


def _read(out: Path) -> Runs:
    plain, snp = (record.read(path) if (path := out / f"{label}.json").exists() else None for label in LABELS)
    return Runs(plain=plain, snp=snp)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _commit(root: Path = ROOT) -> str:
    """Return what is measured: 40 hex digits, and `-dirty` where files differ from that commit."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return ended.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
