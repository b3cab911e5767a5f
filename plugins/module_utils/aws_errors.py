# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Explains AWS errors to the person who runs the playbook; shared by the filter and the modules."""

from __future__ import annotations

import re

CALLED = re.compile(
    r"An error occurred \((?P<code>[\w.]+)\) when calling the (?P<call>\w+) operation[^:]*: ?(?P<text>.*)", re.S
)

CREDENTIALS = (
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)
PERMISSION = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
NO_DEFAULT_NETWORK = ("DefaultVpcDoesNotExist", "MissingInput", "VPCIdNotSpecified")
QUOTA = re.compile(r"LimitExceeded|QuotaExceeded|TooMany|MaxIOPSLimit")

SSO = "The AWS SSO login has expired, or there has been none: run `aws sso login` for the profile in AWS_PROFILE."

# Errors that occur before or instead of an answer from AWS, and their explanations.
MEANINGS = (
    (
        re.compile(r"Failed to import the required Python library \(.*?\) on .*'s Python (\S+)\. "),
        "boto3 is not installed for {0}, which runs the modules for AWS: run {0} -m pip install boto3.",
    ),
    (
        re.compile(r"Failed to modify instance attribute$"),
        "AWS refuses ModifyInstanceAttribute, and the module does not say why: most often it is missing from the "
        "policy of these credentials, see docs/aws.md.",
    ),
    (re.compile(r"SSO session|SSO Token|retrieving (?:token|credentials) from sso"), SSO),
    (
        re.compile(r"'aws login'|login session token"),
        "The AWS login has expired: run `aws login` for the profile in AWS_PROFILE.",
    ),
    (
        re.compile(r"Unable to locate credentials|NoCredentialsError"),
        "AWS credentials are missing: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run on an "
        "instance with a role.",
    ),
    (
        re.compile(r"The config profile \((.*?)\) could not be found"),
        'AWS_PROFILE: the profile "{0}" is not in your AWS configuration; set AWS_PROFILE to one that is.',
    ),
    (
        re.compile(r"must specify .*region|requires a region", re.I | re.S),
        "The AWS region is missing: set AWS_REGION, or the region of your profile.",
    ),
    (
        re.compile(r'Could not connect to the endpoint URL: "(.*?)"'),
        "No answer from {0}: the region in it does not exist, or this machine cannot reach AWS; check AWS_REGION and "
        "the network.",
    ),
)


def sentence(message: str) -> str:
    """Return one sentence that names the cause of an AWS error and what to do.

    :param message: the text of botocore's exception, or a module's message that ends with it.
    """
    found = CALLED.search(message)
    if found:
        return _refusal(found["code"], found["call"], found["text"].strip().rstrip("."))
    for pattern, meaning in MEANINGS:
        found = pattern.search(message)
        if found:
            return meaning.format(*found.groups())
    return message.strip()


def _refusal(code: str, call: str, text: str) -> str:
    """Explain that AWS rejected a call with this error code and text."""
    if code in CREDENTIALS:
        return f"AWS does not accept the credentials ({code}): {text}; renew them, for example with `aws sso login`."
    if code in PERMISSION:
        return f"AWS does not permit {call} with these credentials: add it to their policy, see docs/aws.md."
    if call == "GetRoleCredentials":
        return SSO
    if code in NO_DEFAULT_NETWORK:
        return "ec2_subnet_id: this region has no default VPC with a default subnet; give the ID of a subnet."
    if code == "Unsupported" and "vailability Zone" in text:
        return f"ec2_instance_type: the availability zone of the subnet does not have it; choose another type or ec2_subnet_id ({text})."
    if code == "InsufficientInstanceCapacity":
        return f"AWS has no capacity for this instance type right now ({text}): try again later, or use another type."
    if QUOTA.search(code):
        return f"A quota of the AWS account is exhausted ({code} of {call}: {text}): raise it under Service Quotas."
    return f"AWS refuses {call} ({code}): {text}."
