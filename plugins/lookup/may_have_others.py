# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: whether the server may have units that are no longer wanted."""

from __future__ import annotations

DOCUMENTATION = r"""
name: may_have_others
short_description: Whether the server may have services or units that are no longer wanted
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Says whether it is worth asking the server for services or units whose names begin in a certain way. The check at the start of the
    play knows their names; in a play without it, the server must be asked.
options:
  _terms:
    description: How the names begin.
    type: str
    required: true
  wanted:
    description: Those names that are wanted.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Look for what is left of former versions
  ansible.builtin.find:
    paths: /etc/systemd/system
    patterns: miniweb-app_*.timer
  register: left
  when: lookup('miniweb.stack.may_have_others', 'miniweb-app_', wanted=['miniweb-app_cleanup'])
"""

RETURN = r"""
_raw:
  description: One boolean.
  type: list
  elements: bool
"""

import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import traces_at_start


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[bool]:
        """Return whether there may be such names."""
        self.set_options(var_options=variables, direct=kwargs)
        names = traces_at_start(variables or {})
        wanted = self.get_option("wanted")
        return [names is None or any(name.startswith(terms[0]) and name not in wanted for name in names)]
