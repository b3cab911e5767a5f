"""A test double of Grafana, for machines that cannot pull its image. It is not Grafana and is never deployed.

It keeps what the role relies on: the environment variables, the provisioning files, the persistent data and the HTTP
API. It is stricter where Grafana only logs (a dashboard left out, a duplicate uid, an unknown key): it refuses to start,
so that a test sees the mistake. Once it runs, it behaves like Grafana.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

VERSION = "13.0.2"
DATASOURCE_KEYS: dict[str, type] = {
    "name": str, "type": str, "access": str, "orgId": int, "uid": str, "url": str, "user": str, "database": str,
    "basicAuth": bool, "basicAuthUser": str, "withCredentials": bool, "isDefault": bool, "jsonData": dict,
    "secureJsonData": dict, "version": int, "editable": bool,
}  # fmt: skip
PROVIDER_KEYS: dict[str, type] = {
    "name": str, "orgId": int, "folder": str, "folderUid": str, "type": str, "disableDeletion": bool,
    "updateIntervalSeconds": int, "allowUiUpdates": bool, "options": dict,
}  # fmt: skip
DATASOURCE_TYPES = {"prometheus", "loki", "alertmanager", "graphite", "influxdb", "mysql", "elasticsearch"}
BUILT_IN_UIDS = {"grafana", "-- Grafana --", "-- Mixed --", "-- Dashboard --"}
PANEL_TYPES = {"timeseries", "stat", "gauge", "bargauge", "table", "text", "row", "heatmap", "piechart", "logs",
               "alertlist", "barchart", "histogram", "state-timeline", "status-history", "dashlist"}  # fmt: skip


class Refused(Exception):
    """What keeps the double from starting."""


def setting(name: str, default: str) -> str:
    """A GF_* variable, or the content of the file that its __FILE variant names."""
    value, file = os.environ.get(name), os.environ.get(f"{name}__FILE")
    if file:
        try:
            return Path(file).read_text().rstrip("\n")
        except OSError as error:
            raise Refused(f"Getting secret {name} from {file}: {error.strerror}") from error
    return value or default


def refuse_settings_given_twice() -> None:
    """As the image's entry point does, whether anything reads them or not."""
    for name in (name.removesuffix("__FILE") for name in os.environ if re.fullmatch(r"GF_.+__FILE", name)):
        if os.environ.get(name) and os.environ[f"{name}__FILE"]:
            raise Refused(f"Both {name} and {name}__FILE are set (but are exclusive)")


def enabled(name: str, default: str) -> bool:
    return setting(name, default).lower() == "true"


def entries(directory: Path, key: str, known: dict[str, type]) -> Iterator[dict[str, Any]]:
    """The entries below `key` of all YAML files in the directory."""
    for file in sorted(path for path in directory.glob("*") if path.suffix in (".yaml", ".yml")):
        try:
            content = yaml.safe_load(file.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise Refused(f"{file}: {error}") from error
        if not isinstance(content, dict) or content.get("apiVersion") != 1 or not isinstance(content.get(key), list):
            raise Refused(f"{file}: expected apiVersion 1 and a list of {key}")
        for entry in content[key]:
            if not isinstance(entry, dict) or not entry.get("name"):
                raise Refused(f"{file}: an entry of {key} has no name")
            for name, value in entry.items():
                kind = known.get(name, ())
                if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
                    raise Refused(f"{file}: {entry['name']}: {name} is unknown or has the wrong type")
            yield entry


def read_datasources(provisioning: Path) -> dict[str, dict[str, Any]]:
    sources: dict[str, dict[str, Any]] = {}
    for number, source in enumerate(entries(provisioning / "datasources", "datasources", DATASOURCE_KEYS), start=1):
        uid = source.get("uid", "")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", uid) or uid in sources:
            raise Refused(f"Datasource provisioning error: uid {uid!r} is invalid or used twice")
        if source["name"] in {other["name"] for other in sources.values()}:
            raise Refused(f"Datasource provisioning error: name {source['name']!r} is used twice")
        if source.get("type") not in DATASOURCE_TYPES or source.get("access", "proxy") not in ("proxy", "direct"):
            raise Refused(f"Datasource provisioning error: {uid}: unknown type or access")
        if not re.match(r"https?://.", source.get("url", "")):
            raise Refused(f"Datasource provisioning error: {uid}: url {source.get('url')!r} is invalid")
        sources[uid] = {
            "id": number, "orgId": 1, "access": "proxy", "isDefault": False, "jsonData": {},
            **{key: value for key, value in source.items() if key not in ("secureJsonData", "editable")},
            "readOnly": not source.get("editable", False),
        }  # fmt: skip
    if sum(source["isDefault"] for source in sources.values()) > 1:
        raise Refused("Datasource provisioning error: only one datasource can be marked as default")
    return sources


def datasource_uids(node: Any) -> Iterator[str]:
    """Every data source uid that a dashboard names, at any depth."""
    if isinstance(node, dict):
        source = node.get("datasource")
        if isinstance(source, str):
            yield source
        elif isinstance(source, dict) and "uid" in source:
            yield str(source["uid"])
    if isinstance(node, (dict, list)):
        for child in node.values() if isinstance(node, dict) else node:
            yield from datasource_uids(child)


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, also those in collapsed rows."""
    for panel in dashboard.get("panels", []):
        yield panel
        yield from panel.get("panels", [])


def read_home() -> dict[str, Any] | None:
    """The home dashboard; without it Grafana would answer every first page with an error."""
    path = setting("GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH", "")
    try:
        return json.loads(Path(path).read_text()) if path else None
    except (OSError, ValueError) as error:
        raise Refused(f"Failed to load home dashboard {path}: {error}") from error


def read_providers(provisioning: Path) -> list[dict[str, Any]]:
    providers: list[dict[str, Any]] = []
    for provider in entries(provisioning / "dashboards", "providers", PROVIDER_KEYS):
        path = provider.get("options", {}).get("path")
        if provider["name"] in {other["name"] for other in providers} or provider.get("type", "file") != "file":
            raise Refused(f"dashboard provider {provider['name']!r} is used twice or has an unknown type")
        if not isinstance(path, str) or not Path(path).is_dir():
            raise Refused(f"dashboard provider {provider['name']!r}: cannot read directory {path!r}")
        if any(Path(path) in (other, *other.parents) or other in Path(path).parents for other in paths(providers)):
            raise Refused(f"dashboard provider {provider['name']!r}: another one reads directory {path!r}, too")
        providers.append(provider)
    return providers


def paths(providers: list[dict[str, Any]]) -> list[Path]:
    return [Path(provider["options"]["path"]) for provider in providers]


def read_dashboard(file: Path, sources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    try:
        dashboard = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise Refused(f"failed to load dashboard from {file}: {error}") from error
    if not isinstance(dashboard, dict) or not dashboard.get("title"):
        raise Refused(f"failed to load dashboard from {file}: dashboard title cannot be empty")
    uid = str(dashboard.get("uid", ""))
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", uid):
        raise Refused(f"failed to load dashboard from {file}: uid {uid!r} is invalid")
    for source in datasource_uids(dashboard):
        if source not in sources and source not in BUILT_IN_UIDS and not source.startswith("$"):
            raise Refused(f"failed to load dashboard from {file}: datasource {source!r} was not found")
    for panel in panels(dashboard):
        if panel.get("type") not in PANEL_TYPES:
            raise Refused(f"failed to load dashboard from {file}: unknown panel type {panel.get('type')!r}")
    return dashboard


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Dashboards:
    """The dashboards of all providers, by uid. Their directories are read at intervals and on request."""

    def __init__(self, provisioning: Path, sources: dict[str, dict[str, Any]]) -> None:
        self.provisioning = provisioning
        self.sources = sources
        self.lock = threading.Lock()
        self.count = 0
        self.by_uid: dict[str, dict[str, Any]] = {}
        self.providers = read_providers(provisioning)
        if problems := self.provision():
            raise Refused(problems[0])

    def reload(self) -> None:
        """Reads the provider files, too."""
        self.providers = read_providers(self.provisioning)
        self.provision_and_log()

    def poll(self) -> None:
        """Runs until the program ends."""
        while True:
            time.sleep(min(provider.get("updateIntervalSeconds") or 10 for provider in self.providers))
            self.provision_and_log()

    def provision_and_log(self) -> None:
        for problem in self.provision():
            log(f"level=warn msg={problem!r}")

    def provision(self) -> list[str]:
        """Takes what is in the directories; returns the errors, which Grafana only logs.

        The dashboard of a deleted file is deleted; that of a broken file stays in its last good version. A provider with
        a duplicate uid or title writes nothing any more.
        """
        with self.lock:
            return self._provision()

    def _provision(self) -> list[str]:
        problems: list[str] = []
        read: list[tuple[str, Path, Path, dict[str, Any]]] = []
        there: set[Path] = set()
        for provider, directory in zip(self.providers, paths(self.providers), strict=True):
            for file in sorted(directory.rglob("*.json")):
                there.add(file)
                try:
                    read.append((provider["name"], directory, file, read_dashboard(file, self.sources)))
                except Refused as error:
                    problems.append(str(error))
        uids = Counter(dashboard["uid"] for *dummy, dashboard in read)
        titles = Counter(dashboard["title"] for *dummy, dashboard in read)
        restricted = set()
        for name, _directory, file, dashboard in read:
            if uids[dashboard["uid"]] > 1:
                problems.append(f"the same UID is used more than once: {dashboard['uid']} ({file})")
            if titles[dashboard["title"]] > 1:
                problems.append(f"dashboard title is not unique in folder: {dashboard['title']!r} ({file})")
            if uids[dashboard["uid"]] > 1 or titles[dashboard["title"]] > 1:
                restricted.add(name)
        problems += [
            f"dashboards provisioning provider has no database write permissions because of duplicates: {name}"
            for name in sorted(restricted)
        ]
        # Dashboards of a removed provider stay until the next start.
        names = {provider["name"] for provider in self.providers}
        self.by_uid = {
            uid: found for uid, found in self.by_uid.items() if found["file"] in there or found["provider"] not in names
        }
        for name, directory, file, dashboard in read:
            if name not in restricted:
                self._save(name, directory, file, dashboard)
        return problems

    def _save(self, provider: str, directory: Path, file: Path, dashboard: dict[str, Any]) -> None:
        uid = dashboard["uid"]
        before = next((found for found in self.by_uid.values() if found["file"] == file), None)
        if before and before["content"] == dashboard:
            return
        if before:
            del self.by_uid[before["content"]["uid"]]
        self.count += 0 if before else 1
        number = before["dashboard"]["id"] if before else self.count
        version = before["dashboard"]["version"] + 1 if before else 1
        slug = re.sub(r"[^a-z0-9]+", "-", dashboard["title"].lower()).strip("-")
        self.by_uid[uid] = {
            "provider": provider,
            "file": file,
            "content": dashboard,
            "meta": {
                "type": "db", "canSave": True, "canEdit": True, "canAdmin": True, "canStar": True, "canDelete": True,
                "slug": slug, "url": f"/d/{uid}/{slug}", "expires": "0001-01-01T00:00:00Z",
                "created": before["meta"]["created"] if before else now(), "updated": now(), "updatedBy": "Anonymous",
                "createdBy": "Anonymous", "version": version, "hasAcl": False, "isFolder": False, "folderId": 0,
                "folderUid": "", "folderTitle": "General", "folderUrl": "", "provisioned": True,
                "provisionedExternalId": str(file.relative_to(directory)),
            },
            "dashboard": dashboard | {"id": number, "version": version},
        }  # fmt: skip


class Account:
    """The administrator. Name and password are set when the data is created, and never again."""

    def __init__(self, data: Path) -> None:
        store = data / "grafana-double.json"
        if not store.exists():
            salt = secrets.token_hex(16)
            account = {
                "user": setting("GF_SECURITY_ADMIN_USER", "admin"),
                "salt": salt,
                "hash": self.digest(setting("GF_SECURITY_ADMIN_PASSWORD", "admin"), salt),
            }
            try:
                store.write_text(json.dumps(account))
            except OSError as error:
                raise Refused(f"GF_PATHS_DATA='{data}' is not writable.") from error
        self.stored: dict[str, str] = json.loads(store.read_text())

    @staticmethod
    def digest(password: str, salt: str) -> str:
        return hashlib.scrypt(password.encode(), salt=salt.encode(), n=2**12, r=8, p=1).hex()

    def accepts(self, user: str, password: str) -> bool:
        digest = self.digest(password, self.stored["salt"])
        return user == self.stored["user"] and hmac.compare_digest(digest, self.stored["hash"])


class Double(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        refuse_settings_given_twice()
        self.provisioning = Path(setting("GF_PATHS_PROVISIONING", "/etc/grafana/provisioning"))
        self.account = Account(Path(setting("GF_PATHS_DATA", "/var/lib/grafana")))
        self.sources = read_datasources(self.provisioning)
        self.dashboards = Dashboards(self.provisioning, self.sources)
        read_home()
        self.metrics = enabled("GF_METRICS_ENABLED", "true")
        self.metrics_account = tuple(setting(f"GF_METRICS_BASIC_AUTH_{part}", "") for part in ("USERNAME", "PASSWORD"))
        self.anonymous = enabled("GF_AUTH_ANONYMOUS_ENABLED", "false")
        self.secure = "; Secure" if enabled("GF_SECURITY_COOKIE_SECURE", "false") else ""
        self.sessions: set[str] = set()
        super().__init__(("", int(setting("GF_SERVER_HTTP_PORT", "3000"))), Handler)
        threading.Thread(target=self.dashboards.poll, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Double
    server_version = "GrafanaTestDouble"

    def answer(self, status: int, body: Any, kind: str = "application/json", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def given(self) -> tuple[str, str] | None:
        """User name and password of this request."""
        scheme, dummy, token = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return None
        name, dummy, password = base64.b64decode(token).decode().partition(":")
        return name, password

    def user(self) -> str | None:
        if given := self.given():
            return given[0] if self.server.account.accepts(*given) else None
        session = SimpleCookie(self.headers.get("Cookie", "")).get("grafana_session")
        if session and session.value in self.server.sessions:
            return self.server.account.stored["user"]
        return "anonymous" if self.server.anonymous else None

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        page = b"<!DOCTYPE html><title>Grafana test double</title><p>This is a test double of Grafana."
        if url.path == "/api/health":
            return self.answer(200, {"database": "ok", "version": VERSION, "commit": "test-double"})
        if url.path == "/metrics" and self.server.metrics:
            # Required only if both are set
            if all(self.server.metrics_account) and self.given() != self.server.metrics_account:
                return self.answer(401, b"Unauthorized", "text/plain", WWW_Authenticate='Basic realm="Grafana"')
            return self.answer(200, f'grafana_build_info{{version="{VERSION}"}} 1\n'.encode(), "text/plain")
        if url.path == "/login":
            return self.answer(200, page, "text/html")
        user = self.user()
        if url.path == "/":
            return (
                self.answer(200, page, "text/html") if user else self.answer(302, b"", "text/html", Location="/login")
            )
        if not user:
            return self.answer(401, {"message": "Unauthorized", "statusCode": 401})
        return self.api(user, url)

    def do_POST(self) -> None:
        if self.path == "/api/admin/provisioning/dashboards/reload":
            return self.reload()
        if self.path != "/login":
            return self.answer(404, {"message": "Not found"})
        try:
            given = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            accepted = self.server.account.accepts(given["user"], given["password"])
        except (ValueError, TypeError, KeyError):
            return self.answer(400, {"message": "bad login data"})
        if not accepted:
            return self.answer(401, {"message": "Invalid username or password", "statusCode": 401})
        session = secrets.token_hex(16)
        self.server.sessions.add(session)
        cookie = f"grafana_session={session}; Path=/; HttpOnly; SameSite=Lax{self.server.secure}"
        return self.answer(200, {"message": "Logged in", "redirectUrl": "/"}, Set_Cookie=cookie)

    def reload(self) -> None:
        """Reloads the dashboards; errors in them only appear in the log."""
        user = self.user()
        if not user:
            return self.answer(401, {"message": "Unauthorized", "statusCode": 401})
        if user != self.server.account.stored["user"]:
            return self.answer(403, {"message": "You'll need additional permissions to perform this action."})
        try:
            self.server.dashboards.reload()
        except Refused as error:
            log(f"level=error msg={str(error)!r}")
            return self.answer(500, {"message": ""})
        return self.answer(200, {"message": "Dashboards config reloaded"})

    def api(self, user: str, url: urllib.parse.SplitResult) -> None:
        sources, dashboards = self.server.sources, dict(self.server.dashboards.by_uid)
        match url.path.split("/")[2:]:
            case ["org"]:
                self.answer(200, {"id": 1, "name": "Main Org."})
            case ["user"]:
                self.answer(200, {"id": 1, "login": user, "isGrafanaAdmin": user != "anonymous"})
            case ["datasources"]:
                self.answer(200, list(sources.values()))
            case ["datasources", "uid", uid] if uid in sources:
                self.answer(200, sources[uid])
            case ["datasources", "uid", uid, "health"] if uid in sources:
                status, dummy = self.ask(uid, "api/v1/query?query=1%2B1")
                good = {"status": "OK", "message": "Successfully queried the Prometheus API."}
                self.answer(
                    *((200, good) if status == 200 else (400, {"status": "ERROR", "message": f"HTTP {status}"}))
                )
            case ["datasources", "proxy", "uid", uid, *path] if uid in sources:
                self.answer(*self.ask(uid, "/".join(path) + (f"?{url.query}" if url.query else "")))
            case ["search"]:
                wanted = urllib.parse.parse_qs(url.query).get("query", [""])[0].lower()
                self.answer(200, [
                    {"uid": uid, "title": found["dashboard"]["title"], "type": "dash-db", "url": found["meta"]["url"]}
                    for uid, found in dashboards.items()
                    if wanted in found["dashboard"]["title"].lower()
                ])  # fmt: skip
            case ["dashboards", "home"]:
                home = read_home() or {"title": "Home", "panels": []}
                self.answer(200, {"meta": {"isHome": True, "canSave": False}, "dashboard": home})
            case ["dashboards", "uid", uid] if uid in dashboards:
                self.answer(200, {key: dashboards[uid][key] for key in ("meta", "dashboard")})
            case ["dashboards", "uid", _]:
                self.answer(404, {"message": "Dashboard not found"})
            case ["datasources", *_]:
                self.answer(404, {"message": "Data source not found"})
            case _:
                self.answer(404, {"message": "Not found"})

    def ask(self, uid: str, path: str) -> tuple[int, bytes]:
        """The data source's own answer, as through Grafana's proxy."""
        try:
            with urllib.request.urlopen(f"{self.server.sources[uid]['url'].rstrip('/')}/{path}", timeout=10) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError as error:
            return 502, json.dumps({"message": str(error)}).encode()

    def log_message(self, format: str, *args: Any) -> None:
        log(f"level=info msg={format % args!r}")


def log(line: str) -> None:
    print(f"logger=grafana-test-double {line}", file=sys.stderr, flush=True)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server = Double()
    except Refused as error:
        log(f"level=error msg={str(error)!r}")
        return 1
    log(f"level=info msg='This is a test double of Grafana {VERSION}' port={server.server_port}")
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
