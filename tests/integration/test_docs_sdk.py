"""The program in `docs/sdk.md`, executed as it stands there."""

import json
import re
import time
from pathlib import Path

import pytest
from joserfc.jwk import ECKey
from tests.support.guest import LiveGuest
from tests.support.manifests import World, set_at
from tests.support.sides import Side, sides, together

DOCUMENT = Path(__file__).parents[2] / "docs" / "sdk.md"


def _long_lived(document) -> None:
    # The program judges by the machine's own clock.
    set_at(document, "/not_after", "2100-01-01T00:00:00Z")


def _release_once_locked(side: Side) -> None:
    while side.guest.state == "unlocked":
        time.sleep(0.01)
    side.release()


def test_the_program_in_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of the page, one after the other, are a whole session of one participant."""
    program = "\n".join(re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL))
    with LiveGuest(World(edit=_long_lived)) as guest:
        everybody = sides(guest, tmp_path)
        me = everybody.pop("hospital-a")
        (tmp_path / "manifest.json").write_bytes(guest.world.raw)
        (tmp_path / "policy.toml").write_text('max_crl_age_seconds = { unchecked = "this test has no CRL" }')
        (tmp_path / "root.pem").write_bytes(guest.platform.root_pem)
        key = ECKey.generate_key("P-256").as_dict(private=False)
        (tmp_path / "verifier-keys.json").write_text(json.dumps({"keys": [key]}))
        (tmp_path / "records-a.csv").write_bytes(me.files["records-a"].read_bytes())
        (tmp_path / "consents").mkdir()
        for consent in guest.world.consents():
            (tmp_path / "consents" / f"{consent.body.participant}.json").write_bytes(consent.to_bytes())
        monkeypatch.chdir(tmp_path)
        with together(*(lambda side=side: _release_once_locked(side) for side in everybody.values())):
            exec(compile(program, str(DOCUMENT), "exec"), {"url": guest.url})  # noqa: S102 - our own documentation
    assert (tmp_path / "evaluation").read_bytes() == b"evalu"
    assert (tmp_path / "receipt.json").stat().st_size > 1000
