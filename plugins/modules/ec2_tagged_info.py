#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List everything in EC2 that has the given tags."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_tagged_info
short_description: List everything in EC2 that has the given tags
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Lists the instances, Elastic IP addresses, volumes, snapshots, security groups and key pairs of a region that have all of
    these tags, except terminated instances.
  - Replaces calls of six C(amazon.aws) modules, for checks before and after a teardown.
options:
  tags:
    description: Tags and their values.
    type: dict
    required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - miniweb.stack.attributes.read_only
"""

EXAMPLES = r"""
- name: Find everything with these tags
  miniweb.stack.ec2_tagged_info:
    tags:
      Project: miniweb
"""

RETURN = r"""
found:
  description: Descriptions of what was found, in the order in which it can be deleted.
  returned: success
  type: list
  elements: str
  sample: ["instance i-0123456789abcdef0", "address 203.0.113.7"]
instances:
  description: Ids of the instances.
  returned: success
  type: list
  elements: str
  sample: [i-0123456789abcdef0]
addresses:
  description: The Elastic IP addresses.
  returned: success
  type: list
  elements: str
  sample: [203.0.113.7]
volumes:
  description: Ids of the volumes.
  returned: success
  type: list
  elements: str
  sample: [vol-0123456789abcdef0]
snapshots:
  description: Ids of the snapshots.
  returned: success
  type: list
  elements: str
  sample: [snap-0123456789abcdef0]
security_groups:
  description: Ids of the security groups.
  returned: success
  type: list
  elements: str
  sample: [sg-0123456789abcdef0]
key_pairs:
  description: Names of the key pairs.
  returned: success
  type: list
  elements: str
  sample: [miniweb-production-0123456789ab]
"""

import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.aws_module import InputError, run

ALIVE = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]}
# Name of the result, its noun, API call, key of the list, key that identifies an entry, whether the call is paginated.
KINDS = (
    ("addresses", "address", "describe_addresses", "Addresses", "PublicIp", False),
    ("volumes", "volume", "describe_volumes", "Volumes", "VolumeId", True),
    ("snapshots", "snapshot", "describe_snapshots", "Snapshots", "SnapshotId", True),
    ("security_groups", "security group", "describe_security_groups", "SecurityGroups", "GroupId", True),
    ("key_pairs", "key pair", "describe_key_pairs", "KeyPairs", "KeyName", False),
)


def listed(client: t.Any, tags: dict[str, str]) -> dict[str, list[str]]:
    """Return the resources with these tags: identifiers by kind, and a description of each."""
    filters = [{"Name": f"tag:{name}", "Values": [str(value)]} for name, value in tags.items()]
    pages = client.get_paginator("describe_instances").paginate(Filters=[*filters, ALIVE])
    reservations = [reservation for page in pages for reservation in page["Reservations"]]
    instances = sorted(entry["InstanceId"] for reservation in reservations for entry in reservation["Instances"])
    result = {"instances": instances, "found": [f"instance {name}" for name in instances]}
    for kind, word, call, key, identifier, paged in KINDS:
        own = {"OwnerIds": ["self"]} if kind == "snapshots" else {}
        if paged:
            answers = client.get_paginator(call).paginate(Filters=filters, **own)
        else:
            answers = [getattr(client, call)(Filters=filters, **own)]
        result[kind] = sorted(entry[identifier] for answer in answers for entry in answer[key])
        result["found"] += [f"{word} {name}" for name in result[kind]]
    return result


def look(module: t.Any) -> dict[str, t.Any]:
    """Return the module's result.

    :raises InputError: there are no tags.
    """
    if not module.params["tags"]:
        raise InputError("tags: there are none, and so everything in the account would be listed; give at least one.")
    return {"changed": False, **listed(module.client("ec2"), module.params["tags"])}


def main() -> None:
    """Entry point of the module."""
    run({"tags": {"type": "dict", "required": True}}, look)


if __name__ == "__main__":
    main()
