#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record on the server that the tasks of a role are done."""

from __future__ import annotations

DOCUMENTATION = r"""
module: settled
short_description: Record on the server that the tasks of a role are done
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Runs after the tasks it is about, and records what must stay unchanged. As long as it does, and the variables and the
    code of the role stay the same, the lookup P(miniweb.stack.settled#lookup) is true in a run of the whole system, and the
    tasks can be skipped.
  - M(miniweb.stack.compose_service), M(miniweb.stack.contributions), M(miniweb.stack.mysql_account) and
    M(miniweb.stack.tls_certificate) do this by themselves.
options:
  name:
    description: Name of the note, the same as in the lookup.
    type: str
    required: true
  of:
    description: The variables on which the tasks depend, the same as in the lookup. They are not sent to the server.
    type: dict
    default: {}
  files:
    description: Paths of files and directories that must stay as they are, or stay missing.
    type: list
    elements: path
    default: []
  packages:
    description: Names of Debian packages that must stay installed.
    type: list
    elements: str
    default: []
  units:
    description: Names of systemd units that must stay in their state, and of services that must not be restarted.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - miniweb.stack.attributes
  - miniweb.stack.settled
attributes:
  check_mode:
    details: Nothing is noted.
  diff_mode:
    support: none
    details: A note does not count as a change.
"""

EXAMPLES = r"""
- name: Record that the timer is running
  miniweb.stack.settled:
    name: backup_timer
    of:
      interval: "{{ backup_interval }}"
    files: [/etc/systemd/system/backup.timer]
    units: [backup.timer]
"""

RETURN = r""" # """

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.miniweb.stack.plugins.module_utils.settled import (
    SETTLED_SPEC,
    Notes,
    files,
    packages,
    unit_conditions,
)


def main() -> None:
    """Entry point of the module."""
    texts = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "of": {"type": "dict", "default": {}},
            "files": {"type": "list", "elements": "path", "default": []},
            "packages": texts,
            "units": texts,
            **SETTLED_SPEC,
        },
        supports_check_mode=True,
    )
    params = module.params
    if not module.check_mode:
        conditions = [*files(*params["files"]), *unit_conditions(module, params["units"])]
        if params["packages"]:
            conditions.append(packages(*params["packages"]))
        Notes(module).write(f"settled/{params['name']}", params["settled"], conditions, {})
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
