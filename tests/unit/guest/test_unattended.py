"""The guest as the image starts it: what it asks for and says, and how it ends; a booted image shows that it serves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from twocvm_guest import unattended
from twocvm_verifier.errors import TwoCvmError, UnsupportedError

FACTS = {"listen": "https://0.0.0.0:8443", "platform": "simulated"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the guest is made of, instead of a guest."""
    made: dict[str, object] = {}

    def new_guest(attester: object, isolation: object, **options: object) -> str:
        made.update(attester=attester, **options)
        return "guest"

    def run(guest: str, *, on_ready: Callable[[Mapping[str, str]], None]) -> None:
        made["guest"] = guest
        on_ready(FACTS)

    complete = SimpleNamespace(require_complete=lambda: made.setdefault("isolation", "complete"))
    platform = SimpleNamespace(root_pem=b"PEM", close=lambda: made.setdefault("closed", True))
    monkeypatch.setattr(unattended, "probe", lambda: complete)
    monkeypatch.setattr(unattended, "open_any", lambda: platform)
    monkeypatch.setattr(unattended.SimulatedPlatform, "create", lambda **_: platform)
    monkeypatch.setattr(unattended, "new_guest", new_guest)
    monkeypatch.setattr(unattended, "run_to_its_end", run)
    return made


def test_it_takes_whatever_device_is_there(asked: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    """All isolation is demanded, it listens everywhere, says one line, and lets the device go at its end."""
    unattended.main("8443")
    assert json.loads(capsys.readouterr().out) == FACTS
    assert (asked["isolation"], asked["port"], asked["closed"]) == ("complete", 8443, True)
    assert asked["host"] == unattended._EVERYWHERE


def test_it_simulates_where_it_is_told_a_place_for_the_root(asked: dict[str, object], tmp_path: Path) -> None:
    """The root of the simulated platform is written before anything else is begun."""
    unattended.main("1", str(tmp_path / "root.pem"))
    assert (tmp_path / "root.pem").read_bytes() == b"PEM"
    assert asked["port"] == 1
    assert "closed" not in asked


@pytest.mark.parametrize(
    ("error", "status"),
    [(UnsupportedError("ISOLATION_INCOMPLETE", "no"), 20), (OSError(98, "address in use"), 1)],
)
@pytest.mark.usefixtures("asked")
def test_its_end_is_the_table_of_codes(
    monkeypatch: pytest.MonkeyPatch, error: TwoCvmError | OSError, status: int
) -> None:
    """Whoever started it learns by the status what was refused."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(unattended, "probe", fail)
    with pytest.raises(SystemExit) as ended:
        unattended.main("8443")
    assert ended.value.code == status
