# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Common setup and error handling of the collection's AWS modules."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule, _load_params, missing_required_lib
from ansible_collections.miniweb.stack.plugins.module_utils.aws_errors import sentence

try:
    from ansible_collections.amazon.aws.plugins.module_utils.botocore import HAS_BOTO3
    from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
except ImportError:
    AnsibleAWSModule, HAS_BOTO3 = None, False

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError, ClientError = None, None

NO_COLLECTION = (
    "The collection amazon.aws is not installed, and modules for AWS are built on it: run "
    "ansible-galaxy collection install amazon.aws."
)


class InputError(Exception):
    """The input cannot be used; the message says why in one sentence."""


def run(argument_spec: dict[str, t.Any], work: t.Callable[[t.Any], dict[str, t.Any]]) -> None:
    """Run an AWS module and exit.

    :param argument_spec: the module's own options; those for credentials and region are added.
    :param work: takes the module and returns its result; it may raise InputError and botocore's exceptions.
    """
    if AnsibleAWSModule is None:
        # Only amazon.aws knows the options for credentials and region.
        others = {name: {"type": "raw", "no_log": True} for name in _load_params() if not name.startswith("_")}
        AnsibleModule(argument_spec={**others, **argument_spec}, supports_check_mode=True).fail_json(msg=NO_COLLECTION)
    module = AnsibleAWSModule(argument_spec=argument_spec, supports_check_mode=True, check_boto3=HAS_BOTO3)
    if not HAS_BOTO3:
        module.fail_json(msg=sentence(missing_required_lib("botocore and boto3")))
    try:
        result = work(module)
    except InputError as error:
        module.fail_json(msg=str(error))
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=sentence(str(error)))
    module.exit_json(**result)
