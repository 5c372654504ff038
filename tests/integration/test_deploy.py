"""`deploy/`: what can be known of it without a cluster, an init system or a registry."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from twocvm_verifier.service.configuration import configure
from twocvm_verifier.service.problems import ServiceError, problem
from twocvm_verifier.service.rules import require_sound
from twocvm_verifier.service.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = "1.33"
UNIT = DEPLOY / "systemd" / "twocvm-verifier.service"


def settings_of(toml: str) -> Settings:
    """Return settings that hold and go together."""
    settings = configure(toml=toml.encode(), file="verifier.toml", environment={}, options=()).settings
    require_sound(settings)
    return settings


def manifests() -> list[dict[str, Any]]:
    """Return every object for Kubernetes."""
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / "verifier.yaml").read_text(encoding="utf-8")))


def of_kind(kind: str) -> dict[str, Any]:
    """Return the one object of a kind."""
    (found,) = (manifest for manifest in manifests() if manifest["kind"] == kind)
    return found


def containers() -> Iterator[dict[str, Any]]:
    """Return every container of a replica."""
    pod = of_kind("StatefulSet")["spec"]["template"]["spec"]
    yield from (*pod["initContainers"], *pod["containers"])


def test_the_example_settings_hold():
    """Every key is known, and everything goes together."""
    settings = settings_of((DEPLOY / "verifier.toml").read_text(encoding="utf-8"))
    assert settings.audit.folder is not None


def test_the_settings_for_kubernetes_hold():
    """So do those of the replicas, and what they name is mounted or copied there."""
    settings = settings_of(of_kind("ConfigMap")["data"]["verifier.toml"])
    (copying, serving) = containers()
    copied = {Path(name).name for name in copying["command"] if name.startswith("/run/given")}
    for file in (settings.listen.certificate, settings.listen.key, settings.tokens.key, settings.state.redis_password):
        assert file is not None
        assert (str(file.parent), file.name in copied) == ("/run/twocvm-verifier", True)
    mounts = {mount["mountPath"]: mount for mount in serving["volumeMounts"]}
    assert "readOnly" not in mounts["/var/lib/twocvm-verifier"]
    assert str(settings.audit.folder).startswith("/var/lib/twocvm-verifier/")
    ports = {port["name"]: port["containerPort"] for port in serving["ports"]}
    assert settings.listen.address.endswith(f":{ports['https']}")
    assert settings.metrics.listen.endswith(f":{ports['metrics']}")


@pytest.mark.parametrize(
    "manifest", manifests(), ids=lambda manifest: f"{manifest['kind']}-{manifest['metadata']['name']}"
)
def test_kubernetes_would_take_them(manifest):
    """Each object is of its schema, with no member that the schema has not."""
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_replicas_may_do_little():
    """No root, no writable root, no privilege, no token of the cluster, bounded, by digest, two at least."""
    replicas = of_kind("StatefulSet")["spec"]
    pod = replicas["template"]["spec"]
    assert replicas["replicas"] >= 2
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"])
        assert "memory" in container["resources"]["limits"]
    (serving,) = pod["containers"]
    assert serving["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert serving["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_everything_selects_the_replicas():
    """Services, budget and network policy are about these pods, and secrets stand nowhere in the file."""
    labels = of_kind("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    policy = of_kind("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    services = [manifest for manifest in manifests() if manifest["kind"] == "Service"]
    assert [service["spec"]["selector"] for service in services] == [labels] * 2
    assert not [manifest for manifest in manifests() if manifest["kind"] == "Secret"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_would_take_the_unit(tmp_path):
    """Every directive is known; with the command that is here in the place of the installed one nothing is amiss."""
    text = UNIT.read_text(encoding="utf-8").replace("/opt/twocvm/bin/twocvm", sys.executable)
    (tmp_path / UNIT.name).write_text(text)
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_is_closed():
    """Systemd's own measure of what a service could do: 10 is all, and this is below 2."""
    ended = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-200:]


def test_the_unit_gives_what_the_settings_name():
    """Every file of the example settings comes by a credential of the same name, into the folder of the same name."""
    settings = settings_of((DEPLOY / "verifier.toml").read_text(encoding="utf-8"))
    text = UNIT.read_text(encoding="utf-8")
    credentials = set(re.findall(r"^LoadCredential=([^:]+):", text, re.MULTILINE))
    for file in (settings.listen.certificate, settings.listen.key, settings.tokens.key, settings.state.redis_password):
        assert file is not None
        assert file.name in credentials
        assert f"${{CREDENTIALS_DIRECTORY}}/{file.name}" in text
        assert file.parent == Path("/run/twocvm-verifier")


@pytest.mark.skipif(not shutil.which("haproxy"), reason="needs haproxy")
def test_haproxy_would_take_its_configuration():
    """It is what this version of haproxy reads, without a warning."""
    ports = {
        "VERIFIER_FRONT": "127.0.0.1:8080",
        "VERIFIER_FIRST": "127.0.0.1:8081",
        "VERIFIER_SECOND": "127.0.0.1:8082",
    }
    ended = subprocess.run(
        ["haproxy", "-c", "-f", str(DEPLOY / "haproxy.cfg")],
        env=os.environ | ports,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "WARNING" not in ended.stderr


@pytest.mark.parametrize(("name", "code"), [("BUSY", "SERVICE_BUSY"), ("LIMITED", "RATE_LIMITED")])
def test_haproxy_says_what_a_replica_would(name, code):
    """What haproxy answers itself is the problem of a code, byte for byte."""
    (text,) = re.findall(rf"^    setenv {name} '(.*)'$", (DEPLOY / "haproxy.cfg").read_text("utf-8"), re.MULTILINE)
    assert text.encode() == problem(ServiceError(code, "")).body


def test_the_image_is_built_from_the_lock():
    """No package without its hash, no base by a name alone, nobody's root."""
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    assert re.findall(r"^ARG (.*)$", text, re.MULTILINE) == ["BASE"]
    assert "--require-hashes" in text
    assert re.search(r"^USER 65532:65532$", text, re.MULTILINE)
    assert [line for line in text.splitlines() if line.startswith("FROM ")] == ["FROM ${BASE} AS build", "FROM ${BASE}"]
