"""What is compared with has a Python of its own, or its columns say why not."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from bench.evaluation import extras
from bench.evaluation.elsewhere import serving
from bench.evaluation.extras import OPENFHE, PEERS, Extra
from bench.evaluation.model import FailedError, MissingError
from bench.evaluation.process import Served

ANSWERS = """
import sys
from bench.evaluation.elsewhere.serving import serve
serve(lambda request: ((lambda a: lambda: a + 1)(request["a"]), lambda result: (f"{result:04x}", float(result))))
"""


@pytest.fixture(autouse=True)
def _built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "BUILT", tmp_path / "built")


def _extra(path: Path, text: str, version: str = "") -> Extra:
    path.write_text(text)
    return Extra(title="a thing", requirements=path, version=version)


def test_nothing_is_fetched_without_leave() -> None:
    """A run that may not fetch says so."""
    with pytest.raises(MissingError, match="not fetched yet"):
        extras.python(PEERS, fetches=False)


def test_python_that_is_not_here_is_named(tmp_path: Path) -> None:
    """A wheel for one CPython alone needs that one."""
    with pytest.raises(MissingError, match=r"loads in CPython 2\.0 alone"):
        extras.python(_extra(tmp_path / "r.txt", "", "2.0"), fetches=True)


def test_packages_without_digests_are_refused(tmp_path: Path) -> None:
    """What is not locked is not installed, and the next attempt begins anew."""
    it = _extra(tmp_path / "r.txt", "a-thing==1\n")
    for _ in range(2):
        with pytest.raises(MissingError, match="a thing: could not be installed"):
            extras.python(it, fetches=True)


def test_python_is_made_once(tmp_path: Path) -> None:
    """It is an interpreter, and there again without leave to fetch."""
    it = _extra(tmp_path / "r.txt", "", f"{sys.version_info.major}.{sys.version_info.minor}")
    made = extras.python(it, fetches=True)
    assert made.is_file()
    assert extras.python(it, fetches=False) == made


@pytest.mark.parametrize("extra", [PEERS, OPENFHE])
def test_each_package_is_locked(extra: Extra) -> None:
    """Every requirement has a version and at least one digest."""
    text = re.sub(r"^\s*#.*\n", "", extra.requirements.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    packages = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert packages
    assert all(re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line) for line in packages)


def test_what_is_served_is_timed() -> None:
    """The other Python answers as the host does: clocks, digest and value."""
    served = Served([sys.executable, "-c", ANSWERS], {"a": 0x0F})
    for _ in range(2):
        (timing,) = served.sample()
        assert (timing.digest, timing.value) == ("0010", 16.0)
        assert timing.seconds > 0
    served.close()


def test_what_fails_elsewhere_is_told() -> None:
    """Its last words are the reason."""
    with pytest.raises(FailedError, match="KeyError: 'a'"):
        Served([sys.executable, "-c", ANSWERS], {"b": 1})


def test_serving_imports_nothing_of_the_product() -> None:
    """The programs elsewhere run where none of this project's packages are."""
    for path in Path(serving.__file__).parent.glob("*.py"):
        assert "twocvm" not in path.read_text(), path
