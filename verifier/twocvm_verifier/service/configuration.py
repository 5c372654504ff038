"""Where settings come from: defaults, a TOML file, the environment, options; of two, the later one in this order.

A variable is `TWOCVM_VERIFIER_`, the section, `_` and the setting, in upper case: `TWOCVM_VERIFIER_LISTEN_ADDRESS`.
Commas separate what a list in one holds. Whatever is set and unknown is refused, and so is every value that is not what
its setting takes: all of them at once, each with where it stands.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast, get_origin

from pydantic import BaseModel, ValidationError

from twocvm_verifier.errors import MalformedError

from .settings import Settings

ENVIRONMENT: Final = "TWOCVM_VERIFIER_"
CONFIG_VARIABLE: Final = f"{ENVIRONMENT}CONFIG"
MAX_FILE_BYTES: Final = 262_144
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """Settings, and where each came from.

    Attributes:
        settings: What holds.
        origins: For each setting that is not a default, as `section.name`, where its value stands.
    """

    settings: Settings
    origins: Mapping[str, str]

    def origin(self, name: str) -> str:
        """Return where the value of a setting (`section.name`) is from."""
        return self.origins.get(name, DEFAULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One value, as somebody set it."""

    section: str
    name: str
    value: Any
    origin: str


def configure(
    *, toml: bytes | None, file: str, environment: Mapping[str, str], options: tuple[Said, ...]
) -> Configured:
    """Return the settings that hold.

    Args:
        toml: What the file holds, or None where there is none.
        file: Its name, for what is said of it.
        environment: The process's variables; those of others are passed over.
        options: What the command line says.

    Raises:
        MalformedError: Something is unknown, or not what its setting takes; everything is named.
    """
    said: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    problems: list[str] = []
    for each in (*_written(toml, file, problems), *_exported(environment), *options):
        said.setdefault(each.section, {})[each.name] = each.value
        origins[f"{each.section}.{each.name}"] = each.origin
    try:
        # In its JSON mode pydantic takes a file's strings and arrays for paths and tuples, and is strict otherwise.
        settings = Settings.model_validate_json(json.dumps(said, default=str))
    except ValidationError as error:
        problems += [_sentence(dict(each), origins) for each in error.errors(include_url=False, include_input=False)]
    if problems:
        raise MalformedError("settings", "", "; ".join(problems))
    return Configured(settings=settings, origins=MappingProxyType(origins))


def _written(toml: bytes | None, file: str, problems: list[str]) -> Iterator[Said]:
    if toml is None:
        return
    if len(toml) > MAX_FILE_BYTES:
        raise MalformedError("settings", "", f"{file!r}: got more than {MAX_FILE_BYTES} bytes")
    try:
        document = tomllib.loads(toml.decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise MalformedError("settings", "", f"{file!r}: not TOML: {error}") from error
    except (ValueError, RecursionError) as error:
        raise MalformedError("settings", "", f"{file!r}: not TOML") from error
    for section, table in document.items():
        if not isinstance(table, dict):
            problems.append(f"{section!r} in {file!r}: stands in no section")
            continue
        for name, value in table.items():
            yield Said(section=section, name=name, value=value, origin=f"file {file}")


def _exported(environment: Mapping[str, str]) -> Iterator[Said]:
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT) or variable == CONFIG_VARIABLE:
            continue
        section, _, name = variable.removeprefix(ENVIRONMENT).lower().partition("_")
        yield Said(section=section, name=name, value=_read(section, name, text), origin=f"variable {variable}")


def _read(section: str, name: str, text: str) -> object:
    """Return what a variable's text is for its setting: a list, a number or a flag, or the text itself."""
    annotation = _annotation(section, name)
    if get_origin(annotation) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if annotation in (bool, int, float):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _annotation(section: str, name: str) -> object:
    model = _section(section)
    known = model.model_fields.get(name) if model is not None else None
    return None if known is None else known.annotation


def _section(section: str) -> type[BaseModel] | None:
    known = Settings.model_fields.get(section)
    # Every field of the whole is a section.
    return None if known is None else cast("type[BaseModel]", known.annotation)


def _sentence(error: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    section, *rest = (str(part) for part in error["loc"])
    name = ".".join((section, *rest[:1]))
    where = origins.get(name, "several places")
    if error["type"] != "extra_forbidden":
        text = str(error["msg"]).removeprefix("Value error, ")
        return f"{'.'.join((section, *rest))} ({where}): {text[:1].lower()}{text[1:]}"
    model = _section(section)
    known = Settings.model_fields if model is None else model.model_fields
    return f"{name!r} ({where}): unknown; there are {', '.join(known)}"


def shown(configured: Configured, *, origins: bool) -> str:
    """Return settings as TOML, with where each is from as comments where that is asked. None of them is a secret."""
    lines: list[str] = []
    for section, table in configured.settings.model_dump(mode="json").items():
        lines += [f"[{section}]", *_table(section, table, configured, origins=origins), ""]
    return "\n".join(lines)


def _table(section: str, table: Mapping[str, Any], configured: Configured, *, origins: bool) -> Iterator[str]:
    for name, value in table.items():
        # TOML has no value for what is not set.
        line = f"# {name} is not set" if value is None else f"{name} = {json.dumps(value, ensure_ascii=False)}"
        yield f"{line}  # {configured.origin(f'{section}.{name}')}" if origins else line


def read_file(path: Path) -> bytes:
    """Return what a settings file holds, one byte more than is taken at the most.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        return stream.read(MAX_FILE_BYTES + 1)
