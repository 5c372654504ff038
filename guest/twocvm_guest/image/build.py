"""Builds an image: a kernel and an initrd, from locked packages and this distribution, the same bytes each time.

1. The files that `recipe` names are taken out of the locked packages and wheels.
2. This distribution is added as it is installed here, and the kernel's modules with their order.
3. All of Python is compiled by the image's own Python.
4. The archive is written and compressed by the locked compressor.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Final

from twocvm_guest.platforms.measure import installed_folders, measure_files, read_files

from . import bytecode, cpio, modules, reach, recipe
from .command_line import Variant
from .deb import Packed, read_package
from .elf import without_sections
from .lock import Lock, Package, Wheel
from .tree import IMAGE, Entry, Tree

# High enough for 40 MB, and no higher: it is what a build takes most of its time for. The window is the whole.
_LEVEL: Final = ("-16", "--long=27")
_INIT: Final = """#!/usr/bin/python3.11 -ISB
import sys

sys.path.append("/usr/lib/python3/dist-packages")
from twocvm_guest.image.init.main import main

main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A built image.

    Attributes:
        variant: Which one it is.
        kernel: The kernel, as Debian's package has it.
        initrd: The archives of `entries`, the larger one compressed.
        entries: What the machine's root consists of.
        software: What a simulated guest in it calls its measurement (48 bytes).
    """

    variant: Variant
    kernel: bytes
    initrd: bytes
    entries: tuple[Entry, ...]
    software: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an image is made of, at hand.

    Attributes:
        lock: The names and versions.
        packages: Debian's packages by name.
        wheels: The wheels.
        own: This distribution's own files, by path below the folder that it is imported from.
    """

    lock: Lock
    packages: Mapping[str, bytes]
    wheels: Mapping[Wheel, bytes]
    own: Mapping[str, bytes]


def own_files() -> dict[str, bytes]:
    """Return the files of this distribution as they are installed here."""
    return read_files(installed_folders())


def build_images(parts: Parts, variants: tuple[Variant, ...]) -> tuple[Image, ...]:
    """Return the images of these variants, which differ in one file.

    Raises:
        MalformedError: A package is none.
        UnsupportedError: IMAGE_NOT_BUILT; what was locked does not run here: this takes Linux on x86_64.
    """
    tree = Tree()
    for package in parts.lock.packages:
        if package.name in recipe.TAKEN:
            wanted = partial(recipe.is_taken, package.name)
            _add_packed(tree, package, read_package(parts.packages[package.name], wanted))
    for wheel, raw in parts.wheels.items():
        _add_wheel(tree, wheel, raw)
    own = reach.needed(parts.own)
    _add_distribution(tree, own)
    software = measure_files(own)
    kernel = _add_kernel(tree, parts)
    for folder in recipe.FOLDERS:
        tree.add_folder(folder)
    for path, target in recipe.LINKS:
        tree.add_link(path, target, origin=IMAGE)
    tree.add_file("init", _INIT.encode(), program=True, origin=IMAGE)
    with tempfile.TemporaryDirectory(prefix="twocvm-image-") as work:
        root, tools = Path(work, "root"), Path(work, "tools")
        root.mkdir()
        tree.write(root)
        bytecode.compile_all(tree, root)
        _write_tools(tools, parts)
        common = compress(cpio.archive(tree.entries()), root, tools)
    return tuple(_image(tree, variant, kernel, common, software) for variant in variants)


def _image(tree: Tree, variant: Variant, kernel: bytes, common: bytes, software: bytes) -> Image:
    # The kernel unpacks one archive after the other; what they have in common is compressed once.
    settings = Entry(
        path="etc/twocvm.json",
        mode=tree["init"].mode & ~0o111,
        content=json.dumps({"variant": variant.value}).encode() + b"\n",
        origin=IMAGE,
    )
    etc = Entry(path="etc", mode=tree["usr"].mode, content=b"", origin=IMAGE)
    entries = tuple(sorted((*tree.entries(), etc, settings), key=lambda entry: entry.path))
    initrd = cpio.archive((etc, settings)) + common
    return Image(variant=variant, kernel=kernel, initrd=initrd, entries=entries, software=software)


def compress(raw: bytes, root: Path, tools: Path) -> bytes:
    """Return `raw` as the locked compressor writes it, which is the same for any number of threads.

    Args:
        raw: What to compress.
        root: The image on this machine, whose C library the compressor needs.
        tools: The compressor and its other libraries on this machine.
    """
    loader, _, folders, *rest = bytecode.run_inside(root, recipe.PYTHON)
    del rest
    libraries = f"{folders}:{tools / recipe.LIBRARIES}"
    words = (loader, "--library-path", libraries, str(tools / "usr/bin/zstd"))
    options = (*_LEVEL, "-T2", "--quiet", "--no-check", "--stdout", f"--stream-size={len(raw)}")
    return bytecode.run_locked((*words, *options), raw)


def _add_wheel(tree: Tree, wheel: Wheel, raw: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for name in archive.namelist():
            if recipe.is_wheel_file(name):
                content = without_sections(archive.read(name))
                tree.add_file(f"{recipe.SITE}/{name}", content, program=False, origin=wheel.origin)


def _add_distribution(tree: Tree, own: Mapping[str, bytes]) -> None:
    version = metadata.version("twocvm")
    origin = f"twocvm {version}"
    for path, content in own.items():
        tree.add_file(f"{recipe.SITE}/{path}", content, program=False, origin=origin)
    named = f"Metadata-Version: 2.4\nName: twocvm\nVersion: {version}\n"
    path = f"{recipe.SITE}/twocvm-{version}.dist-info/METADATA"
    tree.add_file(path, named.encode(), program=False, origin=origin)


def _add_kernel(tree: Tree, parts: Parts) -> bytes:
    package = next(each for each in parts.lock.packages if each.name == recipe.KERNEL)
    kernel, compressed = b"", {}
    for packed in read_package(parts.packages[package.name], recipe.is_of_kernel):
        if packed.path.endswith(".ko.xz"):
            compressed[Path(packed.path).name.removesuffix(".ko.xz")] = packed.content
        else:
            kernel = packed.content
    unpacked: dict[str, bytes] = {}
    for name, wanted in recipe.MODULES.items():
        ordered = modules.with_needs(compressed, wanted)
        listed = "".join(f"{module}.ko\n" for module in ordered)
        tree.add_file(f"usr/lib/modules/{name}", listed.encode(), program=False, origin=IMAGE)
        unpacked |= ordered
    for name, module in unpacked.items():
        tree.add_file(f"usr/lib/modules/{name}.ko", module, program=False, origin=package.origin)
    return kernel


def _write_tools(folder: Path, parts: Parts) -> None:
    tree = Tree()
    for package in parts.lock.packages:
        if package.name in recipe.TOOLS:
            wanted = partial(recipe.is_tool, package.name)
            _add_packed(tree, package, read_package(parts.packages[package.name], wanted))
    folder.mkdir()
    tree.write(folder)


def _add_packed(tree: Tree, package: Package, files: Iterable[Packed]) -> None:
    for packed in files:
        if packed.target:
            tree.add_link(packed.path, packed.target, origin=package.origin)
        else:
            program = packed.program and not packed.path.endswith(".py")
            tree.add_file(packed.path, packed.content, program=program, origin=package.origin)
