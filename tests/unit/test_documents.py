"""What the documents for users name exists: variables, playbooks, files, tags and messages."""

from __future__ import annotations

import ast
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


def texts_of(path: Path) -> str:
    """The texts in a Python file, or the messages in a file of rules, with "…" for their values."""
    if path.suffix == ".yml":
        words = " ".join(path.read_text().split())
        return re.sub(r"\{\{(.*?)\}\}", lambda value: "…".join(re.findall("'([^']*)'", value[1])) or "…", words)
    texts = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(" ".join(node.value.split()))
    return "\n".join(texts)


def test_the_messages_in_troubleshooting_are_those_of_the_code() -> None:
    quoted = re.findall(r"\*\*(?:\d+\. )?`([^`]+)`", (ROOT / "docs" / "troubleshooting.md").read_text())
    files = [*ROOT.glob("plugins/**/*.py"), *ROOT.glob("roles/*/files/*.py"), *ROOT.glob("roles/*/meta/checks.yml")]
    sources = "\n".join(texts_of(path) for path in files)

    def found(part: str) -> bool:
        # The code may put it together from two texts, such as the name of a variable and what is wrong with it.
        pairs = [(part[:end], part[end:].strip()) for end in range(1, len(part) + 1)]
        return any(first in sources and second in sources for first, second in pairs)

    assert len(quoted) >= 10
    assert [part for message in quoted for part in message.split("…") if part.strip() and not found(part.strip())] == []


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
