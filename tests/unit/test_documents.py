"""What the documents for users name exists: variables, playbooks, files and tags."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    "README.md",
    "README.es.md",
    "docs/your-app.md",
    "docs/day-two.md",
    "docs/https.md",
    "docs/troubleshooting.md",
]
ROLES = [path.name for path in (ROOT / "roles").iterdir() if path.name != "miniweb"]
# Set by a playbook, not by a role
OF_PLAYBOOKS = {"cleanup_remove", "uninstall_confirm", "uninstall_data"}
NAME = re.compile(rf"(?<![\w/.-])((?:{'|'.join(ROLES)}|miniweb|uninstall|cleanup)_[a-z0-9_]+)(?![\w*./-])")


def known() -> set[str]:
    found = set(OF_PLAYBOOKS)
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        for specification in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= (specification.get("options") or {}).keys()
    for path in ROOT.glob("roles/miniweb/defaults/main/*.yml"):
        found |= yaml.safe_load(path.read_text()).keys()
    return found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_names_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    words = set(NAME.findall(text)) - set(ROLES) - {"mysql_data", "grafana_admin_password", "mysql_exporter"}
    assert sorted(words - known()) == []
    playbooks = re.findall(r"(?<![\w./-])playbooks/\w+\.yml", text)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert [path for path in playbooks if not (ROOT / path).exists()] == []
    assert [link for link in links if link and not ((ROOT / name).parent / link).exists()] == []
    tags = set(re.findall(r"--tags (\w+)", text))
    site = (ROOT / "playbooks" / "site.yml").read_text()
    assert {tag for tag in tags if not re.search(rf"tags: (\[.*\b)?{tag}\b", site)} == set()
