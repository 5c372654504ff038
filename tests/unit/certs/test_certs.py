"""The shipped trust anchors are the pinned ones, or nothing."""

from __future__ import annotations

import hashlib
import json
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


@pytest.mark.parametrize("name", sorted(twocvm_certs.PINS))
def test_changed_certificate_is_never_returned(name, tmp_path):
    """A file whose digest differs from its pin by one bit raises instead of loading."""
    whole = twocvm_certs.load(name)
    (tmp_path / f"{name}.der").write_bytes(whole)
    assert twocvm_certs.load_from(tmp_path, name) == whole
    (tmp_path / f"{name}.der").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(twocvm_certs.CorruptedError, match=f"want {twocvm_certs.PINS[name]}"):
        twocvm_certs.load_from(tmp_path, name)


def test_missing_certificate_is_reported(tmp_path):
    """A file that is gone raises the same error."""
    with pytest.raises(twocvm_certs.CorruptedError, match="cannot be read"):
        twocvm_certs.load_from(tmp_path, "ark-milan")


def test_unknown_name_is_the_callers_mistake():
    """Only pinned names exist."""
    with pytest.raises(KeyError):
        twocvm_certs.load("ark-rome")
