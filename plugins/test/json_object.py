# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jinja test: is this a JSON object?"""

from __future__ import annotations

DOCUMENTATION = r"""
name: json_object
short_description: Whether this is a JSON object
version_added: 1.0.0
author: miniweb.stack maintainers (@miniweb)
description:
  - Returns whether a text is a JSON object. A dictionary counts, too, because Ansible before 2.19 converts such a text to
    one.
options:
  _input:
    description: The text, or a dictionary.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Check the dashboard
  ansible.builtin.assert:
    that: grafana_dashboard is miniweb.stack.json_object
"""

RETURN = r"""
_value:
  description: True for an object. False for anything else, JSON or not.
  type: bool
"""

import json
import typing as t
from collections.abc import Mapping


def json_object(value: t.Any) -> bool:
    """Return whether the value is a dictionary or the JSON text of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return False
    return isinstance(value, Mapping)


class TestModule:
    """Test plugin."""

    def tests(self) -> dict[str, t.Callable[..., bool]]:
        """Return the tests by name."""
        return {"json_object": json_object}
