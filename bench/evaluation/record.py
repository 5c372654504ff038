"""A run as JSON and back: `record.schema.json` says what it has, and nothing is written or read that is not of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from .judge import verdicts
from .model import Comparison, Configuration, Step, Timing
from .runs import Column, Measured, Run

SCHEMA: Final = "twocvm/evaluation/v1"
_SCHEMA_FILE: Final = Path(__file__).with_name("record.schema.json")
_TIMING: Final = ("start_ns", "end_ns", "wall_start_ns", "wall_end_ns", "cpu_ns", "digest", "value")


class UnreadableError(ValueError):
    """A file is no run that this version wrote."""


def write(run: Run, path: Path) -> None:
    """Write a run; what is there already is replaced at once or not at all.

    Raises:
        ValueError: It is not of the schema.
    """
    document = to_json(run)
    _validator().validate(document)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    partial.replace(path)


def read(path: Path) -> Run:
    """Read a run.

    Raises:
        UnreadableError: It is not of the schema.
    """
    try:
        document = json.loads(path.read_bytes())
        _validator().validate(document)
    except ValueError as error:
        raise UnreadableError(f"{path} is no run that this version wrote: {str(error).splitlines()[0]}") from error
    return from_json(document)


def to_json(run: Run) -> dict[str, Any]:
    """Return the document; the ratios in it follow from the samples, and are there for who reads it by eye."""
    return {
        "schema": SCHEMA,
        "label": run.label,
        "reduced": run.reduced,
        "started": run.started,
        "ended": run.ended,
        "machine": dict(run.machine),
        "timing": list(_TIMING),
        "workloads": [_workload(each) for each in run.workloads],
    }


def from_json(document: Mapping[str, Any]) -> Run:
    """Return the run that a document of the schema holds."""
    return Run(
        label=document["label"],
        reduced=document["reduced"],
        started=document["started"],
        ended=document["ended"],
        machine=document["machine"],
        workloads=tuple(_measured(each) for each in document["workloads"]),
    )


def _workload(measured: Measured) -> dict[str, Any]:
    return {
        "name": measured.name,
        "title": measured.title,
        "steps": [asdict(step) for step in measured.steps],
        "tolerance": measured.tolerance,
        "busy": measured.busy,
        "others": measured.others,
        "again": measured.again,
        "columns": [_column(each) for each in measured.columns],
        "comparisons": [asdict(each) | {"of": list(each.of), "over": list(each.over)} for each in measured.comparisons],
        "ratios": [
            {
                "name": each.comparison.name,
                "of": each.of,
                "over": each.over,
                "figure": asdict(each.figure) if each.figure else None,
                "reasons": list(each.reasons),
            }
            for each in verdicts(measured)
        ],
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "configuration": asdict(column.configuration),
        "files": dict(column.files),
        "empty": column.empty,
        "failed": column.failed,
        "conditions": dict(column.conditions),
        "samples": [[[getattr(each, name) for name in _TIMING] for each in sample] for sample in column.samples],
    }


def _measured(document: Mapping[str, Any]) -> Measured:
    return Measured(
        name=document["name"],
        title=document["title"],
        steps=tuple(Step(**each) for each in document["steps"]),
        comparisons=tuple(
            Comparison(**each | {"of": tuple(each["of"]), "over": tuple(each["over"])})
            for each in document["comparisons"]
        ),
        columns=tuple(
            Column(
                configuration=Configuration(**each["configuration"]),
                files=each["files"],
                empty=each["empty"],
                failed=each["failed"],
                conditions=each.get("conditions", {}),
                samples=tuple(
                    tuple(Timing(**dict(zip(_TIMING, timing, strict=True))) for timing in sample)
                    for sample in each["samples"]
                ),
            )
            for each in document["columns"]
        ),
        tolerance=document["tolerance"],
        busy=document["busy"],
        others=document["others"],
        again=document.get("again", ""),
    )


def _validator() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads(_SCHEMA_FILE.read_bytes()))
