# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: the secrets that an application wants to have generated."""

from __future__ import annotations

DOCUMENTATION = r"""
name: application_secrets
short_description: The secrets that an application wants to have generated
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Returns what O(_terms) of P(miniweb.stack.application#lookup) declare, each generated once by P(miniweb.stack.secret#lookup)
    in a file with the name of the application before its own.
options:
  _terms:
    description: The key C(secrets) of the application.
    type: dict
    required: true
  application:
    description: Name of the application.
    type: str
    required: true
  given:
    description: Names of those that are given elsewhere, and are not generated.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Use them
  ansible.builtin.set_fact:
    secrets: "{{ lookup('miniweb.stack.application_secrets', {'secret_key': {'length': 64}}, application='shop') }}"
"""

RETURN = r"""
_raw:
  description: One list with the C(name) and the C(content) of each.
  type: list
  elements: list
"""

import typing as t

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase

# What the files of the example application's secrets were called when it was the only one
FORMER = {"app_admin_password": "admin_password", "app_secret_key": "flask_secret_key"}


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(
        self, terms: list[dict[str, t.Any]], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[list[dict[str, str]]]:
        """Return the secrets, and generate those that are missing."""
        self.set_options(var_options=variables, direct=kwargs)
        application, given = self.get_option("application"), self.get_option("given")
        return [
            [
                {"name": name, "content": self._secret(f"{application}_{name}", choices["length"], variables)}
                for name, choices in declared.items()
                if name not in given
            ]
            for declared in terms
        ]

    def _secret(self, name: str, length: int, variables: dict[str, t.Any] | None) -> str:
        secret = lookup_loader.get("miniweb.stack.secret", loader=self._loader, templar=self._templar)
        return secret.run([name], variables, length=length, former=FORMER.get(name, ""))[0]
