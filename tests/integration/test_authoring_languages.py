"""Python and JavaScript: from a new folder to an output, once each, where their tools are installed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from twocvm_guest.authoring.build import build
from twocvm_guest.authoring.language import Language, require_tool
from twocvm_guest.main import run
from twocvm_verifier.errors import UnsupportedError

ROOT = Path(__file__).parents[2]
SPREAD = ROOT / "examples" / "components" / "spread"
# Where CI puts what an author's `npm install` would put beside the component.
NODE_MODULES = ROOT / "build" / "js" / "node_modules"

RUN = "wasi:cli/run@0.2.0"
PYTHON_IMPORTS = ("cli/stderr", "filesystem/preopens", "filesystem/types", "io/error", "io/streams")
JS_IMPORTS = (
    *("cli/stderr", "cli/stdin", "cli/stdout", "cli/terminal-input", "cli/terminal-output", "cli/terminal-stderr"),
    *("cli/terminal-stdin", "cli/terminal-stdout", "clocks/wall-clock", "filesystem/preopens", "filesystem/types"),
    *("io/error", "io/poll", "io/streams"),
)


def needs(language: Language, folder: Path) -> None:
    """Skip, visibly, where the tool of a language is not installed."""
    try:
        require_tool(language, folder)
    except UnsupportedError as error:
        pytest.skip(str(error))


def fixed(manifest: str, component: bytes, imports: tuple[str, ...], exports: tuple[str, ...]) -> str:
    """A draft with its component fixed, so that the engine compiles it once: that takes ten seconds."""
    digest = hashlib.sha256(component).hexdigest()
    lines = f'sha256 = "{digest}"\nprofile = "files"\nentry = "{RUN}"\n'
    lines += f"imports = {list(imports)}\nexports = {list(exports)}\n"
    head, table, rest = manifest.replace('profile = "files"\n', "").partition("[[components]]\n")
    return head + table + lines + rest


@pytest.mark.timeout(400)
def test_javascript_from_nothing_to_a_run(tmp_path, monkeypatch, capsys):
    """A new folder in JavaScript builds, is admitted, computes, and says something to its author."""
    monkeypatch.chdir(tmp_path)
    assert run(["component", "new", "part", "--lang", "js"]) == 0
    (tmp_path / "part" / "node_modules").symlink_to(NODE_MODULES)
    needs(Language.JS, tmp_path / "part")
    assert run(["component", "build", "part"]) == 0
    folder = tmp_path / "part"
    imports = tuple(f"wasi:{name}@0.2.12" for name in JS_IMPORTS)
    built = fixed((folder / "manifest.toml").read_text(), (folder / "part.wasm").read_bytes(), imports, (RUN,))
    (folder / "manifest.toml").write_text(built)
    capsys.readouterr()
    assert run(["run", "--local", "part/manifest.toml", "--out", "out", "--data", "numbers=part/numbers.csv"]) == 0
    assert json.loads((tmp_path / "out" / "summary").read_text()) == {"count": 6, "sum": 23}
    assert "  | 6 numbers" in capsys.readouterr().out


@pytest.mark.timeout(400)
def test_the_example_in_python_is_what_numpy_computes(tmp_path, monkeypatch, capsys):
    """The example builds and is admitted, and its quartiles and deviation are numpy's."""
    needs(Language.PYTHON, tmp_path)
    monkeypatch.chdir(tmp_path)
    component = build(SPREAD)
    (tmp_path / "spread.wasm").write_bytes(component)
    imports = tuple(f"wasi:{name}@0.2.0" for name in PYTHON_IMPORTS)
    draft = (SPREAD / "manifest.toml").read_text()
    (tmp_path / "manifest.toml").write_text(fixed(draft, component, imports, ("exports", RUN)))
    sides = [SPREAD / "clinic-a.csv", SPREAD / "clinic-b.csv"]
    data = ["--data", f"waits-a={sides[0]}", "--data", f"waits-b={sides[1]}"]
    assert run(["run", "--local", "manifest.toml", "--out", "out", *data]) == 0
    assert "  | 400 numbers" in capsys.readouterr().out
    numbers = np.concatenate([np.loadtxt(side, skiprows=1) for side in sides])
    found = json.loads((tmp_path / "out" / "spread").read_text())
    low, median, high = np.percentile(numbers, [25, 50, 75])
    expected = {
        "count": len(numbers),
        "lower_quartile": low,
        "median": median,
        "upper_quartile": high,
        "standard_deviation": numbers.std(ddof=1),
    }
    assert found == pytest.approx(expected)
