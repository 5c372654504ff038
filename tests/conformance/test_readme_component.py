"""The README's five commands lead a new author from nothing to a run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from twocvm_guest.authoring.language import COMPONENTIZE_JS, COMPONENTIZE_PY, Language, require_tool
from twocvm_guest.main import run
from twocvm_verifier.errors import UnsupportedError

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Write a component")[2].partition("\n## ")[0]
[BLOCK] = re.findall(r"```console\n(.*?)```", SECTION, re.S)


def steps() -> list[tuple[list[str], list[str]]]:
    """Each command of the README, and the lines that it shows."""
    found: list[tuple[list[str], list[str]]] = []
    for line in BLOCK.splitlines():
        if line.startswith("$ "):
            found.append((shlex.split(line[2:]), []))
        else:
            found[-1][1].append(line)
    return found


def test_the_first_command_installs_what_is_pinned():
    """What the README, the guide and CI install is the version that builds are made with."""
    (install, _), *_ = steps()
    assert " ".join(install) == Language.C.setup
    pins = (ROOT / "tools" / "components" / "requirements.txt").read_text(encoding="utf-8")
    guide = (ROOT / "docs" / "components.md").read_text(encoding="utf-8")
    for setup in (Language.C.setup, Language.PYTHON.setup):
        assert setup.removeprefix("pip install ") in pins
        assert setup in guide
    assert f"componentize-js@{COMPONENTIZE_JS}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert COMPONENTIZE_PY in guide


def test_the_other_four_do_what_they_show(tmp_path, monkeypatch, capsys):
    """From an empty folder to an output, with the lines that the README shows."""
    try:
        require_tool(Language.C, tmp_path)
    except UnsupportedError as error:
        pytest.skip(str(error))
    monkeypatch.chdir(tmp_path)
    _, *others = steps()
    assert len(others) == 4
    for (_, *arguments), shown in others:
        assert run(arguments) == 0
        printed = capsys.readouterr().out.splitlines()
        first, _, rest = "\n".join(shown).partition("\n...\n")
        assert printed[: first.count("\n") + 1] == first.splitlines() or not shown
        assert printed[-1:] == rest.splitlines() or not rest
    assert json.loads((tmp_path / "out" / "summary").read_text()) == {"count": 6, "sum": 23}
    # What the folder's own README ends with.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    own = subprocess.run([sys.executable, "my-sum/test_component.py"], capture_output=True, check=True)
    assert own.stdout.endswith(b"right\n")
