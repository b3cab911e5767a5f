"""Verify that Alertmanager has loaded its configuration: each receiver of it, and no other.

It runs on the server. It ends with 0 and prints when Alertmanager loaded its configuration, or says in one sentence what is
missing.
"""

from __future__ import annotations

import argparse
import json
import re
import sys

from docker_engine import Engine, EngineError
from service_proof import TIMEOUT_SECONDS, Interface, Unproven

SUCCESSFUL = re.compile(r"^alertmanager_config_last_reload_successful 1$", re.MULTILINE)
LOADED_AT = re.compile(r"^alertmanager_config_last_reload_success_timestamp_seconds .*$", re.MULTILINE)


def prove(alertmanager: Interface, receivers: set[str]) -> str:
    """Compare Alertmanager's receivers with those that it should have; return when it loaded them.

    :raises Unproven: they differ.
    """
    measured = alertmanager.text("/metrics")
    moment = LOADED_AT.search(measured)
    if not SUCCESSFUL.search(measured) or not moment:
        raise Unproven("Alertmanager could not load its configuration: its log says why.")
    found = {receiver["name"] for receiver in json.loads(alertmanager.text("/api/v2/receivers"))}
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
    parser.add_argument("--socket", default="/run/docker.sock", help="socket of the Docker engine")
    given = parser.parse_args()
    try:
        alertmanager = Interface(
            "Alertmanager", f"http://{Engine(given.socket, TIMEOUT_SECONDS).address_of(given.project)}:{given.port}"
        )
        print(prove(alertmanager, set(json.loads(given.receivers))))
    except (Unproven, EngineError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
