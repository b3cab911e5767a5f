# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module acme_certificate: tries each name as the authority will, before the authority is asked."""

from __future__ import annotations

import http.client
import socket
import typing as t
import urllib.error

from ansible.module_utils.urls import open_url
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import SettledAction

PATH = "/.well-known/acme-challenge/"
SECONDS = 10
SHOWN_CHARACTERS = 80


def resolved(name: str) -> str:
    """Return what a name resolves to here, for use in a sentence."""
    try:
        found = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return "does not resolve"
    return f"resolves to {', '.join(dict.fromkeys(str(one[4][0]) for one in found))}"


def shown(text: str) -> str:
    """Return the beginning of a text on one line."""
    return " ".join(text.split())[:SHOWN_CHARACTERS]


def fault(name: str, token: str) -> str:
    """Return why a name does not return the file with this name and content; empty if it does."""
    url = f"http://{name}{PATH}{token}"
    try:
        # Authorities follow redirects and accept any certificate there, too.
        with open_url(url, timeout=SECONDS, validate_certs=False, follow_redirects="all") as answer:
            body = answer.read(1000).decode(errors="replace")
    except urllib.error.HTTPError as error:
        server = error.headers.get("Server") if error.headers else ""
        said = f"the answer is {error.code} {error.reason}{f' from {server}' if server else ''}"
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        said = f"there is no answer ({shown(str(getattr(error, 'reason', error)))})"
    else:
        if body.strip() == token:
            return ""
        said = f'the answer is something else ("{shown(body)}")'
    return f"{name} {resolved(name)}, and for {url} {said}"


class ActionModule(SettledAction):
    """Action plugin."""

    MODULE = "acme_certificate"

    def execute(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Obtain the certificate if each name leads to this server."""
        looked = super().execute({**arguments, "phase": "look"}, variables)
        if looked.get("failed") or self._task.check_mode:
            return looked
        token = looked.get("token", "")
        faults = [said for said in (fault(str(name), token) for name in arguments["names"]) if said] if token else []
        if not faults:
            return super().execute({**arguments, "phase": "obtain", "token": token}, variables)
        super().execute({**arguments, "phase": "withdraw", "token": token}, variables)
        return {
            **looked,
            "failed": True,
            "changed": False,
            "msg": f"The authority was not asked, because it would find no proof: {'; '.join(faults)}. Let each name resolve to this "
            "server and its port 80 be reachable from everywhere, or use DNS-01 (nginx_acme_dns_provider); the site keeps the "
            "certificate that it has.",
        }
