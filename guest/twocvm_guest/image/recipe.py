"""What is taken of each package. An image is made by adding: a file that no line here names is not in it.

So there is no shell, no package manager, no compiler and no program but Python, whatever a package brings.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_LIBRARIES: Final = "usr/lib/x86_64-linux-gnu"
_PYTHON: Final = "usr/lib/python3.11"
PYTHON: Final = "usr/bin/python3.11"
LOADER: Final = "usr/lib64/ld-linux-x86-64.so.2"
LIBRARIES: Final = _LIBRARIES
SITE: Final = "usr/lib/python3/dist-packages"
KERNEL: Final = "linux-image-cloud-amd64"
KERNEL_FILE: Final = "boot/vmlinuz-*"
KERNEL_MODULES: Final = "usr/lib/modules/*/kernel/*.ko.xz"

# Modules in C of the standard library whose own libraries are in the image.
_DYNAMIC: Final = (
    *("_asyncio", "_contextvars", "_ctypes", "_decimal", "_hashlib", "_json", "_multiprocessing", "_queue", "_ssl"),
    *("_typing", "_zoneinfo", "mmap", "resource", "termios"),
)

TAKEN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "libc6": (
            LOADER,
            *(
                f"{_LIBRARIES}/{name}"
                for name in (
                    *("ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libm.so.6"),
                    *("libpthread.so.0", "librt.so.1", "libutil.so.1"),
                )
            ),
        ),
        "libexpat1": (f"{_LIBRARIES}/libexpat.so.1*",),
        "libffi8": (f"{_LIBRARIES}/libffi.so.8*",),
        "libgcc-s1": (f"{_LIBRARIES}/libgcc_s.so.1",),
        "libpython3.11-minimal": (f"{_PYTHON}/*.py", *(f"{_PYTHON}/lib-dynload/{name}.*.so" for name in _DYNAMIC)),
        "libpython3.11-stdlib": (f"{_PYTHON}/*.py", *(f"{_PYTHON}/lib-dynload/{name}.*.so" for name in _DYNAMIC)),
        "libssl3": (f"{_LIBRARIES}/libcrypto.so.3", f"{_LIBRARIES}/libssl.so.3"),
        "python3.11-minimal": (PYTHON,),
        "zlib1g": (f"{_LIBRARIES}/libz.so.1*",),
    }
)
"""Paths by package, with `*` for anything."""

LEFT_OUT: Final = (
    *(
        f"{_PYTHON}/{name}"
        for name in (
            # What serves, calls or builds.
            *("cgi*.py", "distutils/*", "ensurepip/*", "ftplib.py", "http/cookiejar.py", "http/server.py"),
            *("imaplib.py", "lib2to3/*", "mailbox.py", "nntplib.py", "poplib.py", "pydoc.py", "pydoc_data/*"),
            *("smtpd.py", "smtplib.py", "telnetlib.py"),
            *("test/*", "unittest/*", "venv/*", "webbrowser.py", "wsgiref/*", "xmlrpc/*", "zipapp.py"),
            # What somebody at a keyboard uses.
            *("antigravity.py", "bdb.py", "cProfile.py", "cmd.py", "code.py", "codeop.py", "curses/*", "doctest.py"),
            *("idlelib/*", "modulefinder.py", "optparse.py", "pdb.py", "pickletools.py", "profile.py", "pstats.py"),
            *("pty.py", "pyclbr.py", "rlcompleter.py", "symtable.py", "tabnanny.py", "this.py", "timeit.py"),
            *("tkinter/*", "trace.py", "turtle*"),
            # Formats, and codes of letters, that nothing in the image reads; and what stands in for modules in C.
            *("_pydecimal.py", "_pyio.py", "aifc.py", "chunk.py", "colorsys.py", "crypt.py", "dbm/*", "imghdr.py"),
            *("mailcap.py", "plistlib.py", "shelve.py", "sndhdr.py", "sqlite3/*", "statistics.py", "sunau.py"),
            *("tarfile.py", "uu.py", "wave.py", "xdrlib.py", "xml/*"),
            *(
                f"encodings/{codec}.py"
                for codec in (
                    *("big5*", "cp[!4]*", "cp42?", "euc_*", "gb*", "hp_roman8", "hz", "iso2022*", "iso8859_1?"),
                    *("iso8859_[2-9]", "johab", "koi8*", "kz1048", "mac_*", "palmos", "ptcp154", "shift*", "tis_620"),
                )
            ),
            # What other systems use, and Debian's own additions for people.
            *("_aix_support.py", "_osx_support.py", "asyncio/windows_*.py", "ctypes/wintypes.py", "nturl2path.py"),
            "sitecustomize.py",
        )
    ),
    # Of what calls C libraries only the part in C is used.
    *(f"{SITE}/{name}" for name in ("cffi/*", "pycparser/*", "pydantic/v1/*")),
)
"""Of the standard library and the wheels: what nothing in the image imports."""

BEGINNINGS: Final = (
    *("twocvm_guest/image/init/*.py", "twocvm_guest/unattended.py"),
    # A worker loads what its job names; its program's text names the first.
    *("twocvm_guest/filters/*.py", "twocvm_guest/runtime/*.py"),
    # The simulated platform measures four packages, of which a guest imports three.
    "twocvm_sdk/__init__.py",
)
"""Of this distribution: what is started by name. What these import comes along (`reach`), and nothing else does."""

DATA: Final = ("twocvm_certs/amd/*", "twocvm_verifier/advisories/data/*")
"""Of this distribution: what its modules read."""

TOOLS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "zstd": ("usr/bin/zstd",),
        "liblz4-1": (f"{_LIBRARIES}/liblz4.so.1*",),
        "liblzma5": (f"{_LIBRARIES}/liblzma.so.5*",),
        "libstdc++6": (f"{_LIBRARIES}/libstdc++.so.6*",),
    }
)
"""What builds an image and is not in it: locked too, so that the same bytes come out of it everywhere."""

MODULES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "order": ("virtio_net", "nf_tables", "configfs", "tsm", "sev-guest"),
        # Only where the command line names a payload: without a driver no disk is even looked at.
        "payload": ("virtio_blk", "erofs", "dm-verity"),
    }
)
"""The kernel's modules by the list that they are loaded from; what they need comes along."""

LINKS: Final = (("lib", "usr/lib"), ("lib64", "usr/lib64"))
"""Where programs look for their loader and libraries."""

FOLDERS: Final = ("dev", "mnt", "proc", "run", "sys", "tmp")
"""Empty, to be mounted over."""


def is_taken(package: str, path: str) -> bool:
    """Return whether a path of a package is in the image."""
    patterns = TAKEN.get(package, ())
    return matches(path, patterns) and not matches(path, LEFT_OUT)


def is_tool(package: str, path: str) -> bool:
    """Return whether a path of a package is used to build the image."""
    return matches(path, TOOLS.get(package, ()))


def is_of_kernel(path: str) -> bool:
    """Return whether a path of the kernel's package is the kernel, or a module."""
    return matches(path, (KERNEL_FILE, KERNEL_MODULES))


def is_wheel_file(path: str) -> bool:
    """Return whether a path of a wheel is in the image: what is imported, and what names the distribution."""
    folder, _, name = path.rpartition("/")
    if folder.endswith(".dist-info"):
        return name in {"METADATA", "entry_points.txt"}
    out = path.endswith((".pyi", ".pth", ".h", ".hh", "/")) or matches(f"{SITE}/{path}", LEFT_OUT)
    return ".dist-info/" not in path and not out


def matches(path: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a path is one of these, with `*` for anything."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
