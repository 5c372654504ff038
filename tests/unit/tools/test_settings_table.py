"""`docs/verifier.md` has every setting as the model has it."""

from __future__ import annotations

from tools import settings_table

from twocvm_verifier.service.settings import Settings


def test_the_page_is_current():
    """`python -m tools.settings_table` writes it again."""
    assert settings_table.PAGE.read_text(encoding="utf-8") == settings_table.page()


def test_every_setting_is_explained():
    """Each has a sentence below it in the model, and a row in the table."""
    table = settings_table.table()
    for section, field in Settings.model_fields.items():
        assert f"### `[{section}]`" in table
        for name in field.annotation.model_fields:
            assert f"| `{name}` |" in table, name
