"""The SDK and the verifier service of this project, word for word: what one asks and signs, the other takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from starlette.testclient import TestClient
from tests.support.amd import AT
from tests.support.verifier_service import ISSUER, claims, cmw, naming_policy, report, service, world

from twocvm_sdk.verifierkeys import DiscoveredKeys, PinnedKeys
from twocvm_sdk.verifiers import RemoteVerifier
from twocvm_verifier.appraisal import Question
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.errors import BindingError, TwoCvmError
from twocvm_verifier.result import Level, Verdict


@dataclass(frozen=True)
class InProcess:
    """The service's application, reached without a network."""

    client: TestClient
    url: str = ISSUER

    def get(self, path: str) -> bytes:
        """Fetch a document."""
        return self.client.get(path).content

    def post(self, path: str, body: bytes, *, media_type: str) -> bytes:
        """Ask, and demand an answer."""
        answer = self.client.post(path, content=body, headers={"Content-Type": media_type})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
        return answer.content


@pytest.fixture(scope="module")
def running() -> Iterator[InProcess]:
    """A service with an AMD of our own, and a policy that names the guest."""
    with service() as client:
        yield InProcess(client)


def question() -> Question:
    """Return what is asked of a guest on hardware."""
    return Question(
        evidence=cmw(), report_data=claims().report_data(), manifest=world().manifest, policy=naming_policy()
    )


@pytest.mark.parametrize("pinned", [True, False])
def test_an_affirming_word_is_secure(running: InProcess, pinned: bool) -> None:  # noqa: FBT001
    """A guest that policy and manifest accept is affirmed, with every level, by pinned and by discovered keys."""
    keys = PinnedKeys(running.get("/.well-known/jwks.json")) if pinned else DiscoveredKeys(clock=SystemClock())
    verifier = RemoteVerifier(running, keys=keys, audience="2cvm", allow_simulated=False)  # type: ignore[arg-type]
    appraisal = verifier.judge(question(), at=AT).appraisal.require()
    assert (appraisal.verdict, appraisal.secure, appraisal.platform) == (Verdict.AFFIRMING, True, "snp")
    assert [proof.level for proof in appraisal.levels if proof.proved_by] == list(Level)


def test_its_refusals_are_ours(running: InProcess) -> None:
    """What it finds not authentic or not acceptable is refused here by the same code."""
    keys = PinnedKeys(running.get("/.well-known/jwks.json"))
    verifier = RemoteVerifier(running, keys=keys, audience="2cvm", allow_simulated=False)  # type: ignore[arg-type]
    forged = bytearray(cmw().report)
    forged[0x2A0] ^= 1
    with pytest.raises(BindingError) as unsigned:
        verifier.judge(replace(question(), evidence=replace(cmw(), report=bytes(forged))), at=AT).appraisal.require()
    other = replace(cmw(), report=report(measurement=bytes(48)))
    with pytest.raises(TwoCvmError) as unknown:
        verifier.judge(replace(question(), evidence=other), at=AT).appraisal.require()
    assert (unsigned.value.code, unknown.value.code) == ("REPORT_SIGNATURE", "MEASUREMENT_MISMATCH")


def test_the_request_is_what_the_specification_writes(running: InProcess) -> None:
    """A question has the five members of `docs/spec/remote.md`, 2, in canonical form."""
    keys = PinnedKeys(running.get("/.well-known/jwks.json"))
    verifier = RemoteVerifier(running, keys=keys, audience="2cvm", allow_simulated=False)  # type: ignore[arg-type]
    asked = json.loads(verifier._request(question()))
    assert set(asked) == {"evidence", "expected_report_data", "manifest", "policy", "audience"}
    assert set(asked["evidence"]) == {"cmw"}
