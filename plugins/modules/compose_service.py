#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy one Docker Compose service and wait until it is healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_service
short_description: Deploy one Docker Compose service and wait until it is healthy
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Makes sure that a Compose service with the given files, secrets and networks is running and healthy.
  - Every service is a separate Compose project, C(miniweb-<name>), in a separate directory, so that it can be deployed,
    stopped or removed without affecting others.
  - What runs is compared with what should run; the next run completes one that was interrupted. A second run changes nothing
    and queries the engine once.
  - Before anything is written the definition is validated and the image pulled or built. A failing O(check_command) or
    O(before_start) command restores the files as they were, and the old container never stops serving.
  - A new version that exits, keeps restarting or is unhealthy is rolled back to the previous version, with its own files and
    image; the module fails and reports both. One that is still starting at the timeout is left running, and the next run
    waits for it. An image that has opened the data is never replaced by an older one.
  - A service without a health check counts as healthy once it accepts connections at every TCP port under C(expose) in
    O(definition), or, without such a port, if it has not exited after 5 seconds.
  - Only images that this module pulled or built are ever removed, once newer ones are running.
  - Every service gets C(restart=unless-stopped), C(cap_drop=[ALL]), C(security_opt=[no-new-privileges:true]),
    C(read_only=true) and C(json-file) logs of limited size. O(definition) may override each of them.
requirements:
  - Docker Engine 25 or newer and the Compose v2 plugin on the server
options:
  name:
    description: Name of the service. Other services reach it by this name on their shared networks.
    type: str
    required: true
  state:
    description:
      - V(present) means the service is running and healthy.
      - V(absent) removes its containers and its directory. Named volumes stay unless O(remove_volumes=true).
    type: str
    choices: [present, absent]
    default: present
  directory:
    description:
      - Directory of the service on the server, owned by root with mode 0700.
      - Defaults to V(/opt/miniweb/<name>).
    type: path
  definition:
    description:
      - The Compose service as a dictionary, see U(https://docs.docker.com/reference/compose-file/services/).
      - It is used literally; C($) is not interpolated. Relative paths start at O(directory).
      - Required when O(state=present).
    type: dict
  files:
    description: Files the service reads. Files of an earlier run that are no longer listed are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: Path relative to O(directory). Mount its directory, not the file itself.
        type: str
        required: true
      content:
        description: Content. Without it, the file is created by something else, and only its changes are detected.
        type: str
      secret:
        description: Content that is or contains a secret. It appears in no output.
        type: str
      mode:
        description: Permissions as an octal number.
        type: str
        default: "0644"
      owner:
        description: Numeric user id of the owner.
        type: int
        default: 0
      group:
        description: Numeric group id.
        type: int
        default: 0
      reload:
        description: Whether a change is applied by O(reload_command) instead of a new container.
        type: bool
        default: false
  directories:
    description:
      - Directories on the server's disk, below O(directory), for what must not be in memory and need not be kept, such as
        temporary files. Mount them in O(definition).
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: Name of the directory.
        type: str
        required: true
      owner:
        description: Numeric id of the user and group that alone can use it.
        type: int
        required: true
  secrets:
    description:
      - Secrets, readable as C(/run/secrets/<name>) in the container, mode 0400.
      - Values appear in no output, label, hash or command line. A changed secret recreates the container.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the secret.
        type: str
        required: true
      content:
        description: Value of the secret.
        type: str
        required: true
      owner:
        description: Numeric user id of the program that reads it.
        type: int
        default: 0
  networks:
    description: Shared Docker networks the service is attached to. Missing ones are created.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the network.
        type: str
        required: true
      internal:
        description: Whether the network is internal, without outbound connectivity.
        type: bool
        default: false
      ipv6:
        description:
          - Whether the network has IPv6, so that who comes over IPv6 to a published port keeps their address. Where the engine
            does not translate IPv6, or its forwarding would cost the server its route, the service is not attached to it.
        type: bool
        default: false
  volumes:
    description: Named volumes of this service, as used in the C(volumes) of O(definition).
    type: list
    elements: str
    default: []
  shared_volumes:
    description:
      - Named volumes that several services may mount, with files that no version of a program needs in a format of its time, such as
        uploads. Missing ones are created. They hinder no rollback, as those in O(volumes) do.
      - Mount them in O(definition) with C(nocopy), or the engine gives an empty one the owner of the directory in the image.
      - In the C(volumes) of O(definition) their names are C(<service>_<volume>); the engine calls them C(miniweb-<service>_<volume>).
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: Name of the service that it belongs to, and with which it is removed if that has O(remove_volumes=true).
        type: str
        required: true
      volume:
        description: Name of the volume.
        type: str
        required: true
      owner:
        description: Numeric id of the user and group that it is to belong to. Without it, the owner stays as it is.
        type: int
  check_command:
    description:
      - Command that validates the files. It runs in a one-off container of the new definition, without O(volumes).
      - If there is nothing yet that could be replaced, it runs in the service's first container, which is removed if it fails.
    type: list
    elements: str
  reload_command:
    description: Command that makes the running container reload its files. Required for files with C(reload).
    type: list
    elements: str
  reload_proof:
    description:
      - Verifies that a reload took effect. It is repeated until it succeeds; at the timeout the previous files are restored
        and loaded again, and the module fails.
    type: dict
    suboptions:
      command:
        description:
          - Command that exits with 0 when the new files are in use. Its output is then shown as a warning if it begins with
            C(WARNING).
        type: list
        elements: str
        required: true
      on_server:
        description: Whether it runs on the server, in O(directory), instead of in the container.
        type: bool
        default: false
      differs:
        description: Whether its output must also differ from the one before the reload.
        type: bool
        default: false
      timeout:
        description: Seconds within which it must succeed.
        type: int
        default: 30
  contributions_uid:
    description:
      - This service reads the contributions of others, with this numeric user ID. Mount C(<contributions_directory>/<name>)
        in O(definition).
    type: int
  before_start:
    description:
      - Commands, each a list of arguments, that run in one-off containers of the new definition before it replaces the old
        one, for example database migrations. They must be safe to repeat. If they run with another image and the data in
        O(volumes) change meanwhile, there is no rollback.
    type: list
    elements: list
    default: []
  build:
    description:
      - Builds the image of O(definition) on the server if it does not exist, instead of pulling it.
      - Give the image a tag that changes with its content, for example a hash of the archive.
    type: dict
    suboptions:
      archive:
        description: Tar archive on the controller that is the build context. It is sent only if the image is missing.
        type: path
        required: true
      base:
        description:
          - Image that the Dockerfile starts from. With O(pull=always), it is pulled again, and its ID becomes part of the tag
            of the image of O(definition).
        type: str
      dockerfile:
        description: Path of the Dockerfile in the archive.
        type: str
        default: Dockerfile
      keep:
        description: Number of images of the same repository that are kept after a successful start.
        type: int
        default: 3
  pull:
    description:
      - Whether the image of O(definition), or O(build.base) of an image that is built, is pulled only if the server lacks it, or
        on every run, because its tag may have moved. Then a registry that does not answer is only a warning if the server
        has the image.
      - The filter P(miniweb.stack.image_pull#filter) derives it from an image's tag.
    type: str
    choices: [missing, always]
    default: missing
  login:
    description:
      - How to log in to the registry of the image, or of O(build.base), when it is pulled. The login lasts as long as that, and
        nothing of it stays on the server. Without it, the user that the module runs as may have logged in before.
    type: dict
    suboptions:
      user:
        description: Name of the user.
        type: str
        required: true
      password:
        description: Its password or token.
        type: str
        required: true
  sent_archive:
    description:
      - Set by the action of the same name, not by playbooks. It is where the archive of O(build) is on the server, as long as
        the module runs.
    type: path
  wait_timeout:
    description:
      - Seconds within which the service must become healthy. Without O(volumes) the module waits for the result of the
        health check, even if that takes longer.
    type: int
    default: 120
  remove_volumes:
    description: With O(state=absent), also delete the service's named volumes with their data.
    type: bool
    default: false
extends_documentation_fragment:
  - miniweb.stack.attributes
  - miniweb.stack.contributions
  - miniweb.stack.settled
attributes:
  check_mode:
    details: Commands are not run.
  diff_mode:
    details: For secrets it shows only that they change.
"""

EXAMPLES = r"""
- name: Run nginx
  miniweb.stack.compose_service:
    name: nginx
    definition:
      image: nginx:1.30-alpine
      user: "101:101"
      ports: ["80:8080"]
      volumes: ["./conf.d:/etc/nginx/conf.d:ro"]
      tmpfs: ["/run:uid=101", "/var/cache/nginx:uid=101"]
      healthcheck:
        test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:8080/"]
        start_period: 30s
        start_interval: 1s
    files:
      - dest: conf.d/site.conf
        content: "{{ lookup('miniweb.stack.template', 'site.conf.j2') }}"
        reload: true
    check_command: [nginx, -t]
    reload_command: [nginx, -s, reload]
    networks:
      - name: miniweb-edge

- name: Remove a service and keep its data
  miniweb.stack.compose_service:
    name: nginx
    state: absent
"""

RETURN = r"""
actions:
  description: Descriptions of what was done, or would be done in check mode, in order.
  returned: always
  type: list
  elements: str
  sample: ["write conf.d/site.conf", "reload"]
container_id:
  description: Id of the running container. Empty when there is none.
  returned: always
  type: str
  sample: 4c01db0b339c
project:
  description: Name of the Compose project.
  returned: always
  type: str
  sample: miniweb-nginx
image:
  description: The image of O(definition), with the tag that it was given if it is built from a base that is pulled on every run.
  returned: when O(state=present)
  type: str
  sample: nginx:1.30-alpine
image_id:
  description: ID of the image of the running container. Empty when there is none.
  returned: when O(state=present)
  type: str
  sample: sha256:5f1c
logs:
  description: The service's last log lines.
  returned: when it did not become healthy
  type: list
  elements: str
  sample: ["nginx: [emerg] host not found in upstream"]
"""

import re

from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    ArchiveNeeded,
    ServiceError,
    file_error,
)
from ansible_collections.miniweb.stack.plugins.module_utils.compose.service import CONTRIBUTION_SPEC, Service
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule
from ansible_collections.miniweb.stack.plugins.module_utils.settled import SETTLED_SPEC


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "directory": {"type": "path"},
            "definition": {"type": "dict"},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "dest": {"type": "str", "required": True},
                    "content": {"type": "str"},
                    "secret": {"type": "str", "no_log": True},
                    "mode": {"type": "str", "default": "0644"},
                    "owner": {"type": "int", "default": 0},
                    "group": {"type": "int", "default": 0},
                    "reload": {"type": "bool", "default": False},
                },
                "mutually_exclusive": [["content", "secret"]],
            },
            "secrets": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "no_log": False,
                "options": {
                    "name": {"type": "str", "required": True},
                    "content": {"type": "str", "required": True, "no_log": True},
                    "owner": {"type": "int", "default": 0},
                },
            },
            "networks": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "internal": {"type": "bool", "default": False},
                    "ipv6": {"type": "bool", "default": False},
                },
            },
            "volumes": {"type": "list", "elements": "str", "default": []},
            "shared_volumes": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "service": {"type": "str", "required": True},
                    "volume": {"type": "str", "required": True},
                    "owner": {"type": "int"},
                },
            },
            "check_command": {"type": "list", "elements": "str"},
            "reload_command": {"type": "list", "elements": "str"},
            "reload_proof": {
                "type": "dict",
                "options": {
                    "command": {"type": "list", "elements": "str", "required": True},
                    "on_server": {"type": "bool", "default": False},
                    "differs": {"type": "bool", "default": False},
                    "timeout": {"type": "int", "default": 30},
                },
            },
            "contributions": CONTRIBUTION_SPEC,
            "contributions_uid": {"type": "int"},
            "contributions_directory": {"type": "path", "default": "/opt/miniweb/contributions"},
            "before_start": {"type": "list", "elements": "list", "default": []},
            "directories": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"dest": {"type": "str", "required": True}, "owner": {"type": "int", "required": True}},
            },
            "build": {
                "type": "dict",
                "options": {
                    "archive": {"type": "path", "required": True},
                    "base": {"type": "str"},
                    "dockerfile": {"type": "str", "default": "Dockerfile"},
                    "keep": {"type": "int", "default": 3},
                },
            },
            "pull": {"type": "str", "choices": ["missing", "always"], "default": "missing"},
            "login": {
                "type": "dict",
                "options": {
                    "user": {"type": "str", "required": True},
                    "password": {"type": "str", "required": True, "no_log": True},
                },
            },
            "sent_archive": {"type": "path"},
            "wait_timeout": {"type": "int", "default": 120},
            "remove_volumes": {"type": "bool", "default": False},
            **SETTLED_SPEC,
        },
        required_if=[("state", "present", ["definition"])],
        supports_check_mode=True,
    )
    name = module.params["name"]
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        module.fail_json(msg=f'name: "{name}" may only have small letters, digits, "_" and "-".')
    service = Service(module)
    try:
        result = service.present() if module.params["state"] == "present" else service.absent()
    except ArchiveNeeded:
        module.exit_json(changed=False, archive_needed=True)
    except ServiceError as error:
        module.fail_json(msg=str(error), project=service.engine.project, **error.details)
    except OSError as error:
        module.fail_json(msg=file_error(name, error), project=service.engine.project)
    module.exit_json(project=service.engine.project, **result)


if __name__ == "__main__":
    main()
