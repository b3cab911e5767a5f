"""Verify that Alertmanager has loaded its configuration: each receiver of it, and no other.

It runs on the server. It ends with 0 and prints when Alertmanager loaded its configuration, or says in one sentence what is
missing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import urllib.request

TIMEOUT_SECONDS = 5
SUCCESSFUL = re.compile(r"^alertmanager_config_last_reload_successful 1$", re.MULTILINE)
LOADED_AT = re.compile(r"^alertmanager_config_last_reload_success_timestamp_seconds .*$", re.MULTILINE)


class Unproven(Exception):
    """Something is not loaded; the message is one sentence."""


def docker(*words: str) -> str:
    try:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise Unproven("docker is not there: install it on the server.") from None
    except subprocess.CalledProcessError as error:
        raise Unproven(f"`docker {words[0]}` fails: {error.stderr.strip()}.") from None
    return done.stdout


def address_of(project: str) -> str:
    """Return the address of the project's container, from one of its networks."""
    label = f"label=com.docker.compose.project={project}"
    containers = docker("ps", "--quiet", "--filter", label).split()
    if not containers:
        raise Unproven(f"No container of the project {project} runs: look at `docker ps --all --filter {label}`.")
    format_ = "{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}"
    addresses = docker("inspect", "--format", format_, containers[0]).split()
    if not addresses:
        raise Unproven(f"The container {containers[0]} has no address: attach it to a network (alertmanager_networks).")
    return addresses[0]


def answer(url: str) -> str:
    # Whatever proxy the server uses for other addresses
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as reply:
            return str(reply.read().decode())
    except (OSError, ValueError) as error:
        raise Unproven(f"Alertmanager does not answer {url}: {error}.") from None


def prove(url: str, receivers: set[str]) -> str:
    """Compare Alertmanager's receivers with those that it should have; return when it loaded them.

    :raises Unproven: they differ.
    """
    measured = answer(f"{url}/metrics")
    moment = LOADED_AT.search(measured)
    if not SUCCESSFUL.search(measured) or not moment:
        raise Unproven("Alertmanager could not load its configuration: its log says why.")
    found = {receiver["name"] for receiver in json.loads(answer(f"{url}/api/v2/receivers"))}
    missing, others = sorted(receivers - found), sorted(found - receivers)
    if missing:
        raise Unproven(f'Alertmanager has not loaded the receiver "{missing[0]}": its log says why.')
    if others:
        raise Unproven(f'Alertmanager still has the receiver "{others[0]}": its log says why.')
    return moment[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("receivers", help="names of its receivers, a list in JSON")
    parser.add_argument("--project", default="miniweb-alertmanager", help="Compose project of Alertmanager")
    parser.add_argument("--port", type=int, default=9093, help="port on which Alertmanager listens")
    given = parser.parse_args()
    try:
        print(prove(f"http://{address_of(given.project)}:{given.port}", set(json.loads(given.receivers))))
    except Unproven as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
