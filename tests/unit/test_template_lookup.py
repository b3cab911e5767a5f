"""The lookup template: the same text as Ansible's own, with and without its options, and variables that stay as they were."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.miniweb.stack.plugins.plugin_utils.templates import Shared


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("{{ greeting }}, {{ people | map(attribute='name') | join(' and ') }} at {{ where }}\n", ""),
        ("<< greeting >>, {{ not for us }}\n", ", variable_start_string='<<', variable_end_string='>>'"),
        ("{{ greeting }} {{ of_the_call }} {{ template_path }}\n", ", template_vars={'of_the_call': 'once'}"),
    ],
    ids=["variables", "markers", "variables of the call"],
)
def test_it_renders_what_ansibles_own_renders(tmp_path: Path, text: str, options: str) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.j2").write_text(text)
    variables: dict[str, Any] = {
        "greeting": trust_as_template("{{ 'Hello' }}"),
        "people": [{"name": "Ada"}, {"name": trust_as_template("{{ greeting }}")}],
        "where": "home",
        "ansible_search_path": [str(tmp_path)],
    }
    before = copy.deepcopy(variables)
    templar = Templar(loader=DataLoader(), variables=variables)
    ours, ansibles = (
        templar.template(trust_as_template(f"{{{{ lookup('{name}', 'page.j2'{options}) }}}}"))
        for name in ("miniweb.stack.template", "ansible.builtin.template")
    )
    assert ours == ansibles != ""
    assert variables == before


def test_a_deep_copy_shares_the_values() -> None:
    variables = Shared(people=["Ada"])
    copied = copy.deepcopy(variables)
    copied["more"] = 1
    assert copied["people"] is variables["people"]
    assert "more" not in variables
