#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let operators in through a security group, each from the addresses where they are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: security_group_access
short_description: Let operators in through a security group, each from the addresses where they are
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Every rule carries, in its description, the operators it serves, each with the date of the grant and, where there is
    one, the date of its end. Only the given operator's part of a rule is ever changed. A rule that serves nobody any
    more is removed.
  - New rules are added before old ones are removed, so that nobody is locked out in between.
  - Grants that have ended are removed on every run but that of O(action=list), whoever they belong to.
  - Rules without such a description are left alone.
options:
  group_name:
    description: Name of the security group.
    type: str
    required: true
  action:
    description:
      - V(refresh) gives the operator access from O(addresses) and takes it away from the operator's earlier ones.
      - V(grant) gives access from O(addresses) as well as from earlier ones.
      - V(revoke) takes away all access of the operator.
      - V(list) changes nothing.
    type: str
    choices: [list, grant, revoke, refresh]
    default: refresh
  operator:
    description: Who the rules are for.
    type: str
    required: true
  addresses:
    description: Addresses or networks (CIDR) from which the operator comes, IPv4 or IPv6.
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports the operator reaches.
    type: list
    elements: int
    default: [22]
  expires_days:
    description: Days after which the grant ends. V(0) means never.
    type: int
    default: 0
  allow_anywhere:
    description: Whether O(addresses) may hold networks as large as C(0.0.0.0/0).
    type: bool
    default: false
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    support: full
    description: Says what it would do.
  diff_mode:
    support: full
    description: Shows who reaches what from where.
  idempotent:
    support: full
    description: A second run on the same day changes nothing.
"""

EXAMPLES = r"""
- name: Let me in from where I am now, for a week
  miniweb.stack.security_group_access:
    group_name: miniweb-production-administrators
    operator: alice
    addresses: [203.0.113.7]
    ports: [22, 3000]
    expires_days: 7
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, in words.
  returned: always
  type: list
  elements: str
  sample: ["open 22 for 203.0.113.7/32", "close 22 for 198.51.100.4/32"]
access:
  description: Who reaches which port from where, afterwards.
  returned: always
  type: list
  elements: str
  sample: ["alice: 203.0.113.7/32 to 22, 3000 since 2026-11-24"]
"""

import contextlib
import dataclasses
import datetime
import ipaddress
import re
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.miniweb.stack.plugins.module_utils.aws_errors import sentence

# AnsibleAWSModule says so when it is missing.
with contextlib.suppress(ImportError):
    from botocore.exceptions import BotoCoreError, ClientError

MARK = "miniweb: "
# AWS takes no longer description.
DESCRIPTION_LENGTH = 255
# Networks larger than these are refused as "anywhere": shorter prefixes by version of IP.
SHORTEST_PREFIX = {4: 8, 6: 16}
GRANT = re.compile(r"(?P<operator>\S+) (?P<since>\d{4}-\d\d-\d\d)(?: until (?P<until>\d{4}-\d\d-\d\d))?")


class AccessError(Exception):
    """The input cannot be used; the message says why in one sentence."""


@dataclasses.dataclass(frozen=True)
class Grant:
    """One operator's part of a rule; dates as YYYY-MM-DD, `until` empty for no end."""

    operator: str
    since: str
    until: str = ""

    def __str__(self) -> str:
        return f"{self.operator} {self.since}" + (f" until {self.until}" if self.until else "")


Place = tuple[str, int]  # network in CIDR notation, TCP port
Access = dict[Place, tuple[Grant, ...]]


def network(value: str, allow_anywhere: bool) -> str:
    """Return an address or network in CIDR notation.

    :raises AccessError: it is neither, or as large as the internet.
    """
    try:
        found = ipaddress.ip_network(value.strip())
    except ValueError as error:
        raise AccessError(f'addresses: "{value}" is not an address or network ({error}); give one.') from error
    if found.prefixlen < SHORTEST_PREFIX[found.version] and not allow_anywhere:
        raise AccessError(
            f'addresses: "{value}" lets practically everyone reach the administrators\' ports; give the address you '
            "come from."
        )
    return str(found)


def parse(description: str) -> tuple[Grant, ...] | None:
    """Return the grants in a rule's description; None when the rule was not made by this module."""
    if not description.startswith(MARK):
        return None
    matches = [GRANT.fullmatch(part) for part in description[len(MARK) :].split("; ")]
    if not all(matches):
        return None
    return tuple(Grant(m["operator"], m["since"], m["until"] or "") for m in matches if m)


def describe(grants: tuple[Grant, ...]) -> str:
    """Return the description of a rule with these grants.

    :raises AccessError: it would be too long for AWS.
    """
    text = MARK + "; ".join(str(grant) for grant in grants)
    if len(text) > DESCRIPTION_LENGTH:
        names = ", ".join(grant.operator for grant in grants)
        raise AccessError(f"operator: too many operators share one address ({names}): revoke those who are gone.")
    return text


def wanted_access(
    found: Access, action: str, operator: str, places: t.Iterable[Place], today: str, until: str
) -> Access:
    """Return who shall reach what.

    :param places: from where the operator shall reach what, for the actions grant and refresh.
    """
    if action == "list":
        return found
    places = set(places) if action in ("grant", "refresh") else set()
    wanted = {}
    for place, grants in found.items():
        kept = [grant for grant in grants if not grant.until or grant.until > today]
        if action in ("revoke", "refresh"):
            kept = [grant for grant in kept if grant.operator != operator or place in places]
        if kept:
            wanted[place] = tuple(kept)
    for place in places:
        grants = wanted.get(place, ())
        old = next((grant for grant in grants if grant.operator == operator), None)
        others = tuple(grant for grant in grants if grant.operator != operator)
        wanted[place] = (*others, Grant(operator, old.since if old else today, until))
    return {
        place: tuple(sorted(grants, key=lambda grant: (grant.since, grant.operator)))
        for place, grants in wanted.items()
    }


def lines(access: Access) -> list[str]:
    """Return who reaches what from where, a line for each grant."""
    ports: dict[tuple[Grant, str], list[int]] = {}
    for (cidr, port), grants in access.items():
        for grant in grants:
            ports.setdefault((grant, cidr), []).append(port)
    return sorted(
        f"{grant.operator}: {cidr} to {', '.join(map(str, sorted(reached)))} since {grant.since}"
        + (f" until {grant.until}" if grant.until else "")
        for (grant, cidr), reached in ports.items()
    )


def permissions(access: Access) -> list[dict[str, t.Any]]:
    """Return rules as EC2's API takes them."""
    found = []
    for (cidr, port), grants in sorted(access.items()):
        family, key = ("Ipv6Ranges", "CidrIpv6") if ":" in cidr else ("IpRanges", "CidrIp")
        entry = {key: cidr, "Description": describe(grants)}
        found.append({"IpProtocol": "tcp", "FromPort": port, "ToPort": port, family: [entry]})
    return found


class Group:
    """A security group, as EC2's API shows it."""

    def __init__(self, client: t.Any, name: str) -> None:
        self.client = client
        groups = client.describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])["SecurityGroups"]
        if len(groups) != 1:
            raise AccessError(
                f'group_name: {len(groups)} security groups are called "{name}" in this region; there must be one: '
                "provision the server first, and check the name and AWS_REGION."
            )
        self.id = groups[0]["GroupId"]
        self.access: Access = {}
        self.rules: dict[Place, str] = {}
        self.foreign: set[Place] = set()
        pages = client.get_paginator("describe_security_group_rules").paginate(
            Filters=[{"Name": "group-id", "Values": [self.id]}]
        )
        for page in pages:
            for rule in page["SecurityGroupRules"]:
                cidr = rule.get("CidrIpv4") or rule.get("CidrIpv6")
                if rule["IsEgress"] or not cidr or rule["IpProtocol"] != "tcp" or rule["FromPort"] != rule["ToPort"]:
                    continue
                place, grants = (cidr, rule["FromPort"]), parse(rule.get("Description", ""))
                if grants is None:
                    self.foreign.add(place)
                else:
                    self.access[place], self.rules[place] = grants, rule["SecurityGroupRuleId"]

    def open(self, places: Access) -> None:
        """Add rules."""
        self.client.authorize_security_group_ingress(GroupId=self.id, IpPermissions=permissions(places))

    def describe(self, places: Access) -> None:
        """Change the descriptions of rules."""
        self.client.update_security_group_rule_descriptions_ingress(GroupId=self.id, IpPermissions=permissions(places))

    def close(self, places: t.Iterable[Place]) -> None:
        """Remove rules."""
        self.client.revoke_security_group_ingress(
            GroupId=self.id, SecurityGroupRuleIds=[self.rules[place] for place in sorted(places)]
        )


def run(module: AnsibleAWSModule) -> dict[str, t.Any]:
    """Bring the group to the wanted state; return the module's result."""
    params = module.params
    if not re.fullmatch(r"[A-Za-z0-9._@+-]{1,64}", params["operator"]):
        raise AccessError(
            f'operator: "{params["operator"]}" cannot be used; give 1 to 64 letters, digits or any of "._@+-".'
        )
    if params["action"] in ("grant", "refresh") and not params["addresses"]:
        raise AccessError("addresses: the list is empty; give the address you come from.")
    networks = [network(value, params["allow_anywhere"]) for value in params["addresses"]]
    group = Group(module.client("ec2"), params["group_name"])
    today = datetime.date.today()
    until = str(today + datetime.timedelta(days=params["expires_days"])) if params["expires_days"] else ""
    # Where a rule of somebody else's making already opens the port, there is nothing to add.
    places = {(cidr, port) for cidr in networks for port in params["ports"]} - group.foreign
    wanted = wanted_access(group.access, params["action"], params["operator"], places, str(today), until)
    added = {place: grants for place, grants in wanted.items() if place not in group.access}
    removed = sorted(place for place in group.access if place not in wanted)
    described = {p: grants for p, grants in wanted.items() if p in group.access and grants != group.access[p]}
    actions = [f"open {port} for {cidr}" for cidr, port in sorted(added)]
    actions += [f"change who uses {port} for {cidr}" for cidr, port in sorted(described)]
    actions += [f"close {port} for {cidr}" for cidr, port in removed]
    if not module.check_mode:
        if added:
            group.open(added)
        if described:
            group.describe(described)
        if removed:
            group.close(removed)
    result: dict[str, t.Any] = {"changed": bool(actions), "actions": actions, "access": lines(wanted)}
    if module._diff:
        before, after = ("".join(f"{line}\n" for line in lines(access)) for access in (group.access, wanted))
        result["diff"] = {"before_header": params["group_name"], "after_header": params["group_name"]}
        result["diff"].update(before=before, after=after)
    return result


def main() -> None:
    """Entry point of the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "group_name": {"type": "str", "required": True},
            "action": {"type": "str", "choices": ["list", "grant", "revoke", "refresh"], "default": "refresh"},
            "operator": {"type": "str", "required": True},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "ports": {"type": "list", "elements": "int", "default": [22]},
            "expires_days": {"type": "int", "default": 0},
            "allow_anywhere": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except AccessError as error:
        module.fail_json(msg=str(error))
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=sentence(str(error)))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
