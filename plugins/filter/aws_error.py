# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: explain a failed AWS task in one sentence."""

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_error
short_description: What a failed AWS task means, in one sentence
version_added: 1.0.0
author: miniweb.stack maintainers (@miniweb)
description:
  - Takes the result of a failed task of an C(amazon.aws) module and returns one sentence that names the cause, a
    missing permission, expired credentials, an unknown region or a used-up quota, and what to do.
  - If the cause is none of these, the message itself is returned.
options:
  _input:
    description: Result of the failed task, C(ansible_failed_result), or its message.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Report why AWS refused
  ansible.builtin.fail:
    msg: "{{ ansible_failed_result | miniweb.stack.aws_error }}"
"""

RETURN = r"""
_value:
  description: The sentence.
  type: str
"""

import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.aws_errors import sentence


def aws_error(failed: t.Any) -> str:
    """Explain a failed task's result, or its message."""
    return sentence(str(failed.get("msg", "") if isinstance(failed, dict) else failed))


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., str]]:
        """Return the filters by name."""
        return {"aws_error": aws_error}
