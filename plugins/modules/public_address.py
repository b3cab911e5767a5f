#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the public addresses of the machine this module runs on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: public_address
short_description: Find the public addresses of the machine this module runs on
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Queries services that return the address a request came from. Run it on the controller.
  - Services that do not answer are skipped as long as another one does. An answer that is not an address, such as the page
    of a captive portal, and answers that contradict each other fail.
options:
  ipv4_services:
    description: URLs of services that return the IPv4 address. At least one must answer.
    type: list
    elements: str
    default: [https://checkip.amazonaws.com, https://ipv4.icanhazip.com]
  ipv6_services:
    description: URLs of services that return the IPv6 address. No answer means that IPv6 is not available.
    type: list
    elements: str
    default: [https://ipv6.icanhazip.com, https://api6.ipify.org]
  timeout:
    description: Seconds within which each service must answer.
    type: int
    default: 5
extends_documentation_fragment:
  - miniweb.stack.attributes.read_only
"""

EXAMPLES = r"""
- name: Find my address
  miniweb.stack.public_address:
  delegate_to: localhost
"""

RETURN = r"""
addresses:
  description: The public addresses, an IPv4 address first.
  returned: success
  type: list
  elements: str
  sample: [203.0.113.7, "2001:db8::7"]
"""

import ipaddress

from ansible.module_utils.urls import open_url
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule

# Long enough for any address, short enough to quote.
ANSWER_BYTES = 200


class AddressError(Exception):
    """The address cannot be determined; the message says why in one sentence."""


def parsed(service: str, answer: str, version: int) -> str:
    """Return the address in a service's response.

    :raises AddressError: it is not an address of this IP version.
    """
    text = answer.strip()
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise AddressError(
            f'{service} answers "{text[:40]}", which is not an address: log in to the network you are in (it may show '
            "a page of its own first), or give your addresses yourself."
        ) from error
    if address.version != version:
        raise AddressError(f"{service} answers {text}, which is not an IPv{version} address: name another service.")
    return str(address)


def agreed(answers: dict[str, str]) -> str:
    """Return the address that all services agree on; empty if none answered.

    :raises AddressError: they contradict each other.
    """
    found = sorted(set(answers.values()))
    if len(found) > 1:
        said = ", ".join(f"{service} says {address}" for service, address in answers.items())
        raise AddressError(
            f"The services for your address contradict each other: {said}; give your addresses yourself."
        )
    return found[0] if found else ""


def ask(services: list[str], version: int, timeout: int) -> tuple[dict[str, str], list[str]]:
    """Return each service's answer, and the errors of those that gave none."""
    answers, obstacles = {}, []
    for service in services:
        try:
            answer = open_url(service, timeout=timeout, http_agent="miniweb.stack").read(ANSWER_BYTES)
        except Exception as error:  # open_url passes on exceptions of http.client, ssl and socket
            obstacles.append(f"{service}: {error}")
            continue
        answers[service] = parsed(service, answer.decode(errors="replace"), version)
    return answers, obstacles


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "ipv4_services": {
                "type": "list",
                "elements": "str",
                "default": ["https://checkip.amazonaws.com", "https://ipv4.icanhazip.com"],
            },
            "ipv6_services": {
                "type": "list",
                "elements": "str",
                "default": ["https://ipv6.icanhazip.com", "https://api6.ipify.org"],
            },
            "timeout": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        answers, obstacles = ask(params["ipv4_services"], 4, params["timeout"])
        ipv4 = agreed(answers)
        if params["ipv4_services"] and not ipv4:
            raise AddressError(
                f"No service returned your address ({'; '.join(obstacles)}): check your connection, or give your "
                "addresses yourself."
            )
        ipv6 = agreed(ask(params["ipv6_services"], 6, params["timeout"])[0])
    except AddressError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, addresses=[address for address in (ipv4, ipv6) if address])


if __name__ == "__main__":
    main()
