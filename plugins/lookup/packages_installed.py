# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: whether the check at the start of a run found packages installed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: packages_installed
short_description: Whether Debian packages are known to be installed
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - True in a run of the whole system if the check at its start found all these packages installed. In every other run it is
    false.
options:
  _terms:
    description: Names of packages that the role names under C(packages) in C(meta/checks.yml).
    required: true
"""

EXAMPLES = r"""
- name: Install the engine
  ansible.builtin.apt:
    name: [docker.io, docker-compose]
  when: not lookup('miniweb.stack.packages_installed', 'docker.io', 'docker-compose')
"""

RETURN = r"""
_raw:
  description: One boolean.
  type: list
  elements: bool
"""

import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import are_installed


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[bool]:
        """Return whether all packages are installed."""
        return [are_installed(variables or {}, terms)]
