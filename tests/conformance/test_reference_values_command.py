"""Reference values and tokens for clouds, on the command line."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.amd import AT, fake_amd
from tests.support.corims import corim, digest, raw_value, signed, triple
from tests.support.manifests import MEASUREMENT, World

from twocvm_guest.main import run
from twocvm_verifier import Policy, parse_policy
from twocvm_verifier.clock import format_time
from twocvm_verifier.corim import Unsigned, parse_reference_values
from twocvm_verifier.federation import Federation, NotFederableError, aws, gcp, vault
from twocvm_verifier.snp.product import Product

SIMULATED = fake_amd(Product.SIMULATED)
KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = "https://verifier.example/2cvm"
HASH = "ab" * 32
SUBJECT = f"2cvm:manifest:{HASH}"


@pytest.fixture
def shell(capsys):
    """Return a function that runs `twocvm` and gives exit status, standard output and standard error."""

    def call(*arguments):
        status = run(list(map(str, arguments)))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def values(tmp_path) -> Path:
    """A CoRIM that names one guest."""
    file = tmp_path / "guests.corim"
    file.write_bytes(corim(triple({641: digest()})))
    return file


def test_a_policy_with_reference_values(shell, values):
    """What is written has the digest that the service says of both together."""
    status, out, err = shell("policy", "add", "builtin", "--reference-values", values)
    assert (status, err) == (0, "")
    joined = parse_reference_values(values.read_bytes(), trust=Unsigned()).on(Policy.builtin(), at=AT)
    assert parse_policy(out).sha256 == joined.sha256
    assert parse_policy(out).measurements == (MEASUREMENT,)


def test_what_is_left_open_is_said(shell, values):
    """Without a reason it is refused, and with one it is said all the same."""
    values.write_bytes(corim(triple({641: digest(), 640: raw_value(bytes(64))})))
    status, out, err = shell("policy", "add", "builtin", "--reference-values", values)
    assert (status, out, err.split(":")[0]) == (20, "", "CORIM_NOT_JUDGED")
    status, _, err = shell("policy", "add", "builtin", "--reference-values", values, "--leave-open", "of one guest")
    assert (status, err.startswith("left open: REPORT_DATA")) == (0, True)


def test_who_signed_a_corim(shell, values, tmp_path):
    """Only under a key that was named."""
    values.write_bytes(signed(corim(triple({641: digest()})), KEY))
    key = tmp_path / "key.pem"
    key.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert shell("policy", "add", "builtin", "--reference-values", values)[0] == 10
    assert shell("policy", "add", "builtin", "--reference-values", values, "--corim-key", key)[0] == 0
    assert shell("policy", "add", "builtin")[0] == 2


def test_evidence_is_judged_by_reference_values(shell, values, tmp_path):
    """The guest that is named is accepted, and another is refused, offline."""
    for name, content in (("vek", SIMULATED.vcek()), ("root", SIMULATED.chain())):
        (tmp_path / name).write_bytes(content)
    given = ["--vek", tmp_path / "vek", "--simulated-root", tmp_path / "root", "--at", format_time(AT), "-q"]
    for measurement, status in ((MEASUREMENT, 0), (bytes(48), 11)):
        (tmp_path / "report").write_bytes(SIMULATED.report(measurement=measurement))
        asked = ["appraise", "--report", tmp_path / "report", *given, "--reference-values", values, "--offline"]
        # The product of the CoRIM is real hardware's or any; a simulated platform is refused for itself alone.
        assert shell(*asked)[0] == status
    assert shell("appraise", "--bundle", tmp_path / "bundle", "--reference-values", values)[0] == 2


def words_of(script: str) -> list[list[str]]:
    """Return the commands of a script, each as the words that a shell passes on."""
    return [shlex.split(line) for line in script.splitlines() if not line.startswith("#")]


def test_aws(shell):
    """A provider, and a role whose trust is in issuer, audience and subject, all three."""
    status, out, _ = shell("token", "federate", "--aws", "123456789012", "--issuer", ISSUER, "--manifest", HASH)
    provider, role = words_of(out)
    assert status == 0
    assert provider == [
        "aws", "iam", "create-open-id-connect-provider", "--url", ISSUER, "--client-id-list", "sts.amazonaws.com",
    ]  # fmt: skip
    assert role[:6] == ["aws", "iam", "create-role", "--role-name", "twocvm", "--assume-role-policy-document"]
    (statement,) = json.loads(role[6])["Statement"]
    assert statement["Principal"]["Federated"].endswith(":oidc-provider/verifier.example/2cvm")
    assert statement["Condition"] == {
        "StringEquals": {"verifier.example/2cvm:aud": "sts.amazonaws.com", "verifier.example/2cvm:sub": SUBJECT}
    }


def test_google_cloud(shell):
    """A pool, and a provider whose condition is the subject."""
    status, out, _ = shell("token", "federate", "--gcp", "42", "--issuer", ISSUER, "--manifest", HASH, "--name", "lab1")
    pool, provider = words_of(out)
    given = dict(zip(provider[6::2], provider[7::2], strict=True))
    assert (status, pool[3:]) == (0, ["create", "lab1", "--project", "42", "--location", "global"])
    assert given["--attribute-condition"] == f"assertion.sub == '{SUBJECT}'"
    assert given["--attribute-mapping"] == "google.subject=assertion.sub"
    assert given["--issuer-uri"] == ISSUER
    assert given["--allowed-audiences"] == (
        "https://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/lab1/providers/lab1"
    )
    assert len(SUBJECT) <= 127


def test_vault(shell):
    """A role that is bound to audience and subject, and lives no longer than a token."""
    status, out, _ = shell("token", "federate", "--vault", "--issuer", ISSUER + "/", "--manifest", HASH)
    _, config, role = words_of(out)
    assert (status, config[3:]) == (0, [f"oidc_discovery_url={ISSUER}", f"bound_issuer={ISSUER}"])
    assert role[3:] == ["|", "vault", "write", "auth/twocvm/role/twocvm", "-"]
    told = json.loads(role[2])
    assert (told["bound_subject"], told["bound_audiences"], told["role_type"]) == (SUBJECT, ["vault"], "jwt")
    assert told["token_explicit_max_ttl"] == "15m"


def test_the_audience_is_said_for_the_verifier(shell):
    """Each script begins with what the service's owner has to set."""
    _, out, _ = shell("token", "federate", "--vault", "--issuer", ISSUER, "--manifest", HASH)
    assert re.match(r'# .*federations = \["vault"\]', out)


def test_a_manifest_by_its_file(shell, tmp_path):
    """Its hash is taken of it."""
    world = World()
    (tmp_path / "manifest.json").write_bytes(world.raw)
    _, out, _ = shell("token", "federate", "--vault", "--issuer", ISSUER, "--manifest", tmp_path / "manifest.json")
    assert f"2cvm:manifest:{world.manifest.hash.hex()}" in out


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://verifier.example"},
        {"issuer": "https://verifier.example/?x=1"},
        {"issuer": "https://verifier.example/'; rm -rf /"},
        {"issuer": "https://verifier.example\nx"},
        {"issuer": ""},
        {"manifest": b""},
        {"name": "a"},
        {"name": "$(x)"},
        {"name": "9abc"},
    ],
)
def test_nothing_is_quoted_that_could_be_more(wrong):
    """What is no address, hash or name is refused before it stands in a command."""
    given: dict[str, Any] = {"issuer": ISSUER, "manifest": bytes(32), "name": "twocvm"}
    with pytest.raises(NotFederableError):
        Federation(**given | wrong)


def test_accounts_and_projects_are_numbers():
    """Neither a name nor a command; and AWS takes no issuer with a port."""
    trusted = Federation(issuer=ISSUER, manifest=bytes(32), name="twocvm")
    for call in (lambda: aws(trusted, account="x" * 12), lambda: gcp(trusted, project_number="my-project")):
        with pytest.raises(NotFederableError):
            call()
    elsewhere = Federation(issuer="https://verifier.example:8443", manifest=bytes(32), name="twocvm")
    assert "8443" in vault(elsewhere)
    with pytest.raises(NotFederableError):
        aws(elsewhere, account="1" * 12)


@pytest.mark.parametrize("target", [[], ["--vault", "--gcp", "1"], ["--aws", "1"], ["--gcp", "x"]])
def test_one_target(shell, target):
    """Exactly one, and a proper one."""
    assert shell("token", "federate", "--issuer", ISSUER, "--manifest", HASH, *target)[0] == 2
