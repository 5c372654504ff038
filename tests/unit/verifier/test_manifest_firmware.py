"""What a manifest says of a provider's firmware: read, shown, and never mistaken for an image."""

from __future__ import annotations

import pytest
from tests.support.manifests import MEASUREMENT, Document, World

from twocvm_verifier.manifest.explain.report import explain
from twocvm_verifier.manifest.explain.words import lines
from twocvm_verifier.manifest.problems import ManifestError
from twocvm_verifier.manifest.summary import summary

FIRMWARE = "ab" * 48


def world(**platform: object) -> World:
    """Return participants whose manifest's platform has these members; None leaves one out."""

    def edit(document: Document) -> None:
        members = document["platform"] | platform
        document["platform"] = {name: value for name, value in members.items() if value is not None}

    return World(edit=edit)


def test_firmware_alone_is_read_and_said() -> None:
    """It stands apart from images, and whoever signs reads what it does not prove."""
    manifest = world(measurements=None, firmware_measurements=[FIRMWARE]).manifest
    assert (manifest.platform.measurements, manifest.platform.firmware_measurements) == ((), (bytes.fromhex(FIRMWARE),))
    assert f"measurement {FIRMWARE} of a provider's firmware alone" in "\n".join(summary(manifest))
    assert f"under a provider's firmware that measures {FIRMWARE}" in "\n".join(
        lines(explain(manifest, me="hospital-a", companions=(), host=False))
    )


def test_both_may_stand_beside_each_other() -> None:
    """One launch of an image, another on a provider's machine."""
    platform = world(firmware_measurements=[FIRMWARE]).manifest.platform
    assert (platform.measurements, platform.firmware_measurements) == ((MEASUREMENT,), (bytes.fromhex(FIRMWARE),))


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"measurements": None}, "/platform/measurements"),
        ({"firmware_measurements": []}, "/platform/firmware_measurements"),
        ({"firmware_measurements": [FIRMWARE, FIRMWARE]}, "/platform/firmware_measurements/1"),
        ({"firmware_measurements": ["ab"]}, "/platform/firmware_measurements/0"),
    ],
)
def test_something_is_named_and_of_its_form(members: dict[str, object], problem: str) -> None:
    """At least one measurement of either kind, in a set of 48 bytes each."""
    with pytest.raises(ManifestError) as refusal:
        world(**members).manifest  # noqa: B018 - made where it is asked for
    assert [found.pointer for found in refusal.value.problems] == [problem]
