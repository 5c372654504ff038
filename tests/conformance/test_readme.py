"""What the README shows is what the commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from twocvm_guest.demo.agreement import write_manifest
from twocvm_guest.demo.cast import CAST
from twocvm_guest.main import run
from twocvm_sdk import Identity
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.codes import CODES
from twocvm_verifier.manifest.explain import explain, lines

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.S)


def test_the_appraisal_is_as_shown(capsys, monkeypatch):
    """The README's command on genuine evidence prints the lines shown, and ends with the status shown."""
    [block] = [text for kind, text in BLOCKS if kind == "console" and "twocvm appraise" in text]
    command, _, shown = block.partition("\n")
    monkeypatch.chdir(ROOT)
    status = run(shlex.split(command)[2:])
    printed = capsys.readouterr().out.splitlines()
    expected, _, rest = shown.partition("...\n")
    first, *lines = expected.splitlines()
    assert printed[0].partition("judged at")[0] == first.partition("judged at")[0]
    assert printed[1 : 1 + len(lines)] == lines
    assert rest.splitlines() == ["$ echo $?", str(status)]


def test_the_demo_has_the_steps_shown():
    """Every step of the README's shortened demo has its words in the demo's own source."""
    [shown] = [text for kind, text in BLOCKS if kind == "text" and "\n12  " in text]
    steps = re.findall(r"^ ?\d+  (.+)$", shown, re.M)
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "guest/twocvm_guest/demo").glob("*.py"))
    assert len(steps) == 12
    # The guest's kind, a process or a machine, stands elsewhere than the step that names it.
    assert [step for step in steps if not all(part in source for part in step.split(", in "))] == []


def test_the_coalition_is_explained_as_shown(tmp_path):
    """The README's lines of `manifest explain` are what it says of the demo's own manifest."""
    [shown] = [text for kind, text in BLOCKS if kind == "text" and "manifest explain" in text]
    identities = {role.name: Identity.new(tmp_path / role.name, role.name) for role in CAST}
    manifest = write_manifest(ROOT / "examples/demo", identities, measurement=bytes(48), at=SystemClock().now())
    explained = lines(explain(manifest, me="hospital-b", companions=("analytics",), host=False))
    assert [line for line in shown.splitlines()[1:] if line not in explained] == []


def test_every_exit_status_is_explained():
    """The README's list of exit statuses has every status that a code can give."""
    listed = {int(number) for number in re.findall(r"`(\d+)` [a-z]", README.partition("## Exit status")[2])}
    assert {code.exit_status for code in CODES.values()} <= listed | {1}


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_link_leads_somewhere(target):
    """Files and folders that the README links to exist."""
    assert (ROOT / target).exists()
