"""Who judges a guest's evidence: this machine, a verifier elsewhere, or k of n of them.

    RemoteVerifier(Service(url="https://verifier.example", ca=None, seconds=4.0), keys=PinnedKeys(jwks),
                   audience="2cvm", allow_simulated=False)
    Quorum((local_verifier(), theirs, others), k=2)

Whoever judges, the 64 bytes of REPORT_DATA to expect are rebuilt here, and compared here too (`appraisal.delegated`).
Rules of a quorum: every verifier is asked, and all answers are waited for, each as long as its own deadline. One
refusal refuses, whoever accepts. Else at least k must accept: silence, an outage and an answer that is none count for
nothing. The weakest of the acceptances is the result.

Spec: docs/spec/remote.md; docs/adr/0008.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

from cachetools import LRUCache

from twocvm_verifier import strictjson
from twocvm_verifier.appraisal import Judgement, Question, VekSource, Verifier, completed, no_veks
from twocvm_verifier.appraisal.delegated import Word, judge_by_word, weakest
from twocvm_verifier.clock import require_utc
from twocvm_verifier.errors import CollateralError, FetchError, MalformedError, TwoCvmError
from twocvm_verifier.evidence import encode_json, to_json
from twocvm_verifier.manifest.parse import MAX_MANIFEST_BYTES
from twocvm_verifier.policy.writing import document_of
from twocvm_verifier.result import Check, Level, Status, Verdict
from twocvm_verifier.snp.revocation import PREFER, CrlUse
from twocvm_verifier.snp.roots import Roots, amd_roots
from twocvm_verifier.verifier import SnpVerifier

from .ear import Asked, verify_token
from .verifierhttps import MAX_ANSWER_BYTES, Service
from .verifierkeys import KeySource

APPRAISE_PATH: Final = "/v1/appraise"
REQUEST_MEDIA_TYPE: Final = "application/vnd.2cvm.appraise+json"
DEFAULT_SECONDS: Final = 4.0
# A guest's certificate shows the same report on every connection; every other report is new.
_KNOWN_WORDS: Final = 16


def local_verifier(*, roots: Roots | None = None, crls: CrlUse = PREFER, veks: VekSource = no_veks) -> SnpVerifier:
    """Return the verifier on this machine.

    Args:
        roots: Trust anchors; AMD's where none are given.
        crls: Whether revocation is asked about.
        veks: Where a VEK is found that a guest's host has not got.
    """
    return SnpVerifier(roots=amd_roots() if roots is None else roots, crls=crls, veks=veks)


class RemoteVerifier:
    """A verifier service whose word is taken. May be shared between threads.

    It is sent the evidence, the manifest and the policy: choose one that may see them. An acceptance of the same
    evidence is used again while it is in force.

    Args:
        service: Where it is; its URL is the issuer of its tokens.
        keys: What it signs with.
        audience: For whom its tokens are to be.
        allow_simulated: Whether a simulated platform, which protects nothing, is accepted at all; the manifest must
            allow it too.
        veks: Where a VEK is found that a guest's host has not got; its kind and chip are looked at here, too.
    """

    def __init__(
        self,
        service: Service,
        *,
        keys: KeySource,
        audience: str,
        allow_simulated: bool,
        veks: VekSource = no_veks,
    ) -> None:
        self.service: Final = service
        self._keys: Final = keys
        self._audience: Final = audience
        self._allow_simulated: Final = allow_simulated
        self._find_vek: Final = veks
        self._words: LRUCache[tuple[bytes, ...], Word] = LRUCache(maxsize=_KNOWN_WORDS)
        self._lock: Final = threading.Lock()

    @property
    def name(self) -> str:
        """Its URL."""
        return self.service.url

    def judge(self, question: Question, /, *, at: datetime) -> Judgement:
        """Ask the service, and return what its word comes to.

        Raises:
            MalformedError: The evidence is none.
            FetchError: VERIFIER_UNREACHABLE, VERIFIER_KEYS, VERIFIER_ANSWER.
            NotFoundError: VEK_MISSING: the evidence has none, and none is found.
            ValueError: The policy cannot be written down.
        """
        question = completed(question, veks=self._find_vek, at=at)
        name = _identity(question)
        with self._lock:
            word = self._words.get(name)
        if word is None or require_utc(at) >= word.until:
            word = self._ask(question, at=at)
            if word.verdict is not Verdict.CONTRAINDICATED:
                with self._lock:
                    self._words[name] = word
        return judge_by_word(question, word, simulated_ok=self._allow_simulated, at=at)

    def _ask(self, question: Question, *, at: datetime) -> Word:
        raw = self.service.post(APPRAISE_PATH, self._request(question), media_type=REQUEST_MEDIA_TYPE)
        asked = Asked(
            question=question,
            issuer=self.service.url,
            audience=self._audience,
            key=lambda kid: self._keys.key(kid, self.service),
        )
        return verify_token(_token(raw, self.name), asked, at=at)

    def _request(self, question: Question) -> bytes:
        return strictjson.canonical(
            {
                "evidence": {"cmw": to_json(question.evidence)},
                "expected_report_data": question.report_data.hex(),
                "manifest": strictjson.parse(question.manifest.raw, document="manifest", max_bytes=MAX_MANIFEST_BYTES),
                "policy": document_of(question.policy),
                "audience": self._audience,
            }
        )


class Quorum:
    """Several verifiers, of which at least k must accept and none may refuse. May be shared between threads.

    Args:
        verifiers: Whom to ask; no two of one name.
        k: How many must accept. Whoever can silence or rule n - k of them decides nothing.

    Raises:
        ValueError: Two have one name, or k is not between 1 and their number.
    """

    def __init__(self, verifiers: Sequence[Verifier], *, k: int) -> None:
        self._verifiers: Final = tuple(verifiers)
        self._k: Final = k
        names = [verifier.name for verifier in self._verifiers]
        if len(set(names)) != len(names):
            raise ValueError(f"quorum: got one of {names} twice")
        if not 1 <= k <= len(names):
            raise ValueError(f"quorum: got {k} of {len(names)} verifiers")

    @property
    def name(self) -> str:
        """How many of whom."""
        return f"{self._k} of {', '.join(verifier.name for verifier in self._verifiers)}"

    def judge(self, question: Question, /, *, at: datetime) -> Judgement:
        """Ask all of them.

        Raises:
            TwoCvmError: One of them refuses what is not even evidence, or not authentic.
            FetchError: VERIFIERS_TOO_FEW.
        """
        with ThreadPoolExecutor(len(self._verifiers)) as executor:
            answers = list(executor.map(lambda verifier: _answer(verifier, question, at=at), self._verifiers))
        told = "; ".join(
            f"{verifier.name}: {_told(answer)}" for verifier, answer in zip(self._verifiers, answers, strict=True)
        )
        judgements = [answer for answer in answers if isinstance(answer, Judgement)]
        # What is refused without a judgement is refused here and now; with one, by whoever requires that it holds.
        for answer in answers:
            if not isinstance(answer, (Judgement, CollateralError)):
                raise answer
        refusals = tuple(judgement for judgement in judgements if judgement.appraisal.findings)
        if not refusals and len(judgements) < self._k:
            raise FetchError("VERIFIERS_TOO_FEW", f"verifiers: got {len(judgements)}, want {self._k}: {told}")
        return weakest(refusals or tuple(judgements), agreement=_agreement(refused=bool(refusals), told=told))


def _answer(verifier: Verifier, question: Question, *, at: datetime) -> Judgement | TwoCvmError:
    try:
        judgement = verifier.judge(question, at=at)
    except TwoCvmError as error:
        return error
    if judgement.appraisal.verdict is not Verdict.ERROR:
        return judgement
    # It says itself that it cannot say.
    return FetchError(judgement.appraisal.findings[0].code, "cannot judge the guest now")


def _told(answer: Judgement | TwoCvmError) -> str:
    return answer.code if isinstance(answer, TwoCvmError) else str(answer.appraisal.verdict)


def _agreement(*, refused: bool, told: str) -> Check:
    return Check(
        id="verifier.quorum",
        status=Status.FAIL if refused else Status.PASS,
        code="VERIFIER_REFUSED",
        level=Level.AL1,
        expected="enough acceptances, and no refusal",
        actual=told,
        detail="a verifier refuses the guest" if refused else "",
    )


def _identity(question: Question) -> tuple[bytes, ...]:
    return (
        encode_json(question.evidence),
        question.report_data,
        question.manifest.hash,
        question.policy.sha256,
    )


def _token(raw: bytes, name: str) -> str:
    try:
        answer = strictjson.parse(raw, document="verifier keys", max_bytes=MAX_ANSWER_BYTES)
    except MalformedError as error:
        raise FetchError("VERIFIER_ANSWER", f"verifier {name!r}: {error.detail}") from error
    token = answer.get("token") if isinstance(answer, dict) else None
    if not isinstance(token, str):
        raise FetchError("VERIFIER_ANSWER", f"verifier {name!r}: answered without a token")
    return token
