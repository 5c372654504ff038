"""What the figures are of: processor, kernel, tools, and whether this is an SEV-SNP guest."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from twocvm_guest.platforms.detect import look_at_azure

from .build import sha256

# What settles the speed of memory and cores, as far as the kernel tells; a virtual machine often has none of them.
_SETTINGS: Final = {
    "governor": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "transparent_hugepages": "/sys/kernel/mm/transparent_hugepage/enabled",
    "clock_source": "/sys/devices/system/clocksource/clocksource0/current_clocksource",
}
_CACHES: Final = Path("/sys/devices/system/cpu/cpu0/cache")
_PACKAGES: Final = ("wasmtime", "ziglang")
_UNKNOWN: Final = "unknown"


def describe() -> Mapping[str, Any]:
    """Return what there is to say of this machine, JSON throughout."""
    return {
        "cpu": cpu(),
        "cores": os.cpu_count() or 0,
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "caches": caches(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "settings": {name: _text(Path(path)) for name, path in _SETTINGS.items()},
        "tools": tools(),
        "snp": is_snp_guest(),
    }


def cpu() -> str:
    """Return the processor's name with its family and model."""
    text = _text(Path("/proc/cpuinfo"))
    found = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.+)$", text, re.MULTILINE))
    name = found.get("model name", platform.processor() or _UNKNOWN)
    return f"{name}, family {found['cpu family']} model {found['model']}" if "cpu family" in found else name


def caches() -> Mapping[str, int]:
    """Return the data caches of the first core in KiB, as the kernel has them: {"L1": 32, ...}."""
    sizes = {}
    for folder in sorted(_CACHES.glob("index*")):
        if _text(folder / "type") != "Instruction":
            sizes[f"L{_text(folder / 'level')}"] = int(_text(folder / "size").rstrip("K") or 0)
    return sizes


def tools() -> Mapping[str, str]:
    """Return the version of each tool that makes or runs something here; `missing` where it is."""
    found = {name: _first_line([name, "--version"]) for name in ("gcc", "hyperfine", "go")}
    found["clang"] = _first_line([sys.executable, "-m", "ziglang", "cc", "--version"])
    found["python"] = python()
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def python() -> str:
    """Return which Python this is: implementation, version, build, compiler and digest, and not where it lies."""
    version = f"{platform.python_implementation()} {platform.python_version()}"
    built = f"built {' '.join(platform.python_build())} with {platform.python_compiler()}"
    return f"{version}, {built}, SHA-256 {sha256(Path(sys.executable))}"


def is_snp_guest(paravisor: Callable[[], tuple[bool, str]] = look_at_azure) -> bool:
    """Return whether this machine has the device that only an SEV-SNP guest has, or is under a paravisor that has it.

    Args:
        paravisor: Looks for one.
    """
    provider = Path("/sys/kernel/config/tsm/report")
    own = Path("/dev/sev-guest").exists() or (provider.is_dir() and Path("/sys/module/sev_guest").exists())
    return own or paravisor()[0]


def one_line(machine: Mapping[str, Any]) -> str:
    """Return what a caption says of a machine."""
    where = "an SEV-SNP guest" if machine["snp"] else "not an SEV-SNP guest"
    size = f"{machine['cores']} cores, {machine['memory_mib'] / 1024:.0f} GiB"
    return f"{machine['cpu']}, {size}, {machine['kernel']}, {where}"


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return "missing"
    command = [command[0], "version"] if command[0] == "go" else command
    ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return ended.stdout.partition("\n")[0] or _UNKNOWN


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
