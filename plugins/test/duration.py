# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jinja test: is this a duration in Prometheus's format?"""

from __future__ import annotations

DOCUMENTATION = r"""
name: duration
short_description: Whether this is a duration in Prometheus's format
version_added: 1.0.0
author: miniweb.stack maintainers (@miniweb)
description:
  - Returns whether Prometheus and Alertmanager can read a duration, which is one or more whole numbers, each with a unit,
    from the largest unit to the smallest.
options:
  _input:
    description: The duration. Units are C(y), C(w), C(d), C(h), C(m), C(s) and C(ms).
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Check the duration
  ansible.builtin.assert:
    that: prometheus_scrape_interval is miniweb.stack.duration
"""

RETURN = r"""
_value:
  description: True for C(15s), C(1h30m) or C(15d); false for a number without a unit, C(1.5h) or an empty text.
  type: bool
"""

import re
import typing as t

DURATION = re.compile(r"(?=.)(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?", re.ASCII)


def duration(value: t.Any) -> bool:
    """Return whether the value is a duration."""
    return isinstance(value, str) and DURATION.fullmatch(value) is not None


class TestModule:
    """Test plugin."""

    def tests(self) -> dict[str, t.Callable[..., bool]]:
        """Return the tests by name."""
        return {"duration": duration}
