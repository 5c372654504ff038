"""Write the verifier's settings into `docs/verifier.md`, from the model and what stands below each of them there.

    python -m tools.settings_table

A test compares what this makes with what lies there.
"""

from __future__ import annotations

import ast
import inspect
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from twocvm_verifier.service import settings

PAGE: Final = Path(__file__).parents[1] / "docs" / "verifier.md"
BEGIN: Final = "<!-- settings: made by tools/settings_table.py -->\n"
END: Final = "<!-- end of settings -->\n"
_KINDS: Final = {Path: "path", str: "text", bool: "flag", int: "number", float: "number"}


def page() -> str:
    """Return the page with its table made anew."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}{table()}{end}{after}"


def table() -> str:
    """Return the tables of all sections."""
    lines = []
    for section, field in settings.Settings.model_fields.items():
        model: Any = field.annotation
        lines += [f"\n### `[{section}]`", "", model.__doc__.splitlines()[0], "", *_rows(model)]
    return "\n".join((*lines, "", ""))


def _rows(model: type[BaseModel]) -> Iterator[str]:
    about = _docstrings(model)
    if model.model_fields:
        yield "| setting | takes | default | |"
        yield "|---|---|---|---|"
    for name, field in model.model_fields.items():
        yield f"| `{name}` | {_takes(field)} | {_default(field.default)} | {about[name]} |"


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    (body,) = ast.parse(inspect.getsource(model)).body
    found, name = {}, ""
    for statement in typing.cast(ast.ClassDef, body).body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
        elif name and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            found[name] = " ".join(str(statement.value.value).split())
    return found


def _takes(field: FieldInfo) -> str:
    annotation = field.annotation
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        return f"{_KINDS[typing.get_args(annotation)[0]]}s"
    kinds = [kind for kind in typing.get_args(annotation) or (annotation,) if kind in _KINDS]
    return f"{_KINDS[kinds[0]]}{_bounds(field)}"


def _bounds(field: FieldInfo) -> str:
    said = [f" from {each.ge:,}" for each in field.metadata if isinstance(each, Ge)]
    said += [f" above {each.gt:,}" for each in field.metadata if isinstance(each, Gt)]
    return "".join(said + [f" to {each.le:,}" for each in field.metadata if isinstance(each, Le)])


def _default(value: object) -> str:
    if value is None or value in ("", ()):
        return ""
    return f"`{json.dumps(value, default=str)}`"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
