"""Verify that Grafana has loaded the dashboards in its directories: each one is there, and none whose file was removed.

It runs on the server, in the service's directory, lets Grafana read the files again and asks as its administrator. It
ends with 0 when all is proven, and otherwise says in one sentence what is not. When the password is no longer the one
that Grafana's data was made with, it can only look at the files; it then warns of it and ends with 0.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import urllib.error
import urllib.parse
from pathlib import Path, PurePosixPath
from typing import Any

from docker_engine import Engine, EngineError
from service_proof import TIMEOUT_SECONDS, Interface, Unproven

RELOAD = "/api/admin/provisioning/dashboards/reload"
SEARCH = "/api/search?type=dash-db&limit=5000"


class NotLetIn(Exception):
    """Grafana does not accept the administrator's password."""


def dashboards_in(directories: list[Path]) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Return the dashboards of all directories by their uids, each with its file.

    Grafana takes nothing more from a directory with a uid or a title that stands somewhere else, too.
    """
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    titles: dict[str, Path] = {}
    for file in sorted(file for directory in directories for file in directory.rglob("*.json")):
        try:
            dashboard = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Unproven(f"{file.name} is no dashboard: {error}.") from None
        missing = [key for key in ("title", "uid") if not (isinstance(dashboard, dict) and dashboard.get(key))]
        if missing:
            raise Unproven(f"{file.name} is no dashboard: it has no {' and no '.join(missing)}.")
        title, uid = dashboard["title"], dashboard["uid"]
        if uid in found:
            raise Unproven(f"{file.name} has the uid {uid}, as {found[uid][0].name} has: give it one of its own.")
        if title in titles:
            raise Unproven(f'{file.name} has the title "{title}", as {titles[title].name} has: give it one of its own.')
        found[uid] = (file, dashboard)
        titles[title] = file
    return found


class Grafana(Interface):
    """Grafana's HTTP API, for its administrator."""

    def __init__(self, address: str, port: int, user: str, password: str) -> None:
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        super().__init__("Grafana", f"http://{address}:{port}", {"Authorization": f"Basic {login}"})

    def call(self, path: str, method: str = "GET") -> Any | None:
        """Return the answer; None for what is not there.

        :raises NotLetIn: the password is not accepted, or is that of no administrator.
        :raises Unproven: Grafana does not answer, or with another error.
        """
        try:
            return json.loads(self.ask(path, method))
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise NotLetIn from None
            if error.code == 404:
                return None
            raise Unproven(f"Grafana answers {method} {path} with {error.code}: look at its log.") from None
        except ValueError as error:
            raise Unproven(f"Grafana does not answer {method} {path}: {error}.") from None

    def dashboard(self, uid: str) -> dict[str, Any] | None:
        return self.call(f"/api/dashboards/uid/{urllib.parse.quote(uid)}")


def prove(grafana: Grafana, wanted: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    """Let Grafana read its dashboards again, and compare what it then has with the files.

    :raises Unproven: they differ.
    """
    if grafana.call(RELOAD, "POST") is None:
        raise Unproven(f"Grafana does not know {RELOAD}: use one of the versions that the role supports.")
    for uid, (file, dashboard) in wanted.items():
        found = grafana.dashboard(uid)
        if found is None:
            raise Unproven(f"Grafana has not taken {file.name}: its log says why.")
        meta, title = found["meta"], found["dashboard"].get("title")
        source = PurePosixPath(meta.get("provisionedExternalId") or file.name).name
        if not meta.get("provisioned") or source != file.name:
            owner = source if meta.get("provisioned") else "a dashboard that was made in Grafana"
            raise Unproven(f"Grafana has not taken {file.name}: its uid {uid} belongs to {owner}.")
        if title != dashboard["title"]:
            raise Unproven(f'Grafana has not taken {file.name}: it shows "{title}" in place of "{dashboard["title"]}".')
    for one in grafana.call(SEARCH) or []:
        left = None if one["uid"] in wanted else grafana.dashboard(one["uid"])
        if left and left["meta"].get("provisioned"):
            raise Unproven(f'Grafana still shows "{one["title"]}", whose file is gone: its log says why.')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", nargs="+", type=Path, help="where the dashboards are, on the server")
    parser.add_argument("--user", required=True, help="name of the administrator")
    parser.add_argument("--password-file", type=Path, default="secrets/admin_password", help="file with the password")
    parser.add_argument("--project", default="miniweb-grafana", help="Compose project of Grafana")
    parser.add_argument("--port", type=int, default=3000, help="port on which Grafana listens")
    parser.add_argument("--socket", default="/run/docker.sock", help="socket of the Docker engine")
    given = parser.parse_args()
    try:
        wanted = dashboards_in(given.directories)
        password = given.password_file.read_text(encoding="utf-8").rstrip("\n")
        prove(
            Grafana(Engine(given.socket, TIMEOUT_SECONDS).address_of(given.project), given.port, given.user, password),
            wanted,
        )
    except NotLetIn:
        print(
            f'WARNING: Grafana does not accept the password of "{given.user}" that its data was made with, so nobody can see'
            f" whether it has taken the {len(wanted)} dashboards: it reads them by itself every 10 seconds."
        )
    except (Unproven, EngineError) as error:
        sys.exit(str(error))
    else:
        print(f"Grafana has taken all {len(wanted)} dashboards.")


if __name__ == "__main__":
    main()
