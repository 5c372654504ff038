"""A verifier's token (an EAT Attestation Result, signed as a JWT), held to the very question that was asked.

`verify_token` makes a `Word` of a token, or refuses it. Rules, in order:
1. A compact JWS whose header has `alg`, `kid` and `typ` and nothing else, so that it can bring or name no key.
2. `kid` is a key of this verifier, `alg` is that key's one algorithm, and the signature verifies.
3. `iss` is this verifier, `aud` who asks; it is in force at the given time and for at most 15 minutes.
4. It is an EAR for a release: of this report, bound to the 64 bytes that were rebuilt here, under this policy and this
   manifest.
5. It says `affirming`, `warning` or `contraindicated`; the worst of what it and its parts say counts.

Further claims are passed over: they cannot make anything better.

Spec: docs/spec/remote.md, 3; docs/spec/ear.md; RFC 7515, RFC 7519, RFC 8725.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from joserfc import jws
from joserfc.errors import JoseError

from twocvm_verifier import strictjson
from twocvm_verifier.appraisal.delegated import Word
from twocvm_verifier.appraisal.judgement import Question
from twocvm_verifier.clock import require_utc
from twocvm_verifier.codes import CODES
from twocvm_verifier.codes.table import NOT_AUTHENTIC, REFUSED
from twocvm_verifier.errors import FetchError, MalformedError
from twocvm_verifier.framing import sha256
from twocvm_verifier.result import Verdict
from twocvm_verifier.snp.report import SIGNED_BYTES
from twocvm_verifier.strictjson import Json

from .verifierkeys import TokenKey, algorithm_of

PROFILE: Final = "tag:github.com,2023:veraison/ear"
POLICY_PREFIX: Final = "urn:2cvm:policy:sha-256:"
MAX_TOKEN_BYTES: Final = 32_768
MAX_LIFETIME_SECONDS: Final = 900
# The end of the year 9999.
MAX_SECONDS: Final = 253_402_300_799
# Between the clock of a verifier and ours.
LEEWAY_SECONDS: Final = 60
_HEADER: Final = frozenset({"alg", "kid", "typ"})
_MODULES: Final = frozenset({"cpu0", "workload"})
# The worst first.
_STATUSES: Final = (Verdict.CONTRAINDICATED, Verdict.WARNING, Verdict.AFFIRMING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a token must answer.

    Attributes:
        question: The question.
        issuer: Whose token it must be.
        audience: Whom it must be for.
        key: Returns the issuer's key of a thumbprint, or None.
    """

    question: Question
    issuer: str
    audience: str
    key: Callable[[str], TokenKey | None]


def verify_token(token: str, asked: Asked, *, at: datetime) -> Word:
    """Return what a token says of what was asked.

    Args:
        token: As it came.
        asked: What it must answer.
        at: When it must be in force (aware, UTC).

    Raises:
        FetchError: VERIFIER_ANSWER: it is no such token; or the keys could not be had.
    """
    try:
        claims = _verified_claims(token, asked)
        until = _verify_frame(claims, asked, at=require_utc(at))
        verdict = _verdict(claims, asked)
    except (MalformedError, JoseError, ValueError) as error:
        raise _refused(asked, f"{type(error).__name__}: {error}"[:200]) from error
    return Word(
        verifier=asked.issuer,
        verdict=verdict,
        code=_code(claims) if verdict is Verdict.CONTRAINDICATED else "VERIFIER_REFUSED",
        token_sha256=sha256(token.encode("ascii")),
        until=until,
    )


def _verified_claims(token: str, asked: Asked) -> Mapping[str, Json]:
    if len(token) > MAX_TOKEN_BYTES or not token.isascii() or token.count(".") != 2:
        raise ValueError("no compact JWS")
    header = _object(strictjson.parse_base64url(token.partition(".")[0]))
    if header.keys() != _HEADER or header["typ"] != "JWT" or not isinstance(header["kid"], str):
        raise ValueError("its header is another than alg, kid and typ")
    key = asked.key(header["kid"])
    if key is None or header["alg"] != algorithm_of(key):
        raise ValueError("signed with no key of this verifier, or with another algorithm than the key's")
    return _object(jws.deserialize_compact(token, key, algorithms=[algorithm_of(key)]).payload)


def _object(raw: bytes) -> Mapping[str, Json]:
    value = strictjson.parse(raw, document="verifier keys", max_bytes=MAX_TOKEN_BYTES)
    return _mapping(value, "it")


def _mapping(value: object, what: str) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} is no object")
    return value


def _verify_frame(claims: Mapping[str, Json], asked: Asked, *, at: datetime) -> datetime:
    """Verify whose token it is, for whom, and when; return how long."""
    expected = {"eat_profile": PROFILE, "iss": asked.issuer, "aud": asked.audience, "2cvm.purpose": "release"}
    _require_equal(claims, expected)
    issued, begins, ends = (_seconds(claims, name) for name in ("iat", "nbf", "exp"))
    now = at.timestamp()
    if not issued <= ends <= issued + MAX_LIFETIME_SECONDS:
        raise ValueError(f"it is good for {ends - issued} s, want at most {MAX_LIFETIME_SECONDS}")
    if now >= ends or now + LEEWAY_SECONDS < max(issued, begins):
        raise ValueError(f"in force from {max(issued, begins)} to {ends}, and it is {now:.0f}")
    return datetime.fromtimestamp(ends, UTC)


def _verdict(claims: Mapping[str, Json], asked: Asked) -> Verdict:
    question = asked.question
    modules = _mapping(claims.get("submods"), "submods")
    if not modules.keys() >= _MODULES:
        raise ValueError(f"submods: want {sorted(_MODULES)}")
    policy = POLICY_PREFIX + question.policy.sha256.hex()
    found = [_status(claims, "2cvm.verdict")]
    for name in modules:
        part = _mapping(modules[name], f"submods: {name!r:.80}")
        _require_equal(part, {"ear.appraisal-policy-id": policy})
        found.append(_status(part, "ear.status"))
    verdict = min(found, key=_STATUSES.index)
    chip, workload = _mapping(modules["cpu0"], "cpu0"), _mapping(modules["workload"], "workload")
    _require_equal(workload, {"2cvm.manifest": question.manifest.hash.hex()})
    _require_equal(chip, {"2cvm.report": sha256(question.evidence.report[:SIGNED_BYTES]).hex()})
    # What is not authentic is bound to nothing, and refused all the same.
    if verdict is not Verdict.CONTRAINDICATED:
        _require_equal(chip, {"2cvm.report_data": question.report_data.hex()})
    return verdict


def _seconds(claims: Mapping[str, Json], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SECONDS:
        raise ValueError(f"{name}: no time")
    return value


def _status(claims: Mapping[str, Json], name: str) -> Verdict:
    found = claims.get(name)
    if found not in _STATUSES:
        raise ValueError(f"{name}: got {found!r:.80}")
    return Verdict(str(found))


def _require_equal(claims: Mapping[str, Json], expected: Mapping[str, str]) -> None:
    for name, value in expected.items():
        if claims.get(name) != value:
            raise ValueError(f"{name}: got {claims.get(name)!r:.100}, want {value!r}")


def _code(claims: Mapping[str, Json]) -> str:
    """Return what the verifier says decided, where that is a refusal of this project's table."""
    code = claims.get("2cvm.code")
    row = CODES.get(code) if isinstance(code, str) else None
    return str(code) if row is not None and row.exit_status in (NOT_AUTHENTIC, REFUSED) else "VERIFIER_REFUSED"


def _refused(asked: Asked, detail: str) -> FetchError:
    return FetchError("VERIFIER_ANSWER", f"verifier {asked.issuer!r}: no token about this question: {detail}")
