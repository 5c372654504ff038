"""The bare engine: wasmtime as it comes, with SIMD and Cranelift's speed, and none of the runtime's own settings."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from wasmtime import Engine
from wasmtime.component import Component

import twocvm_guest.runtime.engine
from twocvm_guest.runtime.engine import make_engine

from .build import cached, sha256


def bare_engine() -> Engine:
    """Return an engine of wasmtime's own defaults."""
    return Engine()


def compiled(path: Path) -> Path:
    """Return the compiled form of a component for the bare engine; compiling is timed nowhere."""
    return _compiled(path, bare_engine(), "bare")


def compiled_as_in_a_worker(path: Path, *, composed: bool = False) -> Path:
    """Return the compiled form of a component for the engine that the runtime's workers make."""
    made = make_engine(counts_fuel=False, composed=composed)
    settings = sha256(Path(twocvm_guest.runtime.engine.__file__))
    return _compiled(path, made, f"worker {settings} {composed}")


def _compiled(path: Path, engine: Engine, settings: str) -> Path:
    raw = path.read_bytes()
    parts = [raw, settings.encode(), metadata.version("wasmtime").encode()]
    return cached(parts, ".cwasm", lambda out: out.write_bytes(Component(engine, raw).serialize()))
