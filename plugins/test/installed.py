# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jinja test: is a collection installed here?"""

from __future__ import annotations

DOCUMENTATION = r"""
name: installed
short_description: Whether a collection is installed on the controller
version_added: 1.0.0
author: miniweb.stack maintainers (@miniweb)
description:
  - Looks for a collection where Ansible looks for it, and compares its version, if it has one.
options:
  _input:
    description: The collection as C(ansible-galaxy) takes it, C(namespace.name) or C(namespace.name:>=version).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check that the collection for AWS is there
  ansible.builtin.assert:
    that: "'amazon.aws:>=10.1.0' is miniweb.stack.installed"
"""

RETURN = r"""
_value:
  description: Whether the collection is there, in this version or a newer one.
  type: bool
"""

import importlib
import json
import os
import typing as t

from ansible.errors import AnsibleFilterError
from ansible.utils.version import SemanticVersion


def installed(requirement: str) -> bool:
    """Return whether a collection is installed here.

    :param requirement: its name, optionally followed by ``:>=`` and a version.
    :raises AnsibleFilterError: the requirement has another form.
    """
    name, colon, wanted = requirement.partition(":")
    if colon and not wanted.startswith(">="):
        raise AnsibleFilterError(f'installed: "{requirement}" is not of the form namespace.name:>=version.')
    try:
        package = importlib.import_module(f"ansible_collections.{name}")
    except ImportError:
        return False
    found = version(next(iter(package.__path__)))
    return not (wanted and found) or SemanticVersion(found) >= SemanticVersion(wanted[2:].strip())


def version(directory: str) -> str:
    """Return the version of the collection in a directory; empty for a source tree."""
    try:
        with open(os.path.join(directory, "MANIFEST.json"), encoding="utf-8") as stream:
            return json.load(stream)["collection_info"]["version"]
    except FileNotFoundError:
        return ""


class TestModule:
    """Test plugin."""

    def tests(self) -> dict[str, t.Callable[..., bool]]:
        """Return the tests by name."""
        return {"installed": installed}
