"""The bill of materials: what is in it, from packages that say their licences in every way, and by its schema."""

from __future__ import annotations

import importlib.resources
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from tests.unit.guest.image.test_image_parts import deb, tar

from twocvm_guest.image import recipe
from twocvm_guest.image.build import Image, Parts
from twocvm_guest.image.command_line import Variant
from twocvm_guest.image.lock import Lock, Package, Wheel, load_lock
from twocvm_guest.image.sbom import bill_of_materials

IMAGE = Image(variant=Variant.PRODUCTION, kernel=b"kernel", initrd=b"initrd", entries=(), software=bytes(48))
READABLE = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: MIT

License: MIT
 a long text
License: GPL-2+ or MIT
"""


def package(name: str, copyright_file: str = "", file: str = "") -> tuple[Package, bytes]:
    """A Debian package with one file, or none."""
    members = ((f"./usr/share/doc/{name}/copyright", copyright_file.encode(), 0o644),) if copyright_file else ()
    path = f"pool/main/x/{file or f'{name}_1%2b2_amd64.deb'}"
    raw = deb(("data.tar.xz", tar(*members)))
    return Package(name=name, version="1:1+2~3", archive="debian", path=path, size=1, sha256=bytes(32)), raw


def wheel(name: str, *headers: str) -> tuple[Wheel, bytes]:
    """A wheel with nothing but metadata."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(
            f"{name}-1.dist-info/METADATA", "\n".join(("Metadata-Version: 2.4", *headers, "", "License: no"))
        )
        archive.writestr(f"{name}/{name}-2.dist-info/METADATA", "License: vendored")
    return Wheel(name=name, version="1", sha256=frozenset()), out.getvalue()


def bill(*packages: tuple[Package, bytes], wheels: tuple[tuple[Wheel, bytes], ...] = ()) -> dict[str, Any]:
    """The document of an image of these, which its own schema must take."""
    lock = Lock(packages=tuple(each for each, _ in packages), wheels=tuple(each for each, _ in wheels))
    parts = Parts(lock=lock, packages={each.name: raw for each, raw in packages}, wheels=dict(wheels), own={})
    raw = bill_of_materials(IMAGE, parts, version="1.0")
    assert raw == bill_of_materials(IMAGE, replace(parts, wheels=dict(reversed(wheels))), version="1.0")
    document: dict[str, Any] = json.loads(raw)
    schema().validate(document)
    return document


def schema() -> Any:
    """CycloneDX's own schema, with the two that it refers to."""
    folder = importlib.resources.files("cyclonedx.schema") / "_res"
    read = {
        name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text(encoding="utf-8"))
        for name in ("bom-1.6", "spdx", "jsf-0.82")
    }
    # As they call each other.
    named = [(f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", each) for name, each in read.items()]
    registry = jsonschema_rs.Registry(named)
    return jsonschema_rs.Draft7Validator(read["bom-1.6"], registry=registry)


def licences(document: dict[str, Any]) -> dict[str, list[str]]:
    """The licences of each component by its name."""
    return {
        each["name"]: [said["license"]["name"] for said in each.get("licenses", ())] for each in document["components"]
    }


def test_packages_say_their_licences_or_not() -> None:
    """A copyright file that can be read is read; one for people, or none, says nothing; the kernel's is known."""
    found = bill(
        package("libc6"),
        package("zlib1g", READABLE),
        package("libffi8", "Copyright: somebody\nLicense: GPL"),
        package(recipe.KERNEL, file="linux-image-6.12.1%2bdeb12-cloud-amd64_6_amd64.deb"),
        package("zstd", READABLE),
    )
    assert licences(found) == {
        "twocvm": ["Apache-2.0"],
        "libc6": [],
        "zlib1g": ["GPL-2+ or MIT", "MIT"],
        "libffi8": [],
        "linux-image-6.12.1+deb12-cloud-amd64": ["GPL-2.0-only WITH Linux-syscall-note"],
    }


def test_wheels_say_their_licences_or_not() -> None:
    """The expression first, then a short word, then classifiers; what comes after the headers is no header."""
    found = bill(
        wheels=(
            wheel("b", "License-Expression: MIT OR 0BSD", "License: other"),
            wheel("a", "License: BSD"),
            wheel("c", f"License: {'long ' * 40}", "Classifier: License :: OSI Approved :: ISC License"),
            wheel("d", "Classifier: Topic :: Software Development"),
            wheel("e", "License: The text", "  of a licence", "Classifier: License :: Other"),
        )
    )
    assert list(licences(found).items()) == [
        ("twocvm", ["Apache-2.0"]),
        ("a", ["BSD"]),
        ("b", ["MIT OR 0BSD"]),
        ("c", ["ISC License"]),
        ("d", []),
        ("e", ["Other"]),
    ]


def test_each_part_is_named_once_with_its_digest() -> None:
    """Package URLs are quoted, digests are the lock's, and the image itself names its two files."""
    found = bill(package("libc6"), wheels=(wheel("a"),))
    assert [each["purl"] for each in found["components"]] == [
        "pkg:pypi/twocvm@1.0",
        "pkg:deb/debian/libc6@1%3A1%2B2~3?arch=amd64&distro=debian-12",
        "pkg:pypi/a@1",
    ]
    assert [each["hashes"][0]["alg"] for each in found["components"]] == ["SHA-384", "SHA-256", "SHA-256"]
    assert len(found["metadata"]["component"]["properties"]) == 2
    assert found["dependencies"][0]["dependsOn"] == [each["bom-ref"] for each in found["components"]]
    assert not {"serialNumber"} & found.keys()
    assert "timestamp" not in found["metadata"]


def test_page_on_the_trusted_base_leaves_nothing_out() -> None:
    """Every package that is in the image is named in `docs/trusted-base.md`, and none that is not."""
    page = (Path(__file__).parents[4] / "docs" / "trusted-base.md").read_text(encoding="utf-8")
    table = page[: page.index("## What is not in it")]
    named = set(re.findall(r"`([a-z][a-z0-9.-]+)`", table)) - {"files.txt", "sbom.json"}
    lock = load_lock()
    assert named == {*recipe.TAKEN, recipe.KERNEL, *(each.name for each in lock.wheels)}


def test_schema_refuses_what_is_none() -> None:
    """So that the other tests say something: a component without a name is refused."""
    document = bill(package("libc6"))
    del document["components"][0]["name"]
    with pytest.raises(jsonschema_rs.ValidationError):
        schema().validate(document)
