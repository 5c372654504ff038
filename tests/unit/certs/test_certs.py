"""The shipped trust anchors are the pinned ones, or nothing."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
from pathlib import Path

import pytest
import twocvm_certs

HOME = Path(twocvm_certs.__file__).parent


@pytest.mark.parametrize("name", sorted(twocvm_certs.PINS))
def test_every_pinned_certificate_loads(name):
    """Each file has exactly the digest that the code pins."""
    assert hashlib.sha256(twocvm_certs.load(name)).hexdigest() == twocvm_certs.PINS[name]


def test_nothing_unpinned_ships():
    """The folder holds the pinned certificates and their origin record, and no other file."""
    found = {path.name for path in (HOME / "amd").iterdir()}
    assert found == {f"{name}.der" for name in twocvm_certs.PINS} | {"origin.json"}


def test_origin_record_names_every_certificate():
    """The record gives each certificate's digest and at least one package that carries it."""
    record = json.loads((HOME / "amd" / "origin.json").read_text())
    assert {row["file"].removesuffix(".der"): row["sha256"] for row in record["certificates"]} == twocvm_certs.PINS
    for row in record["certificates"]:
        assert row["found_in"]
        assert all(source["package"] in record["packages"] for source in row["found_in"])


@pytest.fixture
def damaged_copy(tmp_path, monkeypatch):
    """A copy of the package with one certificate changed and one missing."""
    copy = tmp_path / "twocvm_certs_damaged"
    shutil.copytree(HOME, copy, ignore=shutil.ignore_patterns("__pycache__"))
    changed = copy / "amd" / "ark-milan.der"
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x00")
    (copy / "amd" / "ark-genoa.der").unlink()
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("twocvm_certs_damaged")


def test_changed_certificate_is_never_returned(damaged_copy):
    """A file whose digest differs from its pin raises instead of loading."""
    with pytest.raises(damaged_copy.CorruptedError, match="want 69d063b4"):
        damaged_copy.load("ark-milan")


def test_missing_certificate_is_reported(damaged_copy):
    """A file that is gone raises the same error, and the others still load."""
    with pytest.raises(damaged_copy.CorruptedError, match="cannot be read"):
        damaged_copy.load("ark-genoa")
    assert damaged_copy.load("ask-milan")


def test_unknown_name_is_the_callers_mistake():
    """Only pinned names exist."""
    with pytest.raises(KeyError):
        twocvm_certs.load("ark-rome")
