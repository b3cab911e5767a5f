# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Asks a service what it has loaded, for programs that roles install on a server together with this file."""

from __future__ import annotations

import subprocess
import typing as t
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 10


class Unproven(Exception):
    """Something is not as the files say; the message is one sentence."""


def docker(*words: str) -> str:
    """Return the output of ``docker`` with these arguments.

    :raises Unproven: it is missing, or fails.
    """
    try:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise Unproven("docker is not there: install it on the server.") from None
    except subprocess.CalledProcessError as error:
        raise Unproven(f"`docker {words[0]}` fails: {error.stderr.strip()}.") from None
    return done.stdout


def address_of(project: str) -> str:
    """Return the address of a Compose project's container, from one of its networks.

    :raises Unproven: none runs, or it has none.
    """
    label = f"label=com.docker.compose.project={project}"
    containers = docker("ps", "--quiet", "--filter", label).split()
    if not containers:
        raise Unproven(f"No container of the project {project} runs: look at `docker ps --all --filter {label}`.")
    form = "{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}"
    addresses = docker("inspect", "--format", form, containers[0]).split()
    if not addresses:
        variable = f"{project.rpartition('-')[2]}_networks"
        raise Unproven(f"The container {containers[0]} has no address: attach it to a network ({variable}).")
    return addresses[0]


class Interface:
    """The HTTP interface of a service; *name* is for messages."""

    def __init__(self, name: str, url: str, headers: t.Mapping[str, str] | None = None) -> None:
        self.name, self.url, self.headers = name, url, dict(headers or {})
        # Whatever proxy the server uses for other addresses
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, path: str, method: str = "GET") -> str:
        """Return the answer's text.

        :raises urllib.error.HTTPError: the answer is an error.
        :raises Unproven: there is none.
        """
        request = urllib.request.Request(f"{self.url}{path}", headers=self.headers, method=method)
        try:
            with self.opener.open(request, timeout=TIMEOUT_SECONDS) as reply:
                return str(reply.read().decode())
        except urllib.error.HTTPError:
            raise
        except (OSError, ValueError) as error:
            raise Unproven(f"{self.name} does not answer {method} {path}: {error}.") from None

    def text(self, path: str) -> str:
        """Return the answer's text, of which an error is none.

        :raises Unproven: there is none.
        """
        try:
            return self.ask(path)
        except urllib.error.HTTPError as error:
            raise Unproven(f"{self.name} does not answer GET {path}: {error}.") from None
