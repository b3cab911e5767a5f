# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Client for the HTTP API of the Docker engine, for programs that roles install on a server together with this file."""

from __future__ import annotations

import http.client
import json
import socket
import typing as t
import urllib.parse


class EngineError(Exception):
    """The engine cannot be reached or refuses; the message says why and what to do, in one sentence."""


class Gone(EngineError):
    """What was asked for does not exist."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    """The engine behind a Unix socket, using its default API version.

    Every method raises EngineError, or Gone for what does not exist; ``timeout`` is in seconds.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.connection = UnixConnection(path, timeout)
        self.prefix = ""
        version = self._request("GET", "/_ping")[0].headers["Api-Version"]
        self.prefix = f"/v{version}"

    def _request(self, method: str, address: str) -> tuple[http.client.HTTPResponse, str]:
        try:
            self.connection.request(method, self.prefix + address)
            response = self.connection.getresponse()
            return response, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(
                f"The Docker engine does not answer at {self.path} ({str(error) or type(error).__name__}): "
                "look at systemctl status docker."
            ) from error

    def lines(self, method: str, path: str, **query: str) -> list[t.Any]:
        """Return the JSON values of a response, one per line."""
        response, body = self._request(method, f"{path}?{urllib.parse.urlencode(query)}" if query else path)
        if response.status in (200, 204):
            return [json.loads(line) for line in body.splitlines() if line.strip()]
        error = Gone if response.status == 404 else EngineError
        raise error(f"The Docker engine answers {path} with {response.status} ({body.strip()}): look at its log.")

    def call(self, method: str, path: str, **query: str) -> t.Any:
        """Return the JSON value of a response; None if it has none."""
        return next(iter(self.lines(method, path, **query)), None)

    def address_of(self, project: str) -> str:
        """Return the address of a Compose project's running container, from one of its networks."""
        label = f"com.docker.compose.project={project}"
        found = self.call("GET", "/containers/json", filters=json.dumps({"label": [label]}))
        if not found:
            raise Gone(f"No container of the project {project} runs: look at docker ps --all --filter label={label}.")
        networks = found[0]["NetworkSettings"]["Networks"].values()
        addresses = [one["IPAddress"] for one in networks if one["IPAddress"]]
        if not addresses:
            raise Gone(f"The container of the project {project} has no address: attach it to a network.")
        return str(addresses[0])

    def close(self) -> None:
        self.connection.close()
