# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: templates as ansible.builtin.template renders them, without its copy of all variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: template
short_description: Render templates without copying all variables
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Renders templates by P(ansible.builtin.template#lookup) and takes its options. That plugin copies all variables of the host
    for each template, which takes longer than the rendering; this one saves the copies.
options:
  _terms:
    description: Names of the templates.
    required: true
"""

EXAMPLES = r"""
- name: Show a template
  ansible.builtin.debug:
    msg: "{{ lookup('miniweb.stack.template', 'default.conf.j2') }}"
"""

RETURN = r"""
_raw:
  description: The rendered templates.
  type: list
  elements: raw
"""

import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.templates import rendered


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        """Render the templates."""
        return rendered(self, terms, variables or {}, **kwargs)
