"""Make `docs/codes.md` from the table of codes: every refusal, what it means, and what can be done about it.

`python -m tools.codes_page` writes the page; `--check` only says whether it is current.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twocvm_verifier.codes import GROUPS, Code

PAGE = Path(__file__).parents[1] / "docs" / "codes.md"

_HEAD = """# Refusals

Every refusal has a code. It stands in errors, in findings, in problem documents and on standard error; it is never
renamed and never reused. *Exit* is the exit status of `twocvm` when this refusal decides, *HTTP* the status with which
a guest answers when it is the guest that refuses (or the proxy, for its own); empty where neither ever does.

This page is made from the table in `verifier/twocvm_verifier/codes/` by `python -m tools.codes_page`; change it there.
"""


def page() -> str:
    """Return the whole page."""
    parts = [_HEAD]
    for group, codes in GROUPS.items():
        parts.append(
            f"\n## {group}\n\n| code | exit | HTTP | what it means, and what to do | rule |\n|---|---|---|---|---|\n"
        )
        parts += [_row(name, codes[name]) for name in sorted(codes)]
    return "".join(parts)


def _row(name: str, code: Code) -> str:
    # A guest that never answers with a code has no HTTP status for it.
    http = str(code.http_status) if code.http_status != 500 else ""
    return f"| `{name}` | {code.exit_status} | {http} | {code.meaning.replace('|', '&#124;')} | {code.spec} |\n"


def main() -> int:
    """Write the page, or with `--check` return 1 where it is not current."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == wanted else 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
