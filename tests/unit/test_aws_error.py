"""Every error of AWS that a user can cause is one sentence with its remedy."""

from __future__ import annotations

import pytest
from ansible_collections.miniweb.stack.plugins.filter.aws_error import aws_error
from botocore import exceptions

SSO = "The AWS SSO login has expired, or there has been none: run `aws sso login` for the profile in AWS_PROFILE."
SSO_ERRORS = [
    str(exceptions.UnauthorizedSSOTokenError()),
    str(exceptions.SSOTokenLoadError(error_msg="Token for acme does not exist")),
    str(exceptions.TokenRetrievalError(provider="sso", error_msg="Token has expired and refresh failed")),
    str(exceptions.CredentialRetrievalError(provider="sso", error_msg="Token has expired")),
]
LOGIN = "The AWS login has expired: run `aws login` for the profile in AWS_PROFILE."
NO_NETWORK = "ec2_subnet_id: this region has no default VPC with a default subnet; give the ID of a subnet."
CALL = "Failed: An error occurred ({}) when calling the {} operation: {}"


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            CALL.format(
                "UnauthorizedOperation", "RunInstances", "You are not authorized. Encoded authorization failure"
            ),
            "AWS does not permit RunInstances with these credentials: add it to their policy, see docs/aws.md.",
        ),
        (
            CALL.format("RequestExpired", "DescribeInstances", "Request has expired."),
            "AWS does not accept the credentials (RequestExpired): Request has expired; renew them, for example with "
            "`aws sso login`.",
        ),
        (
            CALL.format("VcpuLimitExceeded", "RunInstances", "You have requested more vCPU capacity."),
            "A quota of the AWS account is exhausted (VcpuLimitExceeded of RunInstances: You have requested more vCPU "
            "capacity): raise it under Service Quotas.",
        ),
        (
            CALL.format("InsufficientInstanceCapacity", "RunInstances", "None left."),
            "AWS has no capacity for this instance type right now (None left): try again later, or use another type.",
        ),
        (
            CALL.format("AddressLimitExceeded", "AllocateAddress", "Too many addresses."),
            "A quota of the AWS account is exhausted (AddressLimitExceeded of AllocateAddress: Too many addresses): "
            "raise it under Service Quotas.",
        ),
        (
            CALL.format("InvalidSubnetID.NotFound", "DescribeSubnets", "The subnet ID 'subnet-1' does not exist"),
            "AWS refuses DescribeSubnets (InvalidSubnetID.NotFound): The subnet ID 'subnet-1' does not exist.",
        ),
        (
            "Could not apply change {'InstanceType': 1} to existing instance.: Failed to modify instance attribute",
            "AWS refuses ModifyInstanceAttribute, and the module does not say why: most often it is missing from "
            "the policy of these credentials, see docs/aws.md.",
        ),
        (
            "Couldn't connect to AWS: Unable to locate credentials",
            "AWS credentials are missing: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run on an "
            "instance with a role.",
        ),
        (
            "Couldn't connect to AWS: The config profile (home) could not be found",
            'AWS_PROFILE: the profile "home" is not in your AWS configuration; set AWS_PROFILE to one that is.',
        ),
        (
            "The ec2_key module requires a region and none was found in configuration",
            "The AWS region is missing: set AWS_REGION, or the region of your profile.",
        ),
        (
            'Could not connect to the endpoint URL: "https://ec2.mars-1.amazonaws.com/"',
            "No answer from https://ec2.mars-1.amazonaws.com/: the region in it does not exist, or this machine cannot "
            "reach AWS; check AWS_REGION and the network.",
        ),
        (
            "Failed to import the required Python library (botocore and boto3) on me's Python /usr/bin/python3.13. Please read",
            "boto3 is not installed for /usr/bin/python3.13, which runs the modules for AWS: run /usr/bin/python3.13 -m pip "
            "install boto3.",
        ),
        ("Something else. ", "Something else."),
        *((message, SSO) for message in SSO_ERRORS),
        ("Error loading login session token: expired", LOGIN),
        ("Your session has expired or credentials have changed. Please reauthenticate using 'aws login'.", LOGIN),
        (CALL.format("UnauthorizedException", "GetRoleCredentials", "Session token not found or invalid"), SSO),
        *(
            (CALL.format(code, "CreateSecurityGroup", "No default VPC for this user"), NO_NETWORK)
            for code in ("VPCIdNotSpecified", "DefaultVpcDoesNotExist", "MissingInput")
        ),
        (
            CALL.format(
                "Unsupported",
                "RunInstances",
                "Your requested instance type (t3.small) is not supported in your requested Availability Zone (us-east-1e).",
            ),
            "ec2_instance_type: the availability zone of the subnet does not have it; choose another type or ec2_subnet_id "
            "(Your requested instance type (t3.small) is not supported in your requested Availability Zone (us-east-1e)).",
        ),
    ],
)
def test_aws_error(message: str, sentence: str) -> None:
    assert aws_error({"msg": message}) == sentence
    assert aws_error(message) == sentence
