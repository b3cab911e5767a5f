# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: the Docker engine that the check of the input found on the server."""

from __future__ import annotations

DOCUMENTATION = r"""
name: engine_found
short_description: The Docker engine that a server had before the run
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Returns what M(miniweb.stack.check_input) learned in this play from M(miniweb.stack.server_check), for a role that has
    C(engine) in its C(meta/checks.yml).
"""

EXAMPLES = r"""
- name: Install what is missing
  ansible.builtin.apt:
    name: "{{ lookup('miniweb.stack.engine_found').missing }}"
"""

RETURN = r"""
_raw:
  description: One dictionary, C(engine) as M(miniweb.stack.server_check) returns it; empty if the server was not asked.
  type: list
  elements: dict
"""

import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import engine_at_start


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(
        self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        """Return the engine."""
        return [engine_at_start(variables or {})]
