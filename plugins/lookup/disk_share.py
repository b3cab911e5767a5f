# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: a share of the disk on which a server has the data of its services."""

from __future__ import annotations

DOCUMENTATION = r"""
name: disk_share
short_description: A share of the disk on which a server has the data of its services
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Returns a number of megabytes (1000000 bytes) for what grows up to a limit, so that on a small disk the limit is
    smaller.
  - The size of the disk is what M(miniweb.stack.check_input) learned in this play from M(miniweb.stack.server_check), for a
    role that has C(disk_size) in its C(meta/checks.yml). Where it is not known, for example while the input is checked,
    the disk counts as large.
options:
  _terms:
    description: The share in percent.
    type: list
    elements: int
    required: true
  most:
    description: The limit in megabytes on a large disk.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Show a tenth of the disk, at most 2 GB
  ansible.builtin.debug:
    msg: "{{ lookup('miniweb.stack.disk_share', 10, most=2000) }}"
"""

RETURN = r"""
_raw:
  description: The number of megabytes for each share.
  type: list
  elements: int
"""

import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import disk_at_start


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[int]:
        """Return the shares."""
        self.set_options(var_options=variables, direct=kwargs)
        disk, most = disk_at_start(variables or {}), int(self.get_option("most"))
        return [min(disk * int(share) // 100, most) if disk else most for share in terms]
