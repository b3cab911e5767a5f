#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command in a one-off container of a Compose service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_run
short_description: Run a command in a one-off container of a Compose service
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - The container has the image, environment, secrets, networks and volumes of a service deployed by
    M(miniweb.stack.compose_service), and is removed afterwards. Nothing can be typed into it.
options:
  service:
    description: Name of the service.
    type: str
    required: true
  command:
    description: The command, in words that are separated as in a shell. It is not run by a shell.
    type: str
    required: true
  launcher:
    description: Words before the command, of a program that starts it.
    type: list
    elements: str
    default: []
  directory:
    description: Directory of the service on the server, by default V(/opt/miniweb/<service>).
    type: path
extends_documentation_fragment:
  - miniweb.stack.attributes
attributes:
  check_mode:
    details: The command is not run.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: List the routes
  miniweb.stack.compose_run:
    service: app
    command: flask routes
"""

RETURN = r"""
stdout_lines:
  description: What the command printed, errors last.
  returned: always
  type: list
  elements: str
  sample: ["3 texts"]
rc:
  description: Its exit code.
  returned: when it was run
  type: int
  sample: 0
"""

import os
import shlex

from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import Engine
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    BASE_DIRECTORY,
    COMPOSE_FILE,
    ServiceError,
)
from ansible_collections.miniweb.stack.plugins.module_utils.compose.plan import for_one_off
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import cause, read_file
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "service": {"type": "str", "required": True},
            "command": {"type": "str", "required": True},
            "launcher": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "path"},
        },
        supports_check_mode=True,
    )
    service, command = module.params["service"], module.params["command"]
    try:
        words = shlex.split(command)
    except ValueError as error:
        module.fail_json(msg=f"command: `{command}` cannot be split into words ({error}): correct its quotes.")
    if not words:
        module.fail_json(msg="command is empty: give one, such as flask routes.")
    directory = module.params["directory"] or os.path.join(BASE_DIRECTORY, service)
    found = read_file(os.path.join(directory, COMPOSE_FILE))
    if found is None:
        module.fail_json(msg=f'The service "{service}" is not on this server: deploy it before, or give its name.')
    if module.check_mode:
        module.exit_json(changed=True, stdout_lines=[])
    engine = Engine(module, service, directory, os.path.join(BASE_DIRECTORY, "images.json"))
    try:
        code, output = engine.one_off([*module.params["launcher"], *words], for_one_off(found.content, data=True))
    except ServiceError as error:
        module.fail_json(msg=str(error))
    lines = output.splitlines()
    if code:
        reason = cause(output) if output else "it printed nothing"
        module.fail_json(msg=f"`{command}` exited with {code}: {reason}", rc=code, stdout_lines=lines)
    module.exit_json(changed=True, rc=0, stdout_lines=lines)


if __name__ == "__main__":
    main()
