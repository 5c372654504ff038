"""The SDK takes the word of the service as it is: what one asks the other reads, and its tokens hold what they must."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.amd import AT
from tests.support.verifier_service import ISSUER, claims, cmw, naming_policy, report, service, world

from twocvm_sdk.verifierkeys import PinnedKeys
from twocvm_sdk.verifiers import RemoteVerifier
from twocvm_verifier.appraisal import Question
from twocvm_verifier.errors import FetchError, TwoCvmError
from twocvm_verifier.result import Verdict


class Straight:
    """The way to the service without TLS, which is not its own."""

    url = ISSUER

    def __init__(self, client) -> None:
        self.client = client

    def post(self, path, body, *, media_type):
        """Return the answer's body, or fail as the real one does."""
        answer = self.client.post(path, content=body, headers={"content-type": media_type})
        if answer.status_code != 200:
            raise FetchError("VERIFIER_UNREACHABLE", f"status {answer.status_code}")
        return answer.content


@pytest.fixture
def verifier():
    """The SDK's verifier, which asks a service that knows nothing of its policies."""
    with service() as client:
        keys = PinnedKeys(client.get("/.well-known/jwks.json").content)
        yield RemoteVerifier(Straight(client), keys=keys, audience="2cvm", allow_simulated=False)


def question(**changes) -> Question:
    """Return what a participant asks of a guest of the manifest."""
    given = Question(
        evidence=cmw(), report_data=claims().report_data(), manifest=world().manifest, policy=naming_policy()
    )
    return replace(given, **changes)


def test_a_guest_is_accepted_by_the_services_word(verifier):
    """An affirmed guest is accepted, as a word and not as a verification."""
    appraisal = verifier.judge(question(), at=AT).appraisal
    assert appraisal.require().verdict is Verdict.AFFIRMING
    assert {piece.source for piece in appraisal.collateral} == {ISSUER}


def test_a_guest_is_refused_by_the_services_word(verifier):
    """A refusal refuses, with the code that decided at the service."""
    judged = verifier.judge(question(evidence=cmw(report=report(policy=0xB0000))), at=AT)
    with pytest.raises(TwoCvmError) as refused:
        judged.appraisal.require()
    assert refused.value.code == "DEBUG_ALLOWED"


def test_what_the_service_cannot_judge_is_no_word(verifier):
    """Without a revocation list there is neither an acceptance nor a refusal."""
    with pytest.raises(FetchError):
        verifier.judge(question(evidence=cmw(crl=None)), at=AT)
