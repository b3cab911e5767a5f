#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a test message through every receiver of Alertmanager."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alertmanager_test
short_description: Send a test message through every receiver of Alertmanager
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Starts a second Alertmanager for a moment, in a one-off container of the service, with its secrets and networks, and with a
    configuration that sends one alert to every receiver; then reports what each of them answered.
  - The running Alertmanager is not touched.
options:
  configuration:
    description:
      - Set by the action of the same name, not by playbooks. It is the configuration of the running Alertmanager in YAML, with
        routes to every receiver.
    type: str
  service:
    description: The Compose service of Alertmanager.
    type: str
    default: alertmanager
  directory:
    description: The service's directory.
    type: path
    default: /opt/miniweb/alertmanager
  instance:
    description: Label C(instance) of the alert.
    type: str
    required: true
  expected:
    description:
      - Set by the action of the same name, not by playbooks. The receivers and their integrations, for example
        C(default/email[0]).
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds within which every receiver must answer.
    type: int
    default: 30
extends_documentation_fragment:
  - miniweb.stack.attributes
attributes:
  check_mode:
    details: Nothing is sent.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Send a test message through every receiver
  miniweb.stack.alertmanager_test:
    instance: "{{ inventory_hostname }}"
"""

RETURN = r"""
delivered:
  description: The receivers and integrations that accepted the message.
  returned: always
  type: list
  elements: str
  sample: ["default/email[0]"]
refused:
  description: What went wrong, by receiver and integration.
  returned: always
  type: dict
  sample: {"default/webhook[0]": "unexpected status code 404"}
"""

import os
import re
import shutil
import tempfile

from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import Engine
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import BASE_DIRECTORY, ServiceError
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import FileState, cause, write_file
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule

# Ends when every integration has delivered the alert or has failed for good, or at the time limit.
SEND = """
url=http://127.0.0.1:19093
/bin/alertmanager --config.file=/test/alertmanager.yml --storage.path=/test/data --cluster.listen-address= \
    --web.listen-address=127.0.0.1:19093 --log.level=debug > /test/log 2>&1 &
end=$(($(date +%s) + $0))
until wget -q -T 2 -O /dev/null $url/-/ready; do
    kill -0 $! && [ "$(date +%s)" -lt $end ] || { cat /test/log; exit 1; }
    sleep 0.2
done
amtool --alertmanager.url=$url alert add MiniwebTest severity=info "instance=$2" \
    "--annotation=summary=Test message of $2" "--annotation=description=It was sent to try the receivers; nothing is wrong."
while [ "$(grep -cE 'Notify success|Notify for alerts failed' /test/log)" -lt "$1" ] && [ "$(date +%s)" -lt $end ]; do
    sleep 0.2
done
cat /test/log
"""
FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')


def unescaped(escape: re.Match[str]) -> str:
    """Return the character that a backslash and another one stand for."""
    return " " if escape[1] in "nt" else escape[1]


def results(log: str) -> dict[str, str]:
    """Return what became of the alert by receiver and integration, from Alertmanager's log: its error, empty on success."""
    found: dict[str, str] = {}
    for line in log.splitlines():
        # In quotes, Alertmanager escapes quotes and line breaks.
        fields = {name: re.sub(r"\\(.)", unescaped, value.strip('"')).strip() for name, value in FIELD.findall(line)}
        message, error = fields.get("msg", ""), fields.get("err", "")
        if message == "Notify success" or message.startswith("Notify attempt failed"):
            found[f"{fields.get('receiver')}/{fields.get('integration')}"] = error
        # Its error begins with the receiver and the integration.
        match = re.match(r"(\S+/\w+\[\d+\]): (.*)", error)
        if message == "Notify for alerts failed" and match:
            found[match[1]] = match[2]
    return found


def sent(module: ServerModule, engine: Engine) -> str:
    """Send the alert; return Alertmanager's log.

    :raises ServiceError: Alertmanager did not start.
    """
    params = module.params
    directory = tempfile.mkdtemp(prefix="test-", dir=params["directory"])
    try:
        # Alertmanager's own user, whom its configuration belongs to
        owner = os.stat(os.path.join(params["directory"], "config", "alertmanager.yml")).st_uid
        os.chown(directory, owner, owner)
        given = FileState(params["configuration"].encode(), 0o400, owner, owner)
        write_file(os.path.join(directory, "alertmanager.yml"), given)
        words = ["run", "--rm", "--no-deps", "--no-TTY", "--volume", f"{directory}:/test", "--entrypoint", "sh"]
        asked = [str(params["timeout"]), str(len(params["expected"])), params["instance"]]
        code, out, err = engine.compose(*words, engine.name, "-c", SEND, *asked, check=False)
    finally:
        shutil.rmtree(directory)
    if code:
        raise ServiceError(
            f'The Alertmanager of the service "{engine.name}" cannot send a test message: {cause(out + err)}.'
        )
    return out


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "configuration": {"type": "str", "no_log": True},
            "service": {"type": "str", "default": "alertmanager"},
            "directory": {"type": "path", "default": os.path.join(BASE_DIRECTORY, "alertmanager")},
            "instance": {"type": "str", "required": True},
            "expected": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, delivered=[], refused={})
    engine = Engine(module, module.params["service"], module.params["directory"], "")
    try:
        found = results(sent(module, engine))
    except (ServiceError, OSError) as error:
        module.fail_json(msg=str(error))
    late = f"no answer within {module.params['timeout']} s"
    refused = {one: found.get(one, late) for one in module.params["expected"] if found.get(one, late)}
    delivered = [one for one in module.params["expected"] if one not in refused]
    module.exit_json(changed=False, delivered=delivered, refused=refused)


if __name__ == "__main__":
    main()
