# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: the value of a variable, evaluated once in a play of the whole system."""

from __future__ import annotations

DOCUMENTATION = r"""
name: once
short_description: The value of a variable, evaluated once in a play of the whole system
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - For values to which many variables refer, and which do not change during a play. Ansible evaluates a variable again for each
    reference to it, and all variables that a template names, even those in the branch of a condition that does not hold.
  - The check at the start of the play discards the values of the play before. In a play without it, the variable is evaluated each time.
  - The value is kept in a file on the controller until the end of the run, so it must not be a secret.
options:
  _terms:
    description: The name of the variable, which may depend on variables of the host, but not on those of a task.
    type: str
    required: true
  application:
    description: The name of the application whose value it is, for a variable that each one has.
    type: str
    default: ""
"""

EXAMPLES = r"""
mysql_state: "{{ lookup('miniweb.stack.once', 'wanted_mysql_state') }}"
wanted_mysql_state: "{{ 'present' if lookup('miniweb.stack.applications', 'flask_app_wants_database') | select else 'absent' }}"
"""

RETURN = r"""
_raw:
  description: The value.
  type: list
  elements: raw
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import remember_value, values_in_play


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        """Return the value."""
        self.set_options(var_options=variables, direct=kwargs)
        variables = variables or {}
        name = terms[0]
        key = "/".join(filter(None, [name, self.get_option("application")]))
        known = values_in_play(variables)
        if known is not None and key in known:
            return [known[key]]
        if name not in variables:
            raise AnsibleLookupError(f'The variable "{name}" is not defined: correct its name.')
        value = self._templar.template(variables[name])
        if known is not None:
            remember_value(variables, key, value)
        return [value]
