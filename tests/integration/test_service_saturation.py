"""Replicas of the verifier service at saturation, with failures in the middle; `make saturation` is the long form."""

from __future__ import annotations

import shutil

import pytest
from tests.support.saturation import saturate

SECONDS = 6.0


@pytest.mark.skipif(not shutil.which("haproxy"), reason="needs haproxy")
def test_replicas_at_saturation_lose_nothing(tmp_path, monkeypatch):
    """A replica is killed, the Redis stops: no nonce is good twice, no verdict wrong, and all is well in the end."""
    # Where every process counts its lines, that is most of what they do.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    happened: list[str] = []
    outcome = saturate(tmp_path, seconds=SECONDS, processes=2, threads=6, report=happened.append)
    assert outcome.wrong == ()
    assert len(happened) == 5
    tally = outcome.tally
    # There were enough of each for this to mean something, and a session answered by both replicas had one winner.
    assert min(tally.verdicts["warning"], tally.verdicts["contraindicated"]) > 10
    assert sum(tally.verdicts.values()) == len(tally.accepted)
    assert tally.answers["race", 409, "SESSION_SPENT"]
    assert sum(count for (what, status, _), count in tally.answers.items() if (what, status) == ("open", 503))
    # What the killed replica had is answered, too: no connection to the front ended without a word.
    assert {what for what, _ in tally.broken} <= {"race"}
