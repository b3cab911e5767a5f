# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: why a source directory cannot be packed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: source_fault
short_description: Why a source directory cannot be packed
version_added: 1.0.0
author: miniweb.stack maintainers (@miniweb)
description:
  - Looks at a directory on the controller as M(miniweb.stack.source_archive) does, and returns why that module would refuse
    it, so that a role can say so before it changes anything.
positional: allowed_secrets
options:
  _input:
    description: The directory.
    type: path
    required: true
  allowed_secrets:
    description: As for M(miniweb.stack.source_archive).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Check the source
  ansible.builtin.assert:
    that: app_source_dir | miniweb.stack.source_fault == ''
    fail_msg: "app_source_dir: {{ app_source_dir | miniweb.stack.source_fault }}"
"""

RETURN = r"""
_value:
  description: The reason as a sentence; empty for a directory that can be packed.
  type: str
"""

import os
import typing as t

from ansible_collections.miniweb.stack.plugins.modules.source_archive import source_of


def source_fault(path: str, allowed_secrets: t.Sequence[str] = ()) -> str:
    """Return why a directory cannot be packed; empty if it can."""
    params = {
        "path": os.path.expanduser(str(path)),
        "exclude": [],
        "only": [],
        "allowed_secrets": list(allowed_secrets),
    }
    try:
        source_of(params)
    except ValueError as error:
        return str(error).removeprefix("path: ")
    except OSError as error:
        return f'"{error.filename}" cannot be read on the controller: {error.strerror}.'
    return ""


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., str]]:
        """Return the filters by name."""
        return {"source_fault": source_fault}
