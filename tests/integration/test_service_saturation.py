"""Replicas of the verifier service at saturation, with failures in the middle; `make saturation` is the long form."""

from __future__ import annotations

import shutil

import pytest
from tests.support.saturation import saturate

SECONDS = 6.0


@pytest.mark.skipif(not shutil.which("haproxy"), reason="needs haproxy")
def test_replicas_at_saturation_lose_nothing(tmp_path):
    """A replica is killed, the Redis stops: no nonce is good twice, no verdict wrong, and all is well in the end."""
    happened: list[str] = []
    outcome = saturate(tmp_path, seconds=SECONDS, processes=2, threads=6, report=happened.append)
    assert outcome.wrong == ()
    assert len(happened) == 4
    tally = outcome.tally
    # There were enough of each for this to mean something, and a session answered by both replicas had one winner.
    assert min(tally.verdicts["warning"], tally.verdicts["contraindicated"]) > 10
    assert sum(tally.verdicts.values()) == len(tally.accepted)
    assert tally.answers["race", 409, "SESSION_SPENT"]
    assert tally.answers["open", 503, "STATE_UNREACHABLE"] + tally.answers["open", 503, ""]
