# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: variables of the applications beside the first one."""

from __future__ import annotations

DOCUMENTATION = r"""
name: applications
short_description: Variables of the applications beside the first one
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Evaluates variables once for each entry of C(miniweb_applications), with what the entry sets before everything else, so that an
    entry can set every variable of the role flask_app under the name that it has for the first application.
  - What the inventory or the command line sets for the first application does not hold for the others, except how images are built.
  - Outside the play of the whole system there are none.
options:
  _terms:
    description: Names of the variables. With one, there are only its values.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show where they are
  ansible.builtin.debug:
    msg: "{{ lookup('miniweb.stack.applications', 'nginx_server_names') | flatten }}"
"""

RETURN = r"""
_raw:
  description: One list, with a dictionary of the values by name for each application, or the value of the only name.
  type: list
  elements: list
"""

import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.applications import entries, scope, values_of


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[list[t.Any]]:
        """Return the values."""
        self.set_options(var_options=variables, direct=kwargs)
        variables = variables or {}
        found = [values_of(terms, scope(entry, variables), self._loader) for entry in entries(variables, self._templar)]
        return [found if len(terms) > 1 else [values[terms[0]] for values in found]]
