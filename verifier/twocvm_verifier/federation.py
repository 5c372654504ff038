"""What a cloud or a Vault is told, so that it takes a verifier's tokens for one manifest: as lines for a shell.

Each trusts an issuer, an audience and a subject, all three. The audience alone would let in everybody whom the verifier
affirms for whatever manifest of their own. Names and addresses are held to forms in which nothing is quoted, and are
quoted all the same.

Spec: docs/spec/ear.md, 1.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

from . import strictjson
from .strictjson import Json

AWS_AUDIENCE: Final = "sts.amazonaws.com"
VAULT_AUDIENCE: Final = "vault"
TOKEN_MINUTES: Final = 15
_ISSUER: Final = re.compile(r"https://([A-Za-z0-9.-]+)(:[0-9]{1,5})?((?:/[A-Za-z0-9._~-]+)*)", re.ASCII)
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{2,30}[a-z0-9]", re.ASCII)
_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
_PROJECT: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_HASH_BYTES: Final = 32


class NotFederableError(ValueError):
    """A value that cannot stand in what is printed; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """Whose tokens are taken, and for which manifest.

    Attributes:
        issuer: The verifier's URL, as its tokens have it: https, without a slash at its end.
        manifest: The manifest's hash (32 bytes).
        name: What is made is called this.
    """

    issuer: str
    manifest: bytes
    name: str

    def __post_init__(self) -> None:
        if not _ISSUER.fullmatch(self.issuer):
            raise NotFederableError("issuer: want https://HOST/PATH, without a query and without a slash at its end")
        if len(self.manifest) != _HASH_BYTES:
            raise NotFederableError("manifest: want a hash of 32 bytes")
        if not _NAME.fullmatch(self.name):
            raise NotFederableError("name: want 4 to 32 lower-case letters, digits and hyphens, a letter first")

    @property
    def subject(self) -> str:
        """The subject of an affirming token for the manifest."""
        return f"2cvm:manifest:{self.manifest.hex()}"


def aws(federation: Federation, *, account: str) -> str:
    """Return what makes a role of AWS IAM that such a token is taken for.

    Args:
        federation: Whose tokens.
        account: The account's number (12 digits).

    Raises:
        NotFederableError: The account is none, or the issuer has a port, which IAM does not take.
    """
    _require(_ACCOUNT, account, "account: want 12 digits")
    if ":" in federation.issuer.removeprefix("https://"):
        raise NotFederableError("issuer: AWS takes none with a port")
    provider = federation.issuer.removeprefix("https://")
    trust: Json = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Principal": {"Federated": f"arn:aws:iam::{account}:oidc-provider/{provider}"},
                "Condition": {"StringEquals": {f"{provider}:aud": AWS_AUDIENCE, f"{provider}:sub": federation.subject}},
            }
        ],
    }
    return _script(
        AWS_AUDIENCE,
        _command(
            "aws", "iam", "create-open-id-connect-provider",
            "--url", federation.issuer, "--client-id-list", AWS_AUDIENCE,
        ),
        _command(
            "aws", "iam", "create-role", "--role-name", federation.name,
            "--assume-role-policy-document", _json(trust),
        ),
    )  # fmt: skip


def gcp(federation: Federation, *, project_number: str) -> str:
    """Return what makes a workload identity pool of Google Cloud that takes such a token.

    Args:
        federation: Whose tokens.
        project_number: Of the project that has the pool.

    Raises:
        NotFederableError: The project's number is none.
    """
    _require(_PROJECT, project_number, "project number: want digits")
    name = federation.name
    pool = f"projects/{project_number}/locations/global/workloadIdentityPools/{name}"
    audience = f"https://iam.googleapis.com/{pool}/providers/{name}"
    place = ("--project", project_number, "--location", "global")
    return _script(
        audience,
        _command("gcloud", "iam", "workload-identity-pools", "create", name, *place),
        _command(
            "gcloud", "iam", "workload-identity-pools", "providers", "create-oidc", name, *place,
            "--workload-identity-pool", name, "--issuer-uri", federation.issuer, "--allowed-audiences", audience,
            "--attribute-mapping", "google.subject=assertion.sub",
            "--attribute-condition", f"assertion.sub == '{federation.subject}'",
        ),
        f"# what it may do is given to principal://iam.googleapis.com/{pool}/subject/{federation.subject}",
    )  # fmt: skip


def vault(federation: Federation) -> str:
    """Return what makes a role of HashiCorp Vault that such a token is taken for."""
    path = f"auth/{federation.name}"
    role: Json = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [VAULT_AUDIENCE],
        "bound_subject": federation.subject,
        "token_policies": [federation.name],
        "token_no_default_policy": True,
        "token_explicit_max_ttl": f"{TOKEN_MINUTES}m",
    }
    return _script(
        VAULT_AUDIENCE,
        _command("vault", "auth", "enable", "-path", federation.name, "jwt"),
        _command(
            "vault", "write", f"{path}/config",
            f"oidc_discovery_url={federation.issuer}", f"bound_issuer={federation.issuer}",
        ),
        f"printf %s {shlex.quote(_json(role))} | {_command('vault', 'write', f'{path}/role/{federation.name}', '-')}",
        f"# what it may read stands in a Vault policy {federation.name}, which is yours to write",
    )  # fmt: skip


def _script(audience: str, *lines: str) -> str:
    listed = f"# the verifier has to know the audience: [tokens] federations = [{_json(audience)}]"
    return "\n".join((listed, *lines, ""))


def _command(*words: str) -> str:
    return shlex.join(words)


def _json(value: Json) -> str:
    return strictjson.canonical(value).decode("utf-8")


def _require(form: re.Pattern[str], text: str, problem: str) -> None:
    if not form.fullmatch(text):
        raise NotFederableError(problem)
