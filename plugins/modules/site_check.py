#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the server's sites as a visitor would, and fail if one does not answer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site_check
short_description: Ask the server's sites as a visitor would, and fail if one does not answer
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Requests every site over HTTPS on this server, through nginx, and repeats that until each one answers or the time is up.
    Containers that are all healthy are no proof that a site works.
  - The certificate is not verified; that is what a probe is for.
options:
  sites:
    description: The sites.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name for messages.
        type: str
        required: true
      server_names:
        description: Host names or addresses that visitors enter. The first one is asked.
        type: list
        elements: str
        required: true
      port:
        description: Published port.
        type: int
        required: true
      health_path:
        description: Path that must be answered with success. Without one, every answer to C(/) but a server error will do.
        type: str
        default: ""
      admin_only:
        description: Whether only administrators have access. With a health path, the site is asked in the container of O(service).
        type: bool
        default: false
  service:
    description: The Compose service of nginx.
    type: str
    default: nginx
  timeout:
    description: Seconds within which every site must answer.
    type: int
    default: 30
extends_documentation_fragment:
  - miniweb.stack.attributes
  - miniweb.stack.settled
attributes:
  check_mode:
    details: Nothing is asked, because the sites may not be deployed yet.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Ask the site
  miniweb.stack.site_check:
    sites:
      - name: main
        server_names: [www.example.com]
        port: 443
        health_path: /healthz
"""

RETURN = r"""
asked:
  description: The URLs that were asked.
  returned: always
  type: list
  elements: str
  sample: ["https://www.example.com:443/healthz"]
"""

from ansible_collections.miniweb.stack.plugins.module_utils import settled, sites
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import ServiceError
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule
from ansible_collections.miniweb.stack.plugins.module_utils.waiting import until


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "sites": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "server_names": {"type": "list", "elements": "str", "required": True},
                    "port": {"type": "int", "required": True},
                    "health_path": {"type": "str", "default": ""},
                    "admin_only": {"type": "bool", "default": False},
                },
            },
            "service": {"type": "str", "default": "nginx"},
            "timeout": {"type": "int", "default": 30},
            **settled.SETTLED_SPEC,
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, asked=[])
    service, asked = module.params["service"], module.params["sites"]
    said: list[str] = []

    def all_answer() -> bool:
        said[:] = sites.failures(module, service, asked)
        return not said

    try:
        answered = until(all_answer, module.params["timeout"])
    except ServiceError as error:
        module.fail_json(msg=str(error))
    if not answered:
        module.fail_json(
            msg=f"Everything is deployed, but {'; '.join(said)}: look at the log of the service behind it "
            "(docker ps, docker logs)."
        )
    result = {"asked": [sites.address(site) for site in asked]}
    settled.Notes(module).write("site_check", module.params["settled"], [["sites", service, asked]], result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
