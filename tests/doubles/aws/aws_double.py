"""A double of AWS for tests: moto on loopback, which also records every call and refuses those it is told to.

Usage: aws_double.py ADDRESS PORT DIRECTORY. In DIRECTORY, `calls` gets a line for every call, such as
ec2:DescribeInstances, and `refusals.json` names calls and the error they get instead: {"RunInstances": "AccessDenied"}.
Calls with the access key "observer", which is the tests' own, are neither recorded nor refused. What moto lacks is
here: an instance keeps the version of the launch template it was made from, later versions have user data too, an
instance refresh replaces the instances of earlier ones, and every volume says which snapshot it came from, or none.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

os.environ.setdefault("MOTO_AMIS_PATH", str(Path(__file__).with_name("images.json")))

from moto.autoscaling.models import InstanceState, autoscaling_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.types import Base64EncodedString
from moto.ec2.models.elastic_block_store import Volume
from moto.ec2.models.launch_templates import LaunchTemplateVersion
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

ERROR = "<Response><Errors><Error><Code>{}</Code><Message>refused by the test</Message></Error></Errors></Response>"

# IAM actions of S3 calls, whose requests do not name one: by method, by bucket or object, and by query.
S3_ACTIONS = {
    "HEAD bucket": "ListBucket",
    "GET bucket": "ListBucket",
    "PUT bucket": "CreateBucket",
    "DELETE bucket": "DeleteBucket",
    "GET bucket encryption": "GetEncryptionConfiguration",
    "PUT bucket encryption": "PutEncryptionConfiguration",
    "GET bucket policy": "GetBucketPolicy",
    "GET bucket versioning": "GetBucketVersioning",
    "GET bucket versions": "ListBucketVersions",
    "GET bucket requestPayment": "GetBucketRequestPayment",
    "GET bucket tagging": "GetBucketTagging",
    "PUT bucket tagging": "PutBucketTagging",
    "GET bucket publicAccessBlock": "GetBucketPublicAccessBlock",
    "PUT bucket publicAccessBlock": "PutBucketPublicAccessBlock",
    "GET bucket ownershipControls": "GetBucketOwnershipControls",
    "PUT bucket ownershipControls": "PutBucketOwnershipControls",
    "GET bucket acl": "GetBucketAcl",
    "GET bucket accelerate": "GetAccelerateConfiguration",
    "GET bucket object-lock": "GetBucketObjectLockConfiguration",
    "GET bucket inventory": "GetInventoryConfiguration",
    "POST bucket delete": "DeleteObject",
    "HEAD object": "GetObject",
    "GET object": "GetObject",
    "PUT object": "PutObject",
    "GET object tagging": "GetObjectTagging",
    "PUT object tagging": "PutObjectTagging",
}


def s3_action(method: str, path: str, query: str) -> str:
    """The IAM action of this call of S3; the call itself if the action is not known."""
    kind = "object" if path.strip("/").count("/") else "bucket"
    names = [
        name for name in parse_qs(query, keep_blank_values=True) if name not in ("list-type", "prefix", "encoding-type")
    ]
    return next(
        (S3_ACTIONS[key] for name in [*names, ""] if (key := f"{method} {kind} {name}".strip()) in S3_ACTIONS),
        f"{method} {path}?{query}",
    )


def launched_from(state: InstanceState) -> dict[str, Any] | None:
    """The launch template and version that an instance of a scaling group was launched from."""
    template = state.auto_scaling_group.launch_template
    if template and not hasattr(state.instance, "template_version"):
        state.instance.template_version = template["Version"]
    return template and {**template, "Version": state.instance.template_version}


def without_none(volume: Volume, name: str, value: object) -> None:
    object.__setattr__(volume, name, "" if (name, value) == ("snapshot_id", None) else value)


def user_data(version: LaunchTemplateVersion) -> Base64EncodedString | None:
    found = version.data.get("UserData")
    return Base64EncodedString(found) if isinstance(found, str) else found


def instance_refresh(region: str, name: str) -> str:
    """Replace the instances that were launched from another version of the launch template."""
    backend = autoscaling_backends[DEFAULT_ACCOUNT_ID][region]
    group = backend.autoscaling_groups[name]
    for state in list(group.instance_states):
        if launched_from(state) != group.launch_template:
            backend.terminate_instance(state.instance.id, should_decrement=False)
    return "<InstanceRefreshId>1</InstanceRefreshId>"


REFRESHES = "<InstanceRefreshes><member><InstanceRefreshId>1</InstanceRefreshId><Status>Pending</Status></member></InstanceRefreshes>"
NOT_IN_MOTO: dict[str, Callable[[str, str], str]] = {
    "StartInstanceRefresh": instance_refresh,
    "DescribeInstanceRefreshes": lambda region, name: REFRESHES,
    "DeleteLaunchTemplateVersions": lambda region, name: "",
}


class Double:
    """The WSGI application."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        fields = parse_qs(body.decode(errors="replace"))
        call = fields.get("Action", [""])[0]
        if not call:
            call = environ.get("HTTP_X_AMZ_TARGET", environ["PATH_INFO"]).rpartition(".")[2]
        # AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, …
        key, *scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split("/")
        if key == "observer":
            return self.moto(environ, start_response)
        dummy, region, service, *dummy = scope if len(scope) > 2 else ("", "", "unsigned")
        if service == "s3":
            call = s3_action(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", ""))
        with (self.directory / "calls").open("a") as calls:
            calls.write(f"{service}:{call}\n")
        refusals = self.directory / "refusals.json"
        code = json.loads(refusals.read_text()).get(call) if refusals.exists() else None
        if code:
            start_response("403 Forbidden", [("Content-Type", "text/xml")])
            return [ERROR.format(code).encode()]
        if call in NOT_IN_MOTO:
            result = NOT_IN_MOTO[call](region, fields.get("AutoScalingGroupName", [""])[0])
            start_response("200 OK", [("Content-Type", "text/xml")])
            return [f"<{call}Response><{call}Result>{result}</{call}Result></{call}Response>".encode()]
        return self.moto(environ, start_response)


if __name__ == "__main__":
    Volume.__setattr__ = without_none
    InstanceState.launch_template = property(launched_from)
    LaunchTemplateVersion.user_data = property(user_data)
    address, port, directory = sys.argv[1:]
    run_simple(address, int(port), Double(Path(directory)), threaded=True)
