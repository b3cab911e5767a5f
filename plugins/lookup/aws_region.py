# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: the AWS region that modules use."""

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_region
short_description: The AWS region that modules use
version_added: 1.0.0
author: miniweb.stack maintainers (@miniweb)
description:
  - Returns the region in which the modules of C(amazon.aws) and this collection work without an option, that of C(AWS_REGION),
    C(AWS_DEFAULT_REGION) or the profile. It fails if there is none.
  - For the inventory P(amazon.aws.aws_ec2#inventory), which otherwise asks all regions, and takes the server of one region
    for that of the same name in another.
requirements:
  - boto3, unless C(AWS_REGION) is set
options:
  _terms:
    description: None.
    type: list
    elements: str
"""

EXAMPLES = r"""
# production.aws_ec2.yml
plugin: amazon.aws.aws_ec2
regions: ["{{ lookup('miniweb.stack.aws_region') }}"]
"""

RETURN = r"""
_raw:
  description: The region, as the only element.
  type: list
  elements: str
"""

import os
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.module_utils.aws_errors import sentence

try:
    from boto3.session import Session
    from botocore.exceptions import BotoCoreError
except ImportError:
    Session, BotoCoreError = None, None


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """Return the region."""
        region = os.environ.get("AWS_REGION")
        if not region and Session:
            try:
                # Unlike the modules, botocore knows neither AWS_REGION nor a profile with an empty name.
                region = Session(profile_name=os.environ.get("AWS_PROFILE") or None).region_name
            except BotoCoreError as error:
                raise AnsibleLookupError(sentence(str(error))) from error
        if not region:
            raise AnsibleLookupError(sentence("requires a region"))
        return [region]
