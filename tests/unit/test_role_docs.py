"""The READMEs of the roles carry today's variables."""

from __future__ import annotations

from pathlib import Path

import pytest
import role_docs

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("role", role_docs.roles(), ids=lambda role: role.name)
def test_readme_is_current(role: Path) -> None:
    assert (role / "README.md").read_text() == role_docs.rendered(role), "run: make docs"


def test_the_list_of_roles_is_current() -> None:
    assert (ROOT / "README.md").read_text() == role_docs.rendered_list(), "run: make docs"


def test_table() -> None:
    options = {
        "a_name": {"description": ["Is V(x) or O(a_b).", "A | b."], "required": True},
        "a_list": {"description": "List.", "default": [], "options": {"key": {"description": "Key.", "default": ""}}},
    }
    assert role_docs.table(options).splitlines()[2:] == [
        "| `a_name` | **required** | Is `x` or `a_b`. A \\| b. |",
        "| `a_list` | `[]` | List. |",
        '| `a_list[].key` | `""` | Key. |',
    ]
