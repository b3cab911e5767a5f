# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: whether the kernel of the server has IPv6."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ipv6_found
short_description: Whether the kernel of a server has IPv6
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Returns what M(miniweb.stack.check_input) learned in this play from M(miniweb.stack.server_check), for a role that has
    C(server) in its C(meta/checks.yml).
"""

EXAMPLES = r"""
- name: Listen on IPv6, too, if the server has it
  ansible.builtin.template:
    src: site.conf.j2
    dest: /etc/nginx/conf.d/site.conf
    mode: "0644"
  vars:
    addresses: "{{ ['0.0.0.0'] + (['[::]'] if lookup('miniweb.stack.ipv6_found') else []) }}"
"""

RETURN = r"""
_raw:
  description: One boolean; true if the server was not asked.
  type: list
  elements: bool
"""

import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import has_ipv6


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[bool]:
        """Return whether it has."""
        return [has_ipv6(variables or {})]
