"""The bill of materials of an image: each package by name, version, digest and licence, as CycloneDX 1.6 in JSON.

It is made from the lock and from the packages themselves, has no time and no random number in it, and so is the same
bytes wherever the image is. A licence stands where a package says one in a form that can be read: Debian's
machine-readable copyright file, a wheel's metadata. What a wheel carries compiled into it is the wheel.

Spec: CycloneDX 1.6 (ECMA-424); Package URL.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote, unquote

from twocvm_verifier.strictjson import Json

from . import recipe
from .build import Image, Parts
from .deb import read_package
from .lock import Package, Wheel
from .tree import OWN

BILL: Final = "sbom.json"
_SCHEMA: Final = "http://cyclonedx.org/schema/bom-1.6.schema.json"
# Its package is large, and its copyright file is for people to read.
_KERNEL_LICENCE: Final = "GPL-2.0-only WITH Linux-syscall-note"
_MACHINE_READABLE: Final = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0"
_LICENCE: Final = re.compile(r"^License: *(\S[^\n]*)$", re.MULTILINE)
_MOST_CHARACTERS: Final = 100


def bill_of_materials(image: Image, parts: Parts, *, version: str) -> bytes:
    """Return the document of an image.

    Args:
        image: What was built.
        parts: What it was built from.
        version: Of this distribution.

    Raises:
        MalformedError: A package is none.
    """
    components = [
        _own(image, version),
        *(_of_debian(package, parts.packages[package.name]) for package in parts.lock.packages if _is_in(package)),
        *(_of_index(wheel, raw) for wheel, raw in sorted(parts.wheels.items(), key=lambda each: each[0].name)),
    ]
    name = f"twocvm-guest-{image.variant.value}"
    document: dict[str, Json] = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "operating-system",
                "bom-ref": name,
                "name": name,
                "version": version,
                "properties": [
                    {"name": f"twocvm:{part}:sha256", "value": hashlib.sha256(content).hexdigest()}
                    for part, content in (("initrd", image.initrd), ("kernel", image.kernel))
                ],
            }
        },
        "components": list(components),
        "dependencies": [{"ref": name, "dependsOn": [each["bom-ref"] for each in components]}],
    }
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _is_in(package: Package) -> bool:
    # The others of the lock build an image, and are not in it.
    return package.name in recipe.TAKEN or package.name == recipe.KERNEL


def _own(image: Image, version: str) -> dict[str, Json]:
    hashes: list[Json] = [{"alg": "SHA-384", "content": image.software.hex()}]
    own = _component("application", OWN, version, f"pkg:pypi/{OWN}@{quote(version)}", ("Apache-2.0",))
    return own | {"hashes": hashes}


def _of_debian(package: Package, raw: bytes) -> dict[str, Json]:
    # The kernel is in the lock by what it is for; its package has its version in the name.
    name = unquote(PurePosixPath(package.path).name.partition("_")[0])
    kernel = package.name == recipe.KERNEL
    licences = (_KERNEL_LICENCE,) if kernel else tuple(_debian_licences(package.name, raw))
    url = f"pkg:deb/debian/{quote(name)}@{quote(package.version)}?arch=amd64&distro=debian-12"
    component = _component("operating-system" if kernel else "library", name, package.version, url, licences)
    return component | {"hashes": [{"alg": "SHA-256", "content": package.sha256.hex()}]}


def _of_index(wheel: Wheel, raw: bytes) -> dict[str, Json]:
    url = f"pkg:pypi/{wheel.name}@{quote(wheel.version)}"
    component = _component("library", wheel.name, wheel.version, url, tuple(_wheel_licences(raw)))
    return component | {"hashes": [{"alg": "SHA-256", "content": hashlib.sha256(raw).hexdigest()}]}


def _component(kind: str, name: str, version: str, url: str, licences: tuple[str, ...]) -> dict[str, Json]:
    component: dict[str, Json] = {"type": kind, "bom-ref": url, "name": name, "version": version, "purl": url}
    if licences:
        component["licenses"] = [{"license": {"name": each}} for each in licences]
    return component


def _debian_licences(name: str, raw: bytes) -> Iterator[str]:
    path = f"usr/share/doc/{name}/copyright"
    for packed in read_package(raw, lambda found: found == path):
        text = packed.content.decode("utf-8", "replace")
        if text.startswith(_MACHINE_READABLE):
            yield from sorted({each.strip() for each in _LICENCE.findall(text)})


def _wheel_licences(raw: bytes) -> Iterator[str]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        [metadata] = [each for each in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", each)]
        headers = HeaderParser().parsestr(archive.read(metadata).decode("utf-8", "replace"))
    classified = [each.split(" :: ")[-1] for each in headers.get_all("Classifier", ()) if each.startswith("License ::")]
    said: str = headers.get("License-Expression") or headers.get("License") or ""
    if 0 < len(said) <= _MOST_CHARACTERS and "\n" not in said:
        yield said
    else:
        yield from sorted(set(classified))
