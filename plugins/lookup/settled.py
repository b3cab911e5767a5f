# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: whether the check at the start of a run found the tasks of a role done."""

from __future__ import annotations

DOCUMENTATION = r"""
name: settled
short_description: Whether the tasks of a role are known to be done
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - True in a run of the whole system if the note that M(miniweb.stack.docker_daemon) left on the server is still valid, and
    the variables and the code of the role are unchanged. Otherwise, and in every other run, it is false.
options:
  _terms:
    description: The name of the note, and the variables on which the tasks depend; both as in the module.
    required: true
"""

EXAMPLES = r"""
- name: Install and configure the engine
  ansible.builtin.include_tasks: engine.yml
  when: not lookup('miniweb.stack.settled', 'docker', choices)
  vars:
    choices:
      packages: "{{ packages }}"
"""

RETURN = r"""
_raw:
  description: One boolean.
  type: list
  elements: bool
"""

import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import digest_of_role, settled


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[bool]:
        """Return whether the tasks are done."""
        known = variables or {}
        name, values = terms
        digest = digest_of_role(known.get("role_path", ""), values)
        return [settled(known, f"settled/{name}", digest) is not None]
