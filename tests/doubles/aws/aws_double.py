"""A double of AWS for tests: moto on loopback, which also writes down every call and refuses those it is told to.

Usage: aws_double.py ADDRESS PORT DIRECTORY. In DIRECTORY, `calls` gets a line for every call, such as
ec2:DescribeInstances, and `refusals.json` names calls and the error they get instead: {"RunInstances": "AccessDenied"}.
Calls with the access key "observer", which is the tests' own, are neither written down nor refused.
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

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

ERROR = "<Response><Errors><Error><Code>{}</Code><Message>refused by the test</Message></Error></Errors></Response>"


class Double:
    """The WSGI application."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        call = parse_qs(body.decode(errors="replace")).get("Action", [""])[0]
        if not call:
            call = environ.get("HTTP_X_AMZ_TARGET", environ["PATH_INFO"]).rpartition(".")[2]
        # AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, …
        key, *fields = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split("/")
        if key == "observer":
            return self.moto(environ, start_response)
        service = fields[2] if len(fields) > 2 else "unsigned"
        with (self.directory / "calls").open("a") as calls:
            calls.write(f"{service}:{call}\n")
        refusals = self.directory / "refusals.json"
        code = json.loads(refusals.read_text()).get(call) if refusals.exists() else None
        if code:
            start_response("403 Forbidden", [("Content-Type", "text/xml")])
            return [ERROR.format(code).encode()]
        return self.moto(environ, start_response)


if __name__ == "__main__":
    address, port, directory = sys.argv[1:]
    run_simple(address, int(port), Double(Path(directory)), threaded=True)
