#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give operators access through a security group, each from their current addresses."""

from __future__ import annotations

DOCUMENTATION = r"""
module: security_group_access
short_description: Give operators access through a security group, each from their current addresses
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - The description of every rule lists the operators it is for, each with the date of the grant and, where there is one, the
    date of its end. Only the given operator's part of a rule is ever changed. A rule that serves nobody any more is removed.
  - New rules are added before old ones are removed, so that nobody is locked out in between.
  - Expired grants of any operator are removed on every run except with O(action=list).
  - Rules without such a description are left alone.
options:
  group_name:
    description: Name of the security group.
    type: str
    required: true
  action:
    description:
      - V(refresh) gives the operator access from O(addresses) and removes it from the operator's earlier ones.
      - V(grant) gives access from O(addresses) as well as from earlier ones.
      - V(revoke) removes all access of the operator.
      - V(list) changes nothing.
    type: str
    choices: [list, grant, revoke, refresh]
    default: refresh
  operator:
    description: Operator that the rules are for.
    type: str
    required: true
  addresses:
    description: Addresses or networks (CIDR) from which the operator connects, IPv4 or IPv6.
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports to which the operator has access.
    type: list
    elements: int
    default: [22]
  expires_days:
    description: Days after which the grant ends. V(0) means never.
    type: int
    default: 0
  allow_anywhere:
    description: Whether O(addresses) may contain networks as large as C(0.0.0.0/0).
    type: bool
    default: false
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - miniweb.stack.attributes
attributes:
  diff_mode:
    details: Shows who has access to what, and from where.
  idempotent:
    details: With O(expires_days), a run on a later day extends the grant.
"""

EXAMPLES = r"""
- name: Give me access from my current address for a week
  miniweb.stack.security_group_access:
    group_name: miniweb-production-administrators
    operator: alice
    addresses: [203.0.113.7]
    ports: [22, 3000]
    expires_days: 7
"""

RETURN = r"""
actions:
  description: Descriptions of what was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample: ["open 22 for 203.0.113.7/32", "close 22 for 198.51.100.4/32"]
access:
  description: Who has access to which port, and from where, afterwards.
  returned: always
  type: list
  elements: str
  sample: ["alice: 203.0.113.7/32 to 22, 3000 since 2026-11-24"]
"""

import dataclasses
import datetime
import ipaddress
import itertools
import re
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.aws_module import InputError, run

MARK = "miniweb: "
# The maximum that AWS allows.
DESCRIPTION_LENGTH = 255
# Networks with shorter prefixes, by IP version, are rejected as "anywhere".
SHORTEST_PREFIX = {4: 8, 6: 16}
OPERATOR = re.compile(r"[A-Za-z0-9._@+-]{1,64}")
GRANT = re.compile(r"(?P<operator>\S+) (?P<since>\d{4}-\d\d-\d\d)(?: until (?P<until>\d{4}-\d\d-\d\d))?")


@dataclasses.dataclass(frozen=True)
class Grant:
    """One operator's part of a rule; dates as YYYY-MM-DD, `until` empty if it does not expire."""

    operator: str
    since: str
    until: str = ""

    def __str__(self) -> str:
        return f"{self.operator} {self.since}" + (f" until {self.until}" if self.until else "")


Place = tuple[str, int]  # network in CIDR notation, TCP port
Access = dict[Place, tuple[Grant, ...]]


def network(value: str, allow_anywhere: bool) -> str:
    """Return an address or network in CIDR notation.

    :raises InputError: it is neither, or covers practically the whole internet.
    """
    try:
        found = ipaddress.ip_network(value.strip())
    except ValueError as error:
        raise InputError(f'addresses: "{value}" is not an address or network ({error}); give one.') from error
    if found.prefixlen < SHORTEST_PREFIX[found.version] and not allow_anywhere:
        raise InputError(
            f'addresses: "{value}" lets practically everyone reach the administrators\' ports; give the address you '
            "come from."
        )
    return str(found)


def parse(description: str) -> tuple[Grant, ...] | None:
    """Return the grants in a rule's description; None if the rule was not created by this module."""
    if not description.startswith(MARK):
        return None
    matches = [GRANT.fullmatch(part) for part in description[len(MARK) :].split("; ")]
    if not all(matches):
        return None
    return tuple(Grant(m["operator"], m["since"], m["until"] or "") for m in matches if m)


def describe(grants: tuple[Grant, ...]) -> str:
    """Return the description for a rule with these grants.

    :raises InputError: it would be too long for AWS.
    """
    text = MARK + "; ".join(str(grant) for grant in grants)
    if len(text) > DESCRIPTION_LENGTH:
        names = ", ".join(grant.operator for grant in grants)
        raise InputError(f"operator: too many operators share one address ({names}): revoke those who are gone.")
    return text


def wanted_access(
    found: Access, action: str, operator: str, places: t.Iterable[Place], today: str, until: str
) -> Access:
    """Return the desired access.

    :param places: the networks and ports to open for the operator, for the actions grant and refresh.
    """
    if action == "list":
        return found
    given = set(places) if action in ("grant", "refresh") else set()
    wanted: dict[Place, list[Grant]] = {}
    for place in {*found, *given}:
        grants = [grant for grant in found.get(place, ()) if not grant.until or grant.until > today]
        old = next((grant for grant in grants if grant.operator == operator), None)
        wanted[place] = [grant for grant in grants if grant.operator != operator]
        if place in given:
            wanted[place].append(Grant(operator, old.since if old else today, until))
        elif old and action == "grant":
            wanted[place].append(old)
    return {place: tuple(sorted(grants, key=_age)) for place, grants in wanted.items() if grants}


def _age(grant: Grant) -> tuple[str, str]:
    return grant.since, grant.operator


def lines(access: Access) -> list[str]:
    """Return who has access to what from where, one line per grant."""
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
    """Return rules in the form that EC2's API expects."""
    found = []
    for (cidr, port), grants in sorted(access.items()):
        family, key = ("Ipv6Ranges", "CidrIpv6") if ":" in cidr else ("IpRanges", "CidrIp")
        entry = {key: cidr, "Description": describe(grants)}
        found.append({"IpProtocol": "tcp", "FromPort": port, "ToPort": port, family: [entry]})
    return found


@dataclasses.dataclass(frozen=True)
class Change:
    """The changes to make to a group."""

    opened: Access
    described: Access
    closed: list[Place]

    @classmethod
    def between(cls, found: Access, wanted: Access) -> Change:
        """Return the change that leads from one access to the other."""
        return cls(
            opened={place: grants for place, grants in wanted.items() if place not in found},
            described={place: grants for place, grants in wanted.items() if found.get(place, grants) != grants},
            closed=sorted(found.keys() - wanted.keys()),
        )

    def actions(self) -> list[str]:
        """Return descriptions of the changes."""
        return [
            *(f"open {port} for {cidr}" for cidr, port in sorted(self.opened)),
            *(f"change who uses {port} for {cidr}" for cidr, port in sorted(self.described)),
            *(f"close {port} for {cidr}" for cidr, port in self.closed),
        ]


class Group:
    """A security group, as EC2's API returns it."""

    def __init__(self, client: t.Any, name: str) -> None:
        self.client = client
        groups = client.describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])["SecurityGroups"]
        if len(groups) != 1:
            raise InputError(
                f'group_name: {len(groups)} security groups are called "{name}" in this region; there must be one: '
                "provision the server first, and check the name and AWS_REGION."
            )
        self.id = groups[0]["GroupId"]
        self.access: Access = {}
        self.rules: dict[Place, str] = {}
        self.foreign: set[Place] = set()
        for place, rule in self._rules():
            grants = parse(rule.get("Description", ""))
            if grants is None:
                self.foreign.add(place)
            else:
                self.access[place], self.rules[place] = grants, rule["SecurityGroupRuleId"]

    def _rules(self) -> t.Iterator[tuple[Place, dict[str, t.Any]]]:
        """Yield the rules that open one TCP port for one network, with network and port."""
        pages = self.client.get_paginator("describe_security_group_rules").paginate(
            Filters=[{"Name": "group-id", "Values": [self.id]}]
        )
        for page in pages:
            for rule in page["SecurityGroupRules"]:
                cidr = rule.get("CidrIpv4") or rule.get("CidrIpv6")
                one_port = rule["IpProtocol"] == "tcp" and rule["FromPort"] == rule["ToPort"]
                if cidr and one_port and not rule["IsEgress"]:
                    yield (cidr, rule["FromPort"]), rule

    def apply(self, change: Change) -> None:
        """Apply the change to the group's rules, opening before closing, so that nobody is locked out in between."""
        if change.opened:
            self.client.authorize_security_group_ingress(GroupId=self.id, IpPermissions=permissions(change.opened))
        if change.described:
            self.client.update_security_group_rule_descriptions_ingress(
                GroupId=self.id, IpPermissions=permissions(change.described)
            )
        if change.closed:
            identifiers = [self.rules[place] for place in change.closed]
            self.client.revoke_security_group_ingress(GroupId=self.id, SecurityGroupRuleIds=identifiers)


def networks(params: dict[str, t.Any]) -> list[str]:
    """Return the operator's networks in CIDR notation.

    :raises InputError: the module's parameters contain no valid addresses or operator.
    """
    if not OPERATOR.fullmatch(params["operator"]):
        raise InputError(
            f'operator: "{params["operator"]}" cannot be used; give 1 to 64 letters, digits or any of "._@+-".'
        )
    if params["action"] in ("grant", "refresh") and not params["addresses"]:
        raise InputError("addresses: the list is empty; give the address you come from.")
    return [network(value, params["allow_anywhere"]) for value in params["addresses"]]


def change_access(module: t.Any) -> dict[str, t.Any]:
    """Bring the group to the desired state; return the module's result."""
    params = module.params
    cidrs = networks(params)
    group = Group(module.client("ec2"), params["group_name"])
    today = datetime.date.today()
    until = str(today + datetime.timedelta(days=params["expires_days"])) if params["expires_days"] else ""
    # If a rule that this module did not create already opens the port, there is nothing to add.
    places = set(itertools.product(cidrs, params["ports"])) - group.foreign
    wanted = wanted_access(group.access, params["action"], params["operator"], places, str(today), until)
    change = Change.between(group.access, wanted)
    if not module.check_mode:
        group.apply(change)
    actions = change.actions()
    return {
        "changed": bool(actions),
        "actions": actions,
        "access": lines(wanted),
        "diff": {
            "before_header": params["group_name"],
            "after_header": params["group_name"],
            "before": "".join(f"{line}\n" for line in lines(group.access)),
            "after": "".join(f"{line}\n" for line in lines(wanted)),
        },
    }


def main() -> None:
    """Entry point of the module."""
    argument_spec = {
        "group_name": {"type": "str", "required": True},
        "action": {"type": "str", "choices": ["list", "grant", "revoke", "refresh"], "default": "refresh"},
        "operator": {"type": "str", "required": True},
        "addresses": {"type": "list", "elements": "str", "default": []},
        "ports": {"type": "list", "elements": "int", "default": [22]},
        "expires_days": {"type": "int", "default": 0},
        "allow_anywhere": {"type": "bool", "default": False},
    }
    run(argument_spec, change_access)


if __name__ == "__main__":
    main()
