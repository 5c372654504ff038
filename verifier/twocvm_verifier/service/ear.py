"""What a token says of an outcome: EAR claims with AR4SI trustworthiness vectors, for OpenID Connect clients too.

A status is the verdict, and a vector says what it comes from. Nothing here decides anything: what was judged is judged,
and a token for a federation audience is refused where `token_allowed` says so.

Spec: docs/spec/ear.md; draft-fv-rats-ear; draft-ietf-rats-ar4si, 2.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import version
from types import MappingProxyType
from typing import Final

from twocvm_verifier import strictjson
from twocvm_verifier.result import Appraisal, Check, Level, Status, Verdict
from twocvm_verifier.strictjson import Json

from .appraisals import Outcome, Purpose

PROFILE: Final = "tag:github.com,2023:veraison/ear"
DEFAULT_AUDIENCE: Final = "2cvm"
MAX_LIFETIME_SECONDS: Final = 900

# AR4SI: what each value means stands in docs/spec/ear.md, 2.
_RECOGNISED: Final = 2
_APPROVED_BOOT: Final = 3
_UNSAFE: Final = 32
_UNRECOGNISED_EXECUTABLES: Final = 33
_CONTRAINDICATED: Final = 96
_CRYPTO_FAILED: Final = 99

_HARDWARE: Final = "hardware"
_IDENTITY: Final = "instance-identity"
_CONFIGURATION: Final = "configuration"
_EXECUTABLES: Final = "executables"
_OPAQUE: Final = "runtime-opaque"

# By what a check is about, its id without its author; what is not here is about the hardware.
_FACETS: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(("chip_id", "csp_id", "report_id", "report_data", "claims", "nonce", "manifest"), _IDENTITY)
    | dict.fromkeys(
        ("guest_policy", "vmpl", "host_data", "family_id", "image_id", "id_key_digest", "author_key_digest"),
        _CONFIGURATION,
    )
    | dict.fromkeys(("measurement", "pcrs", "level.al3", "level.al4"), _EXECUTABLES)
)
_AUTHORS: Final = ("policy.", "manifest.platform.", "binding.")
_WORKLOAD: Final = ("manifest.platform.", "binding.")


def token_allowed(outcome: Outcome, *, audience: str) -> bool:
    """Return whether an outcome may be told to an audience.

    An audience that looks at nothing but issuer, subject and audience is told only what is affirmed, by a policy of the
    service's owner, of a known manifest, as strictly as before a release, and now: it answers a challenge that was
    drawn here. Evidence is nobody's secret, and whoever kept some would else have tokens for a guest that is gone.
    """
    if audience == DEFAULT_AUDIENCE:
        return True
    return _names_manifest(outcome) and outcome.purpose is Purpose.RELEASE and outcome.drawn


def ear_claims(
    outcome: Outcome, *, issuer: str, audience: str, nonce: bytes | None, token_id: bytes, now: datetime
) -> dict[str, Json]:
    """Return the claims of the token for an outcome.

    Args:
        outcome: What was judged.
        issuer: The service's URL.
        audience: For whom it is; `token_allowed` was asked.
        nonce: The challenge, where there was one.
        token_id: Random bytes that no other token has.
        now: When it is issued (aware, UTC).
    """
    appraisal = outcome.appraisal
    until = now + timedelta(seconds=MAX_LIFETIME_SECONDS)
    if appraisal.authentic:
        until = min(until, appraisal.valid_until)
    optional: dict[str, Json] = {}
    if nonce is not None:
        optional["eat_nonce"] = strictjson.base64url(nonce)
    if outcome.spki_sha256 is not None:
        optional["cnf"] = {"spki#S256": strictjson.base64url(outcome.spki_sha256)}
    if appraisal.findings:
        optional["2cvm.code"] = str(appraisal.to_json()["code"])
    return {
        **optional,
        "eat_profile": PROFILE,
        "iss": issuer,
        "aud": audience,
        "sub": _subject(outcome),
        "iat": int(now.timestamp()),
        "nbf": int(now.timestamp()),
        "exp": int(until.timestamp()),
        "jti": strictjson.base64url(token_id),
        "ear.verifier-id": {"developer": "twocvm", "build": _build()},
        "submods": _submodules(outcome),
        "2cvm.verdict": str(appraisal.verdict),
        "2cvm.purpose": str(outcome.purpose),
        "2cvm.levels": [str(proof.level) for proof in appraisal.levels if proof.proved_by],
    }


def _names_manifest(outcome: Outcome) -> bool:
    affirming = outcome.appraisal.verdict is Verdict.AFFIRMING
    return affirming and outcome.owners_policy and outcome.manifest is not None


def _subject(outcome: Outcome) -> str:
    if outcome.manifest is not None and _names_manifest(outcome):
        return f"2cvm:manifest:{outcome.manifest.hash.hex()}"
    return f"2cvm:{outcome.appraisal.verdict}"


def _submodules(outcome: Outcome) -> dict[str, Json]:
    appraisal = outcome.appraisal
    said: dict[str, Json] = {
        "ear.status": str(appraisal.verdict),
        "ear.appraisal-policy-id": f"urn:2cvm:policy:sha-256:{appraisal.policy_sha256.hex()}",
    }
    facts: dict[str, Json] = {"2cvm.report": outcome.report_sha256.hex()}
    if appraisal.authentic:
        # Under a paravisor REPORT_DATA is not the guest's, and what its vTPM bound stands in its place.
        bound = appraisal.facts.get("bound_data", appraisal.facts["report_data"])
        facts |= {"2cvm.report_data": bound, "2cvm.measurement": appraisal.facts["measurement"]}
    chip = {**said, **facts, "ear.trustworthiness-vector": _chip_vector(appraisal), "2cvm.platform": appraisal.platform}
    if outcome.manifest is None:
        return {"cpu0": chip}
    vector = _workload_vector(appraisal)
    named: dict[str, Json] = {"ear.trustworthiness-vector": vector, "2cvm.manifest": outcome.manifest.hash.hex()}
    return {"cpu0": chip, "workload": {**said, **named}}


def _chip_vector(appraisal: Appraisal) -> Mapping[str, int]:
    facets = (_HARDWARE, _IDENTITY, _CONFIGURATION, _EXECUTABLES, _OPAQUE)
    if not appraisal.authentic:
        return dict.fromkeys(facets, _CRYPTO_FAILED)
    vector = _vector(appraisal.checks, measured=_measured(appraisal))
    if appraisal.simulated:
        vector[_HARDWARE] = max(vector[_HARDWARE], _UNSAFE)
    elif _closed_to_debuggers(appraisal):
        vector[_OPAQUE] = _RECOGNISED
    return vector


def _workload_vector(appraisal: Appraisal) -> Mapping[str, int]:
    if not appraisal.authentic:
        return dict.fromkeys((_IDENTITY, _CONFIGURATION, _EXECUTABLES), _CRYPTO_FAILED)
    of_workload = (check for check in appraisal.checks if check.id.startswith(_WORKLOAD))
    vector = _vector(of_workload, measured=_measured(appraisal))
    # What the manifest demands of chip and firmware is how its workload is to be run.
    hardware = vector.pop(_HARDWARE)
    return vector | {_CONFIGURATION: max(vector[_CONFIGURATION], hardware)}


def _vector(checks: Iterable[Check], *, measured: bool) -> dict[str, int]:
    vector = dict.fromkeys((_HARDWARE, _IDENTITY, _CONFIGURATION), _RECOGNISED)
    vector[_EXECUTABLES] = _UNRECOGNISED_EXECUTABLES
    failed = set()
    for check in checks:
        if check.status is Status.FAIL:
            failed.add(_facet(check))
        elif measured and check.status is Status.PASS and check.id.endswith(".measurement"):
            vector[_EXECUTABLES] = _APPROVED_BOOT
    return vector | dict.fromkeys(failed, _CONTRAINDICATED)


def _measured(appraisal: Appraisal) -> bool:
    """Return whether MEASUREMENT is known to cover more than a provider's firmware."""
    return any(proof.level is Level.AL3 and proof.proved_by for proof in appraisal.levels)


def _facet(check: Check) -> str:
    about = check.id
    for author in _AUTHORS:
        about = about.removeprefix(author)
    return _FACETS.get(about) or _FACETS.get(about.partition(".")[0], _HARDWARE)


def _closed_to_debuggers(appraisal: Appraisal) -> bool:
    return any(check.id == "policy.guest_policy.debug" and check.status is Status.PASS for check in appraisal.checks)


@cache
def _build() -> str:
    return f"twocvm {version('twocvm')}"
