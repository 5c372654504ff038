"""The notebook in `examples/`, executed from its first cell to its last in a kernel of this environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from twocvm_verifier.codes import CODES

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook" / "session.ipynb"


class _ThisPython(AsyncKernelManager):
    """A kernel in this environment, whatever kernels the machine knows."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """This interpreter."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def _outputs(notebook: Any, kind: str) -> list[str]:
    return [
        output["data"][kind]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if kind in output.get("data", {})
    ]


@pytest.fixture(scope="module")
def notebook() -> Any:
    """The notebook as it is committed."""
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_committed_without_outputs(notebook: Any) -> None:
    """What a notebook shows is made by whoever runs it."""
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_a_whole_session(notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs to its end, and the session, its appraisal and the receipt have shown themselves."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    client = NotebookClient(notebook, timeout=60, kernel_manager_class=_ThisPython, resources={})
    client.execute(cwd=str(tmp_path))
    shown = _outputs(notebook, "text/html")
    assert len(shown) == 3
    assert "SIMULATED PLATFORM" in shown[0]
    assert "session of hospital-a" in shown[1]
    assert "receipt of hospital-a: completed" in shown[2]
    text = "".join(output.text for cell in notebook.cells for output in cell.get("outputs", ()) if "text" in output)
    assert CODES["CHAIN_ROOT_UNKNOWN"].meaning in text
