# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Asks the sites of this server as a visitor would, through nginx."""

from __future__ import annotations

import http.client
import socket
import ssl
import typing as t
import urllib.parse

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import Engine

HERE = "127.0.0.1"
ANSWER_SECONDS = 5
SHOWN_CHARACTERS = 200
MOST_REDIRECTS = 10
# Prints the number of each site that does not answer with success, and what the program says about it.
ASK_INSIDE = """
number=0
while [ $# -gt 0 ]; do
    said=$(wget -q -T "$0" --no-check-certificate --header "Host: $1" -O /dev/null "$2" 2>&1) || echo "$number $said"
    number=$((number + 1))
    shift 2
done
"""

Site = dict[str, t.Any]


def address(site: Site, host: str = "") -> str:
    """Return a site's URL, by its own name or by another one."""
    name = host or site["server_names"][0]
    return f"https://{f'[{name}]' if ':' in name else name}:{site['port']}{site['health_path'] or '/'}"


def failures(module: AnsibleModule, service: str, sites: list[Site], containers: list[str] | None = None) -> list[str]:
    """Ask all sites once; return what those that do not answer as they should give, as parts of a sentence.

    A site with a health path must answer it with success, any other must answer without an error of the server.

    :param service: the Compose service that serves the sites. Those for administrators are asked in its container, which
        their access rule lets in.
    """
    inside = [site for site in sites if site["admin_only"] and site["health_path"]]
    found = [(site, failure(site)) for site in sites if site not in inside]
    found += zip(inside, failures_inside(module, service, inside, containers) if inside else [])
    return [f'the site "{site["name"]}", {address(site)}, gives {what}' for site, what in found if what]


def failure(site: Site) -> str:
    """Ask a site at its published port, and follow it where it redirects to itself; return what is wrong, or nothing."""
    url = address(site)
    for _attempt in range(MOST_REDIRECTS + 1):
        try:
            answer, said = ask(site, url)
        except (OSError, http.client.HTTPException) as error:
            return f"no answer ({error})"
        if answer.status >= (400 if site["health_path"] else 500):
            return f"{answer.status} {answer.reason}: {said}".rstrip(": ")
        target = answer.getheader("Location") if 300 <= answer.status < 400 else None
        url = urllib.parse.urljoin(url, target or "")
        if not target or not belongs(site, url):
            return ""
    return f"redirects again and again, at last to {url}: does the application use X-Forwarded-Proto?"


def belongs(site: Site, url: str) -> bool:
    """Return whether a URL is one of this site."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or 443
    except ValueError:
        return False
    names = [name.lower() for name in site["server_names"]]
    return parts.scheme == "https" and port == site["port"] and (parts.hostname or "") in names


def ask(site: Site, url: str) -> tuple[http.client.HTTPResponse, str]:
    """Request a URL of a site on this server; return the answer and the beginning of its text."""
    parts = urllib.parse.urlsplit(url)
    name = parts.hostname or ""
    # Without authorities: the certificate is the probe's subject, and may be the server's own.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(name, site["port"], timeout=ANSWER_SECONDS)
    try:
        with socket.create_connection((HERE, site["port"]), timeout=ANSWER_SECONDS) as plain:
            connection.sock = context.wrap_socket(plain, server_hostname=name)
            connection.request("GET", urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, "")))
            answer = connection.getresponse()
            return answer, " ".join(answer.read(SHOWN_CHARACTERS).decode(errors="replace").split())
    finally:
        connection.close()


def failures_inside(
    module: AnsibleModule, service: str, sites: list[Site], known: list[str] | None = None
) -> list[str]:
    """Ask sites in the container that serves them; return what is wrong with each, empty if nothing is."""
    engine = Engine(module, service, "/", "")
    containers = known or ([one.id for one in engine.containers()] if engine.program else [])
    if not containers:
        return [f'no container of the service "{service}"'] * len(sites)
    words = [word for site in sites for word in (site["server_names"][0], address(site, HERE))]
    command = ["sh", "-c", ASK_INSIDE, str(ANSWER_SECONDS), *words]
    code, output = engine.execute(containers[0], command, ANSWER_SECONDS * (len(sites) + 1))
    if code:
        return [output or f"exit code {code}"] * len(sites)
    lines = [line.partition(" ") for line in output.splitlines()]
    said = {number: text or "an error" for number, dummy, text in lines}
    return [said.get(str(number), "") for number in range(len(sites))]
