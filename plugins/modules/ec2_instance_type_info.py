#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Get the properties of an EC2 instance type."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_instance_type_info
short_description: Get the properties of an EC2 instance type
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Gets the architecture, processors, memory and availability zones of an instance type from EC2, and fails if the region
    has no such type.
options:
  instance_type:
    description: Name of the instance type.
    type: str
    required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - miniweb.stack.attributes.read_only
"""

EXAMPLES = r"""
- name: Get the instance type
  miniweb.stack.ec2_instance_type_info:
    instance_type: t3.small
"""

RETURN = r"""
architecture:
  description: Architecture of its processors, V(x86_64) or V(arm64).
  returned: success
  type: str
  sample: x86_64
availability_zones:
  description: Names of the region's availability zones that have this type.
  returned: success
  type: list
  elements: str
  sample: [eu-central-1a, eu-central-1b]
memory_mb:
  description: Memory in MiB.
  returned: success
  type: int
  sample: 2048
processors:
  description: Number of virtual processors.
  returned: success
  type: int
  sample: 2
"""

import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.aws_module import ClientError, InputError, run

ARCHITECTURES = ("x86_64", "arm64")


def facts(found: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the module's facts from EC2's description of a type."""
    offered = found["ProcessorInfo"]["SupportedArchitectures"]
    return {
        "architecture": next((name for name in ARCHITECTURES if name in offered), offered[0]),
        "memory_mb": found["MemoryInfo"]["SizeInMiB"],
        "processors": found["VCpuInfo"]["DefaultVCpus"],
    }


def zones(client: t.Any, name: str) -> list[str]:
    """Return the availability zones of the region that have a type."""
    pages = client.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [name]}]
    )
    return sorted(offer["Location"] for page in pages for offer in page["InstanceTypeOfferings"])


def looked_up(module: t.Any) -> dict[str, t.Any]:
    """Return the module's result.

    :raises InputError: the region has no such type.
    """
    name = module.params["instance_type"]
    try:
        [found] = module.client("ec2").describe_instance_types(InstanceTypes=[name])["InstanceTypes"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("InvalidInstanceType", "InvalidParameterValue"):
            raise
        raise InputError(
            f'instance_type: "{name}" does not exist in {module.region}; choose one that '
            "`aws ec2 describe-instance-types` lists, such as t3.small."
        ) from error
    return {"changed": False, **facts(found), "availability_zones": zones(module.client("ec2"), name)}


def main() -> None:
    """Entry point of the module."""
    run({"instance_type": {"type": "str", "required": True}}, looked_up)


if __name__ == "__main__":
    main()
