# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Asks a service what it has loaded, for programs that roles install on a server together with this file."""

from __future__ import annotations

import typing as t
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 10


class Unproven(Exception):
    """Something is not as the files say; the message is one sentence."""


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
