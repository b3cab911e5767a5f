#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide contributions, files for services that read them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: contributions
short_description: Provide contributions, files for services that read them
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Does for programs that are not containers, such as those under systemd, what
    O(miniweb.stack.compose_service#module:contributions) does for a Compose service.
options:
  name:
    description: Owner of the files, with which their names begin.
    type: str
    required: true
  state:
    description: V(absent) removes all contributions of the owner.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - miniweb.stack.attributes
  - miniweb.stack.contributions
  - miniweb.stack.settled
attributes:
  diff_mode:
    details: For passwords it shows only that they change.
"""

EXAMPLES = r"""
- name: Add the responder's scrape job to Prometheus
  miniweb.stack.contributions:
    name: alert_responder
    contributions:
      - reader: prometheus
        ext: jobs.yml
        content: |
          scrape_configs:
            - job_name: alert_responder
              static_configs:
                - targets: [host.docker.internal:9095]
"""

RETURN = r"""
actions:
  description: Descriptions of what was done, or would be done in check mode, in order.
  returned: always
  type: list
  elements: str
  sample: ["contribute prometheus/alert_responder.jobs.yml", "reload prometheus"]
"""

from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import ServiceError, file_error
from ansible_collections.miniweb.stack.plugins.module_utils.compose.service import CONTRIBUTION_SPEC, Service
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule
from ansible_collections.miniweb.stack.plugins.module_utils.settled import SETTLED_SPEC


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "contributions": CONTRIBUTION_SPEC,
            "contributions_directory": {"type": "path", "default": "/opt/miniweb/contributions"},
            **SETTLED_SPEC,
        },
        supports_check_mode=True,
    )
    try:
        result = Service(module).contribute_only()
    except ServiceError as error:
        module.fail_json(msg=str(error), **error.details)
    except OSError as error:
        module.fail_json(msg=file_error(module.params["name"], error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
