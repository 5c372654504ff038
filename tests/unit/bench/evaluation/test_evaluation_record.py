"""A run is kept as it was measured, and nothing else passes for one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from bench.evaluation import record, table
from bench.evaluation.__main__ import _commit
from bench.evaluation.runs import Runs
from tests.support.evaluations import absent, column, measured, run


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Every sample, digest and reason comes back; what follows from them stands beside."""
    whole = run(measured({"gcc": [1.0, 1.1], "wasm": [2.0, 2.1]}, columns=(absent("clang", "not here"),)))
    over = replace(column("mpyc", [1.0]), conditions={"round_trip_ms": 20.25, "packets": 7.0})
    later = replace(measured(columns=(over,)), again="later, at commit 00")
    whole = replace(whole, workloads=(*whole.workloads, later))
    record.write(whole, tmp_path / "plain.json")
    assert record.read(tmp_path / "plain.json") == whole
    document = json.loads((tmp_path / "plain.json").read_bytes())
    assert document["workloads"][0]["ratios"][0]["figure"]["least"] == 2.0
    assert [each["empty"] for each in document["workloads"][0]["columns"]] == ["", "", "not here"]
    # What was written before there was a second time for anything, or a link was measured, has none.
    del document["workloads"][1]["again"]
    del document["workloads"][1]["columns"][0]["conditions"]
    (tmp_path / "plain.json").write_text(json.dumps(document))
    read = record.read(tmp_path / "plain.json").workloads[1]
    assert (read.again, read.columns[0].conditions) == ("", {})


def test_changes_since_the_commit_are_told(tmp_path: Path) -> None:
    """A commit is named as what was measured only where nothing was changed since; the table says it too."""
    if shutil.which("git") is None:
        pytest.skip("git is not here")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "file").write_text("one")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "first"], ["tag", "v1"]):
        subprocess.run([*git, *command], check=True)
    clean = _commit(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}", clean)
    (tmp_path / "file").write_text("two")
    assert _commit(tmp_path) == f"{clean}-dirty"
    for commit, said in ((clean, f"{clean[:12]}."), (f"{clean}-dirty", f"{clean[:12]} with changes.")):
        assert f"at commit {said}" in table.markdown(Runs(plain=run(commit=commit), snp=None))


@pytest.mark.parametrize(
    "change",
    [
        {"label": "other"},
        {"workloads": [{"name": "x"}]},
        {"started": "yesterday"},
        {"more": 1},
        {"machine": {}},
    ],
)
def test_what_is_no_run_is_neither_written_nor_read(tmp_path: Path, change: dict[str, object]) -> None:
    """The schema decides."""
    document = record.to_json(run(measured({"gcc": [1.0]}))) | change
    path = tmp_path / "plain.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r".+"):
        record.read(path)
    with pytest.raises(ValueError, match=r".+"):
        record.write(run(measured({"gcc": [1.0]}), label="other"), path)
