#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Obtain the certificate of nginx from an ACME authority."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_certificate
short_description: Obtain the certificate of nginx from an ACME authority
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Runs the program that renews the certificate of nginx, which the role nginx has installed together with a timer, if a new one is
    due. It fails if there is no valid certificate of the authority afterwards; if there still is one, a failure is a warning.
  - With O(challenge_directory), the action first fetches a random file below C(/.well-known/acme-challenge/) by each name from the
    controller. A name that does not return it is reported with what it resolves to and what answered, and the authority, which allows few
    failures in an hour, is not asked.
options:
  program:
    description: The program on the server.
    type: path
    required: true
  names:
    description: The names of the certificate.
    type: list
    elements: str
    required: true
  challenge_directory:
    description: Directory whose C(.well-known/acme-challenge) nginx serves over HTTP. Without it, no name is tried.
    type: path
  owner:
    description: Numeric user id that owns what is below O(challenge_directory).
    type: int
    default: 0
  phase:
    description: Set by the action of the same name, not by playbooks. Which part of the work is done.
    type: str
    choices: [look, obtain, withdraw]
    default: obtain
  token:
    description: Set by the action of the same name, not by playbooks. The name of the random file.
    type: str
    default: ""
extends_documentation_fragment:
  - miniweb.stack.attributes
  - miniweb.stack.settled
attributes:
  check_mode:
    details: The authority is not asked.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Obtain the certificate
  miniweb.stack.acme_certificate:
    program: /opt/miniweb/certificate/renew_certificate.py
    names: [www.example.com]
    challenge_directory: /opt/miniweb/nginx/challenge
    owner: 101
"""

RETURN = r"""
reason:
  description: Why it was obtained or put in place. Empty when nothing changed.
  returned: always
  type: str
  sample: fewer than 30 days were left
token:
  description: The name of the random file, and its content. Empty if the authority is not asked.
  returned: when the action looks
  type: str
"""

import contextlib
import json
import os
import secrets
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils import settled
from ansible_collections.miniweb.stack.plugins.module_utils.certificates import CERTIFICATE, PRIVATE_KEY
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import FileState, cause, write_file
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule

SUBDIRECTORIES = (".well-known", "acme-challenge")


def run(module: ServerModule, *words: str) -> dict[str, t.Any]:
    """Run the program; return what it prints."""
    code, out, err = module.run_command(["/usr/bin/python3", "-EsB", module.params["program"], *words])
    if code:
        module.fail_json(msg=f"{module.params['program']} failed: {cause(err or out)}.")
    return json.loads(out)


def offer(module: ServerModule) -> str:
    """Put a random file where a challenge would be; return its name, which is its content, too."""
    token, owner = secrets.token_hex(16), module.params["owner"]
    path = module.params["challenge_directory"]
    for name in SUBDIRECTORIES:
        path = os.path.join(path, name)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
        os.chmod(path, 0o755)
        os.chown(path, owner, owner)
    write_file(os.path.join(path, token), FileState(token.encode(), 0o644, owner, owner))
    return token


def withdraw(module: ServerModule) -> None:
    """Remove the random file."""
    directory, token = module.params["challenge_directory"], module.params["token"]
    if directory and token:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, *SUBDIRECTORIES, os.path.basename(token)))


def obtain(module: ServerModule) -> dict[str, t.Any]:
    """Run the program to its end; return the module's result."""
    done = run(module, "--json")
    if done["error"]:
        message = f"The certificate for {', '.join(module.params['names'])} cannot be renewed: {done['error']}."
        if not done["trusted"]:
            module.fail_json(msg=f"{message} The site keeps the one that it has.")
        module.warn(f"{message} The one of the authority is still valid; a timer tries again every hour.")
    else:
        note(module, done["renew_at"])
    return {"changed": bool(done["reason"]), "reason": done["reason"]}


def note(module: ServerModule, renew_at: int) -> None:
    """Record that the certificate is in place until it has to be renewed."""
    program = module.params["program"]
    own = os.path.dirname(program)
    with open(os.path.join(own, "settings.json"), encoding="utf-8") as stream:
        directory = json.load(stream)["directory"]
    watched = [program, os.path.join(own, "settings.json")]
    watched += [os.path.join(directory, name) for name in (CERTIFICATE, PRIVATE_KEY)]
    conditions = [*settled.files(*watched), settled.until(renew_at)]
    settled.Notes(module).write("acme_certificate", module.params["settled"], conditions, {"reason": ""})


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "program": {"type": "path", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
            "challenge_directory": {"type": "path"},
            "owner": {"type": "int", "default": 0},
            "phase": {"type": "str", "choices": ["look", "obtain", "withdraw"], "default": "obtain"},
            "token": {"type": "str", "default": "", "no_log": False},
            **settled.SETTLED_SPEC,
        },
        supports_check_mode=True,
    )
    phase = module.params["phase"]
    if phase == "withdraw":
        withdraw(module)
        module.exit_json(changed=False, reason="")
    if phase == "look" or module.check_mode:
        if not os.path.exists(module.params["program"]) and module.check_mode:
            module.exit_json(changed=True, reason="there is none yet", token="")
        found = run(module, "--look")
        asks = found["asks"] and module.params["challenge_directory"] and not module.check_mode
        token = offer(module) if asks else ""
        module.exit_json(changed=bool(found["reason"]), reason=found["reason"], token=token)
    try:
        result = obtain(module)
    finally:
        withdraw(module)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
