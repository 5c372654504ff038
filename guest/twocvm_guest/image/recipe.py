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
    *("_asyncio", "_contextvars", "_ctypes", "_decimal", "_hashlib", "_json", "_multibytecodec", "_multiprocessing"),
    *("_queue", "_ssl", "_typing", "_zoneinfo", "mmap", "resource", "termios"),
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

LEFT_OUT: Final = tuple(
    f"{_PYTHON}/{name}"
    for name in (
        *("antigravity.py", "cProfile.py", "cgi*.py", "crypt.py", "curses/*", "dbm/*", "distutils/*", "doctest.py"),
        *("ensurepip/*", "ftplib.py", "idlelib/*", "imaplib.py", "lib2to3/*", "mailbox.py", "nntplib.py", "pdb.py"),
        *("poplib.py", "profile.py", "pstats.py", "pty.py", "pydoc.py", "pydoc_data/*", "smtpd.py", "smtplib.py"),
        *("sqlite3/*", "telnetlib.py", "test/*", "this.py", "tkinter/*", "trace.py", "turtle*"),
        *("unittest/*", "venv/*", "webbrowser.py", "wsgiref/*", "xmlrpc/*", "sitecustomize.py"),
    )
)
"""Of the standard library: what nothing in the image imports, beginning with what serves, calls or builds."""

TOOLS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "zstd": ("usr/bin/zstd",),
        "liblz4-1": (f"{_LIBRARIES}/liblz4.so.1*",),
        "liblzma5": (f"{_LIBRARIES}/liblzma.so.5*",),
        "libstdc++6": (f"{_LIBRARIES}/libstdc++.so.6*",),
    }
)
"""What builds an image and is not in it: locked too, so that the same bytes come out of it everywhere."""

MODULES: Final = ("virtio_net", "nf_tables", "configfs", "tsm", "sev-guest")
"""The kernel's modules that are loaded; what they need comes along."""

LINKS: Final = (("lib", "usr/lib"), ("lib64", "usr/lib64"))
"""Where programs look for their loader and libraries."""

FOLDERS: Final = ("dev", "mnt", "proc", "run", "sys", "tmp")
"""Empty, to be mounted over."""


def is_taken(package: str, path: str) -> bool:
    """Return whether a path of a package is in the image."""
    patterns = TAKEN.get(package, ())
    return _matches(path, patterns) and not _matches(path, LEFT_OUT)


def is_tool(package: str, path: str) -> bool:
    """Return whether a path of a package is used to build the image."""
    return _matches(path, TOOLS.get(package, ()))


def is_of_kernel(path: str) -> bool:
    """Return whether a path of the kernel's package is the kernel, or a module."""
    return _matches(path, (KERNEL_FILE, KERNEL_MODULES))


def is_wheel_file(path: str) -> bool:
    """Return whether a path of a wheel is in the image: what is imported, and what names the distribution."""
    folder, _, name = path.rpartition("/")
    if folder.endswith(".dist-info"):
        return name in {"METADATA", "entry_points.txt"}
    return ".dist-info/" not in path and not path.endswith((".pyi", ".pth", ".h", ".hh", "/"))


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
