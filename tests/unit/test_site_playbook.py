"""playbooks/site.yml is the only list of services, and each of its tags selects one role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
IMPORT = "ansible.builtin.import_role"
# The roles with services for a server; the role miniweb covers all of them.
ROLES = {path.parents[1].name for path in ROOT.glob("roles/*/meta/service.yml")} - {"miniweb"}
TASK_FILES = sorted(path for role in ROLES for path in (ROOT / "roles" / role / "tasks").glob("*.yml"))


def lines() -> dict[str, dict[str, Any]]:
    """The lines of the list, by the role that they import."""
    play = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())[1]
    found = [task for task in play["tasks"] if IMPORT in task and not task[IMPORT]["name"].endswith(".miniweb")]
    return {task[IMPORT]["name"].removeprefix("miniweb.stack."): task for task in found}


def nested(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every task, also those in blocks."""
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from nested(task.get(part, []))


def test_every_role_is_in_the_list_once_and_the_engine_comes_first() -> None:
    assert set(lines()) == ROLES
    assert next(iter(lines())) == "docker"


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_tag_selects_one_role(role: str) -> None:
    tags = lines()[role]["tags"]
    own = _listed(tags)
    # The check of all input takes from these which roles a run selects.
    others = yaml.safe_load((ROOT / "roles" / role / "meta" / "service.yml").read_text()).get("tags") or []
    assert own == [role, *others]
    others = [tag for name, task in lines().items() if name != role for tag in _listed(task["tags"])]
    assert set(own) & set(others) == set()


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_nothing_but_the_look_at_the_server_and_the_input_check_always_runs() -> None:
    play = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())[1]
    always = [task["name"] for task in play["tasks"] if task.get("tags") == "always"]
    assert always == ["Gather facts", "Check all input before anything is changed"]


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_roles_set_no_facts_and_no_tags_and_call_no_other_role(path: Path) -> None:
    for task in nested(yaml.safe_load(path.read_text()) or []):
        assert "tags" not in task, task["name"]
        assert not {"ansible.builtin.set_fact", "ansible.builtin.include_role", IMPORT} & set(task), task["name"]


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_every_service_says_when_its_image_is_pulled(path: Path) -> None:
    services = [task["miniweb.stack.compose_service"] for task in nested(yaml.safe_load(path.read_text()) or [])
                if "miniweb.stack.compose_service" in task]  # fmt: skip
    # A process has the image of its application.
    own = [one for one in services if "_process.key" not in one["name"]]
    assert [one["name"] for one in own if not re.search(r"_image_pull('\))? }}$", one["pull"])] == []
