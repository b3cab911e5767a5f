"""Names that servers have in an inventory: they work, or the input check names them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.miniweb.stack.plugins.action import check_input
from role_templates import FACTS, ROLES, ROOT, loaded, rendered

# What is in AWS has names of its own.
NAMES = sorted(path.parents[1].name for path in ROLES.glob("*/meta/service.yml"))


@functools.cache
def system() -> dict[str, Any]:
    """The variables of all roles."""
    found: dict[str, Any] = {}
    for role in NAMES:
        found |= loaded(ROLES / role, "defaults", "vars")
    return found


def problems(directory: Path, name: str, **given: Any) -> dict[str, list[str]]:
    """What the checks of all roles together find for a server of this name, by role."""
    own = {
        "inventory_hostname": name,
        "ansible_facts": FACTS,
        "alert_responder_state": "present",
        "miniweb_secrets_dir": str(directory),
        "playbook_dir": str(ROOT / "playbooks"),
    }
    found = {}
    for role in NAMES:
        checked = check_input.Role(str(ROLES / role), {**system(), **own, **given}, DataLoader())
        checked.check()
        found[role] = checked.problems
    return found


LONG = "Production_Web-Server.of.the.Department_with_the_Longest.Name-in-all-of-the-Company.01"


@pytest.mark.parametrize("name", ["WWW", "web_server", "x" * 84, LONG, "2001:db8::5"])
def test_names_that_work(tmp_path: Path, name: str) -> None:
    assert not any(problems(tmp_path, name).values())
    given = {"inventory_hostname": name, "nginx_upstream": "http://app:8000", "ansible_facts": FACTS}
    assert f"server_name {name} " in rendered(ROLES / "nginx", "default.conf.j2", **given)


@pytest.mark.parametrize("name", ["münchen", "服务器", "web 1", "web/1", "web;$1"])
def test_names_that_do_not_are_named(tmp_path: Path, name: str) -> None:
    found = {role: said for role, said in problems(tmp_path, name).items() if said}
    reason = f'has the inventory name "{name}", which is no host name: use letters'
    assert [said.partition(": give")[0] for said in found.pop("alert_responder")] == [
        f'alert_responder_instance is "{name}", the inventory name'
    ]
    assert {role: [reason in one for one in said] for role, said in found.items()} == {
        "nginx": [True],
        "node_exporter": [True],
    }


def test_whoever_keeps_such_a_name_gives_host_names(tmp_path: Path) -> None:
    names = {"nginx_server_names": ["www.example.com"], "node_exporter_certificate_names": ["localhost"]}
    assert not any(problems(tmp_path, "münchen 1", **names, alert_responder_state="absent").values())
