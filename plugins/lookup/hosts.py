# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: the hosts of a play, unless the run would end successfully without having done anything."""

from __future__ import annotations

DOCUMENTATION = r"""
name: hosts
short_description: The hosts of a play, unless the run would do nothing
version_added: 1.0.0
author: miniweb.stack maintainers (@miniweb)
description:
  - Returns the pattern that it is given, for C(hosts) of a play. Ansible skips a play that matches no host, and tasks whose tags
    are not selected, and the run is a success; this lookup ends the run instead, with one sentence and the exit code 1.
  - It does so if an inventory does not exist or names no server, or if no server is left by C(--limit).
  - If only playbooks of this collection are run, it also does so for a tag that no task has (C(--tags), C(--skip-tags)), a pattern
    in C(--limit) that matches nothing, C(--start-at-task) and C(--skip-tags always), which would skip the check of the input, and
    C(--tags untagged), C(--tags always) and C(--tags never), which select none of its parts. In a playbook of your own, other
    plays may need these.
  - It does not look when nothing is run (C(--syntax-check), C(--list-hosts), C(--list-tags), C(--list-tasks)).
  - An inventory that cannot be read while another one names servers is found by Ansible alone, with the setting
    C(any_unparsed_is_failed) in the section C([inventory]) of C(ansible.cfg).
options:
  _terms:
    description: The pattern, V(all) or V(localhost).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: The whole system
  hosts: "{{ lookup('miniweb.stack.hosts', 'all') }}"
"""

RETURN = r"""
_raw:
  description: The pattern.
  type: list
  elements: str
"""

import os
import typing as t

from ansible import constants as C
from ansible import context
from ansible.inventory.manager import InventoryManager, split_host_pattern
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.miniweb.stack.plugins.action.check_input import COLLECTION, ROLES, SITE, tags_of

OWN = os.path.dirname(os.path.realpath(ROLES))
# Ansible's words for tags, by the option, with what is wrong with them where they do not select whole parts of the system
WORDS = {
    "--tags": dict.fromkeys(("always", "never", "untagged"), "selects no part of the system"),
    "--skip-tags": dict.fromkeys(("all", "always", "tagged"), "leaves out the check of the input, which comes first"),
}
# Those with which the tasks that have tags are done, and those with which all are
TAGGED = {"--tags": "tagged", "--skip-tags": "untagged"}
EVERYTHING = {"--tags": "all", "--skip-tags": "never"}
# Molecule skips them in every run.
MOLECULES_TAGS = {"molecule-idempotence-notest", "molecule-notest", "notest"}


def is_own(playbook: str) -> bool:
    """Return whether a playbook, as it was given to Ansible, belongs to this collection."""
    path = os.path.realpath(playbook)
    return playbook.startswith(f"{COLLECTION}.") or os.path.dirname(path) in (OWN, os.path.join(OWN, "playbooks"))


def missing_inventory(sources: list[str]) -> str:
    """Return a sentence about the first inventory that does not exist; empty if there is none."""
    for source in sources:
        if "," not in source and not os.path.exists(source) and sources != C.DEFAULT_HOST_LIST:
            return f'The inventory "{source}" does not exist: give the path of one that does with -i.'
    return ""


def no_server(sources: list[str]) -> str:
    """Return a sentence about an inventory without servers."""
    named = ", ".join(f'"{source}"' for source in sources if os.path.exists(source) or "," in source)
    if not named:
        return "There is no inventory: give one that names your server with -i."
    return (
        f"The inventory {named} names no server, or cannot be read (then Ansible's warnings above say why): correct it."
    )


def unmatched(limit: str, pattern: str, groups: dict[str, list[str]], loader: t.Any) -> str:
    """Return a sentence about a limit that leaves out what it should not; empty if there is none."""
    inventory = InventoryManager(loader=loader, parse=False)
    for group, hosts in groups.items():
        inventory.add_group(group)
        for host in hosts:
            inventory.add_host(host, group)
    for part in split_host_pattern(limit):
        plain = part.lstrip("!&")
        if not plain.startswith("@") and not inventory.get_hosts(plain):
            return f'--limit: "{plain}" is no host and no group of the inventory; give one that is.'
    inventory.subset(limit)
    if not inventory.get_hosts(pattern):
        left = "leaves out localhost, where this playbook runs" if pattern in C.LOCALHOST else "leaves no server"
        return f'--limit: "{limit}" {left}; leave it out, or give another one.'
    return ""


def unknown_tag(names: list[str], given: dict[str, t.Iterable[str]]) -> str:
    """Return a sentence about a tag that no task has, or with which nothing or not enough is done; empty if there is none.

    :param names: names of the roles of the play.
    :param given: the tags by the option that they were given with.
    """
    shorts = (name.removeprefix(f"{COLLECTION}.") for name in names)
    # The role that wires the system together always runs, and has no tag of its own.
    known = sorted({tag for name in shorts if name != SITE for tag in tags_of(os.path.join(ROLES, name))})
    remedy = f"give one of {', '.join(known)}" if known else "leave it out"
    for option, tags in given.items():
        for tag in tags:
            if tag in WORDS[option]:
                return f'{option}: "{tag}" {WORDS[option][tag]}; {remedy}.'
            fine = {*known, *MOLECULES_TAGS, EVERYTHING[option], *([TAGGED[option]] if known else [])}
            if tag not in fine:
                return f'{option}: no task has the tag "{tag}"; {remedy}.'
    return ""


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """Return the pattern."""
        if not any(context.CLIARGS.get(name) for name in ("syntax", "listhosts", "listtags", "listtasks")):
            problem = self._problem(terms[0], variables or {})
            if problem:
                # An exception would be shown with the place in the playbook, which has nothing to do with it.
                Display().error(problem, wrap_text=False)
                raise SystemExit(1)
        return terms

    def _problem(self, pattern: str, variables: dict[str, t.Any]) -> str:
        sources, groups = list(variables["ansible_inventory_sources"]), variables["groups"]
        problem = missing_inventory(sources)
        if not problem and pattern not in C.LOCALHOST and not groups["all"]:
            problem = no_server(sources)
        if problem or not all(map(is_own, context.CLIARGS.get("args", ()))):
            return problem
        if context.CLIARGS.get("start_at_task"):
            return "--start-at-task leaves out the check of the input, which comes first; use --tags with the name of a role."
        given = {"--tags": variables["ansible_run_tags"], "--skip-tags": variables["ansible_skip_tags"]}
        problem = unknown_tag(variables["ansible_play_role_names"], given)
        limit = variables.get("ansible_limit")
        return problem or (unmatched(limit, pattern, groups, self._loader) if limit else "")
