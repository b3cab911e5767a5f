# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: the value that a variable has for the application that a task of the role flask_app is about."""

from __future__ import annotations

DOCUMENTATION = r"""
name: per_application
short_description: The value of a variable for the application that a task is about
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - For the tasks of the role flask_app, which run once for each application. Ansible cannot run them with the variables of an entry of
    C(miniweb_applications), because those of the command line go before all others.
  - The variable C(__flask_app_number) is 0 for the first application, whose variables are the role's, and otherwise the number of
    the entry.
options:
  _terms:
    description: One name of a variable.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the name
  ansible.builtin.debug:
    msg: "{{ lookup('miniweb.stack.per_application', 'flask_app_name') }}"
"""

RETURN = r"""
_raw:
  description: The value.
  type: list
  elements: raw
"""

import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.applications import entries, scope, values_of


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        """Return the value."""
        self.set_options(var_options=variables, direct=kwargs)
        variables = variables or {}
        number = int(variables.get("__flask_app_number", 0))
        own = scope(entries(variables, self._templar)[number - 1], variables) if number else variables
        return list(values_of(terms, own, self._loader).values())
