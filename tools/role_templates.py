"""Evaluates the roles' variables and templates with Ansible itself, for a server called www without facts."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible.utils.collection_loader import AnsibleCollectionConfig
from role_variables import files

ROOT = Path(__file__).resolve().parents[1]
ROLES = ROOT / "roles"
# What roles need to know of a server
FACTS: dict[str, Any] = {
    "env": {},
    "service_mgr": "systemd",
    "architecture": "x86_64",
    "distribution": "Debian",
    "distribution_version": "13.2",
    "distribution_major_version": "13",
    "distribution_release": "trixie",
}

if not AnsibleCollectionConfig.collection_finder:
    init_plugin_loader([str(ROOT / ".ansible" / "collections")])


@functools.cache
def loaded(role: Path, *kinds: str) -> dict[str, Any]:
    """The variables of a role's defaults or vars as Ansible loads them, not yet evaluated."""
    loader = DataLoader()
    found: dict[str, Any] = {}
    for path in (path for kind in kinds for path in files(role, kind)):
        found |= loader.load_from_file(str(path), trusted_as_template=True)
    return found


def evaluated(role: Path, value: Any, **given: Any) -> Any:
    """Evaluate what Ansible loaded from a role with the role's variables, some of them overridden by those given."""
    variables = {
        "inventory_hostname": "www",
        "ansible_facts": {},
        "ansible_role_name": role.name,
        "ansible_search_path": [str(role)],
        "role_path": str(role),
        **loaded(role, "defaults", "vars"),
    }
    return Templar(DataLoader(), variables | given).template(value)


def worked_out(role: Path, text: str, **given: Any) -> Any:
    """Evaluate a template string with a role's variables, some of them overridden by those given."""
    return evaluated(role, trust_as_template(text), **given)


def rendered(role: Path, template: str, **given: Any) -> str:
    """Render a template of the role."""
    return str(worked_out(role, f"{{{{ lookup('miniweb.stack.template', '{template}') }}}}", **given))
