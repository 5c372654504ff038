"""What an image is put together from: packages, modules, the tree, the archive and its list."""

from __future__ import annotations

import hashlib
import io
import lzma
import stat
import struct
import sys
import tarfile
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from twocvm_guest.image import cpio, filelist, modules, reach, recipe
from twocvm_guest.image.build import own_files
from twocvm_guest.image.deb import read_package
from twocvm_guest.image.elf import without_sections
from twocvm_guest.image.lock import load_lock
from twocvm_guest.image.tree import IMAGE, Tree
from twocvm_verifier.errors import BindingError, MalformedError


def tar(*members: tuple[str, bytes | str, int]) -> bytes:
    """A tar archive of files (bytes), links (str) and their permissions."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as archive:
        for name, content, mode in members:
            info = tarfile.TarInfo(name)
            info.mode = mode
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def deb(*members: tuple[str, bytes]) -> bytes:
    """An ar archive."""
    parts = [b"!<arch>\n"]
    for name, content in members:
        parts.append(f"{name:16}{0:12}{0:6}{0:6}{'100644':8}{len(content):10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


def test_package_is_read() -> None:
    """Wanted files and links come out, below /usr as Debian has merged it; others do not."""
    data = tar(
        ("./lib/a.so", b"a", 0o644),
        ("./lib64/ld.so", "/lib/ld.so", 0o777),
        ("./usr/bin/su", b"s", 0o4755),
        ("./usr/no", b"n", 0o644),
    )
    raw = deb(("debian-binary", b"2.0"), ("control.tar.xz", b"odd"), ("data.tar.xz", data))
    found = list(read_package(raw, lambda path: path != "usr/no"))
    assert [(each.path, each.content, each.target, each.program) for each in found] == [
        ("usr/lib/a.so", b"a", "", False),
        ("usr/lib64/ld.so", b"", "/usr/lib/ld.so", True),
        ("usr/bin/su", b"s", "", True),
    ]


@pytest.mark.parametrize(
    "raw",
    [b"", b"!<arch>\n", b"no archive", deb(("debian-binary", b"2.0")), deb(("data.tar.xz", b"nothing"))],
)
def test_what_is_no_package_is_refused(raw: bytes) -> None:
    """Every other file is malformed."""
    with pytest.raises(MalformedError) as refused:
        list(read_package(raw, lambda _: True))
    assert refused.value.code == "MALFORMED_PACKAGE"


def test_tree_has_each_path_once_and_raises_nothing() -> None:
    """Folders come along, permissions are only read and run, and a path that is taken or leads out is refused."""
    tree = Tree()
    tree.add_file("usr/bin/su", b"s", program=True, origin="login 1")
    tree.add_file("usr/bin/su.conf", b"c", program=False, origin="login 1")
    tree.add_link("bin", "usr/bin", origin="base 1")
    assert [(each.path, stat.filemode(each.mode), each.origin) for each in tree.entries()] == [
        ("bin", "lrwxrwxrwx", "base 1"),
        ("usr", "drwxr-xr-x", IMAGE),
        ("usr/bin", "drwxr-xr-x", IMAGE),
        ("usr/bin/su", "-r-xr-xr-x", "login 1"),
        ("usr/bin/su.conf", "-r--r--r--", "login 1"),
    ]
    for path in ("usr/bin/su", "usr/bin", "/etc", "a/../b", "a/./b", "", "a//b"):
        with pytest.raises(ValueError, match=r"is (from|no path)"):
            tree.add_file(path, b"", program=False, origin="other 1")
    for path in ("bin/sh", "usr/bin/su/x/y"):
        with pytest.raises(ValueError, match="no folder"):
            tree.add_file(path, b"", program=False, origin="other 1")
    tree.remove("bin")
    assert tree["usr/bin/su"].content == b"s"
    assert [each.path for each in tree.entries()] == ["usr", "usr/bin", "usr/bin/su", "usr/bin/su.conf"]


def test_tree_is_written_as_it_is(tmp_path: Path) -> None:
    """For programs that run here: files with their permissions, folders, and links that lead where they say."""
    tree = Tree()
    tree.add_file("usr/bin/su", b"s", program=True, origin="login 1")
    tree.add_file("usr/text", b"t", program=False, origin="login 1")
    tree.add_link("bin", "usr/bin", origin="base 1")
    tree.add_folder("run")
    tree.write(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} >= {"run", "bin", "usr/bin/su"}
    assert (tmp_path / "bin").readlink() == Path("usr/bin")
    assert (tmp_path / "bin" / "su").read_bytes() == b"s"
    modes = {name: stat.S_IMODE((tmp_path / "usr" / name).stat().st_mode) for name in ("bin/su", "text")}
    assert modes == {"bin/su": 0o555, "text": 0o444}


def test_archive_is_the_kernels_form() -> None:
    """Each record is rebuilt whole: magic, 13 numbers, padded name and content; no owner and no time is in any."""
    tree = Tree()
    tree.add_file("init", b"#!x", program=True, origin=IMAGE)
    tree.add_link("sbin", "run", origin=IMAGE)
    tree.add_folder("run")
    raw = cpio.archive(tree.entries())
    records = [("init", 0o100555, 1, b"#!x"), ("run", 0o040755, 2, b""), ("sbin", 0o120777, 1, b"run")]
    expected = b""
    for number, (name, mode, links, content) in enumerate([*records, ("TRAILER!!!", 0, 1, b"")], 1):
        inode = number if mode else 0
        fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        expected += "".join(("070701", *(f"{field:08X}" for field in fields), name, "\0")).encode()
        expected += bytes(-len(expected) % 4) + content
        expected += bytes(-len(expected) % 4)
    assert raw == expected + bytes(-len(expected) % 512)


def test_list_of_files_shows_every_change() -> None:
    """Another byte, package, mode or path is another line; this distribution's own files are not listed."""
    tree = Tree()
    tree.add_file("usr/bin/python3.11", b"p", program=True, origin="python 1")
    tree.add_link("lib", "usr/lib", origin=IMAGE)
    tree.add_link("usr/bin/python3", "python3.11", origin="python 1")
    tree.add_file("init", b"changes with this distribution", program=True, origin=IMAGE)
    tree.add_file("site/twocvm_guest/a.py", b"a", program=False, origin="twocvm 0.1.0")
    listed = filelist.render(tree.entries())
    assert listed.splitlines() == [
        "-r-xr-xr-x init  image",
        "lrwxrwxrwx lib -> usr/lib  image",
        "drwxr-xr-x site  image",
        "drwxr-xr-x usr  image",
        "drwxr-xr-x usr/bin  image",
        "lrwxrwxrwx usr/bin/python3 -> python3.11  python 1",
        f"-r-xr-xr-x usr/bin/python3.11 {hashlib.sha256(b'p').hexdigest()}  python 1",
    ]
    filelist.require_same(listed, listed)
    fewer = listed.replace("drwxr-xr-x usr  image\n", "")
    for other in (listed.replace("python 1", "python 2"), listed.replace("-r-x", "-r--"), listed + "x\n", fewer):
        for built, committed in ((other, listed), (listed, other)):
            with pytest.raises(BindingError) as refused:
                filelist.require_same(built, committed)
            assert refused.value.code == "IMAGE_FILES_DIFFER"


def module(*needed: str) -> bytes:
    """A kernel module as far as its needs go."""
    return lzma.compress(b"\0license=GPL\0depends=" + ",".join(needed).encode() + b"\0name=x\0")


def test_modules_come_after_what_they_need() -> None:
    """The order loads what is needed first, each once; hyphens and underscores are the same."""
    known = {"net_failover": module("failover"), "failover": module(), "virtio-net": module("net-failover")}
    loaded = modules.with_needs(known, ["virtio_net", "failover"])
    assert list(loaded) == ["failover", "net_failover", "virtio-net"]
    assert loaded["failover"] == lzma.decompress(module())
    assert modules.needs(b"no section") == ()
    with pytest.raises(ValueError, match="has none"):
        modules.with_needs(known, ["e1000"])


def test_recipe_takes_no_shell_and_no_tool() -> None:
    """Of packages only what is named is taken, and what builds the image is not in it."""
    assert recipe.is_taken("libc6", "usr/lib/x86_64-linux-gnu/libc.so.6")
    assert recipe.is_taken("libpython3.11-stdlib", "usr/lib/python3.11/json/decoder.py")
    assert not recipe.is_taken("libpython3.11-stdlib", "usr/lib/python3.11/ensurepip/__init__.py")
    assert not recipe.is_taken("bash", "usr/bin/bash")
    assert not recipe.is_taken("zstd", "usr/bin/zstd")
    assert recipe.is_tool("zstd", "usr/bin/zstd")
    assert recipe.is_of_kernel("boot/vmlinuz-6.12")
    kept = ("a/b.py", "a/b.pyi", "a.pth", "a.dist-info/METADATA", "a.dist-info/RECORD")
    assert [name for name in kept if recipe.is_wheel_file(name)] == ["a/b.py", "a.dist-info/METADATA"]
    for unused in ("pydantic/v1/main.py", "a.h"):
        assert not recipe.is_wheel_file(unused)


def library(*, sections: bool) -> bytes:
    """A library of one segment, with a table of sections behind it or without."""
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, 999, 0, 64, 56, 1, 64, 9, 8)
    raw = head + struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 200, 200, 4096) + b"c" * 80
    return raw + b"names and sections" * sections


def test_libraries_lose_what_nothing_loads() -> None:
    """What is mapped stays to the byte; what comes behind it goes, and the header says that there are no sections."""
    whole = without_sections(library(sections=True))
    assert whole == without_sections(whole) == without_sections(library(sections=False))
    assert len(whole) == 200
    assert whole[64:] == library(sections=True)[64:200]
    assert (whole[40:48], whole[60:64]) == (bytes(8), bytes(4))


@pytest.mark.parametrize("raw", [b"", b"text", library(sections=True)[:64], b"\x7fELF\x02\x01\x01", b"\x7fELF" * 40])
def test_what_is_no_library_stays_as_it_is(raw: bytes) -> None:
    """Other files, objects such as the kernel's modules, and headers that lead out of the file are left alone."""
    assert without_sections(raw) == raw
    module = library(sections=True)[:16] + b"\x01" + library(sections=True)[17:]
    assert without_sections(module) == module


def test_image_has_what_its_programs_import_and_no_more() -> None:
    """Of this distribution: the guest, what it verifies with, and none of the commands, the service or the SDK."""
    needed = reach.needed(own_files())
    for wanted in ("twocvm_guest/unattended.py", "twocvm_guest/filters/work.py", "twocvm_certs/amd/ark-milan.der"):
        assert wanted in needed
    for unwanted in ("twocvm_guest/main.py", "twocvm_guest/image/build.py", "twocvm_verifier/service/__init__.py"):
        assert unwanted in own_files()
        assert unwanted not in needed
    assert [path for path in needed if path.startswith("twocvm_sdk/")] == ["twocvm_sdk/__init__.py"]


def test_lock_has_what_is_imported() -> None:
    """The group `image` names exactly the distributions that the guest in the image imports, noise left out."""
    others = reach.reach(own_files(), recipe.BEGINNINGS).others - sys.stdlib_module_names - {"opendp"}
    known = packages_distributions()
    imported = {known[name][0].lower().replace("_", "-") for name in others}
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())
    assert imported == set(project["dependency-groups"]["image"])
    assert imported <= {wheel.name for wheel in load_lock().wheels}


def test_reach_follows_every_way_to_import() -> None:
    """In functions, relative, of a name in a module and of a module by its package, but not for types alone."""
    files = {
        "a/__init__.py": b"",
        "a/b/__init__.py": b"from .c import name",
        "a/b/c.py": b"def late():\n  from ..d import name\n  import a.e, json",
        "a/d.py": b"if TYPE_CHECKING:\n  from .f import Name\nelse:\n  from . import g",
        **{f"a/{name}.py": b"" for name in "efgh"},
        "a/data.txt": b"",
    }
    found = reach.reach(files, ("a/b/*.py",))
    assert set(found.files) == files.keys() - {"a/f.py", "a/h.py", "a/data.txt"}
    assert found.others == {"json"}
