"""Respond to Alertmanager's notifications with predefined actions on this server's Docker engine, within limits.

systemd listens on the address and passes the socket on, so the program needs no network of its own. Its only state is
the file of recent actions, which preserves the limit across restarts.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import dataclasses
import hmac
import http.server
import json
import os
import re
import socket
import socketserver
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

from docker_engine import Engine, EngineError, Gone

PROJECT_LABEL = "com.docker.compose.project"
PROJECT_PREFIX = "miniweb-"
CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
RESULTS = ("done", "dry_run", "limited", "failed", "refused")
METRICS = {
    "alert_responder_actions_total": ("counter", "What became of the actions that alerts asked for."),
    "alert_responder_last_action_timestamp_seconds": ("gauge", "When the action was last done, in seconds since 1970."),
    "alert_responder_notifications_total": ("counter", "Notifications that were received and understood."),
}
CONTENT_TYPES = {"text": "text/plain; charset=utf-8", "metrics": "text/plain; version=0.0.4; charset=utf-8"}
BODY_LIMIT = 1 << 20
FIRST_PASSED_DESCRIPTOR = 3
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)


class ResponderError(Exception):
    """The program cannot run or an action cannot be taken; the message says why and what to do, in one sentence."""


class Refused(Exception):
    """The action is not allowed or no longer needed; the message says why."""


class Malformed(Exception):
    """A request that cannot be understood, with the HTTP status to answer; the message says why and what to do."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


# -- the actions ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Settings:
    """What may be done on this server."""

    instance: str
    actions: frozenset[str]
    images: Path
    prune_older_than_hours: int
    limit: int
    limit_window_seconds: int
    dry_run: bool


@dataclasses.dataclass(frozen=True)
class Step:
    """An action that is allowed and needed: on which container, if any, and how.

    :param take: does it; what it returns goes to the log.
    :param planned: what a dry run says in its place.
    """

    target: str
    take: Callable[[], dict[str, Any]]
    planned: dict[str, Any]


Action = Callable[[Engine, Settings, Mapping[str, str]], Step]


def prune_images(engine: Engine, settings: Settings, labels: Mapping[str, str]) -> Step:
    """Remove the images that this collection pulled or built, that no container uses and that are old enough."""
    root = PurePosixPath(engine.call("GET", "/info")["DockerRootDir"])
    mountpoint = labels.get("mountpoint", "")
    if PurePosixPath(mountpoint) not in (root, *root.parents):
        raise Refused(f'the file system "{mountpoint}" does not hold the images, which are in {root}')
    used = {container["ImageID"] for container in engine.call("GET", "/containers/json", all="true")}
    ours = noted(settings.images) - used
    before = time.time() - settings.prune_older_than_hours * 3600
    # The names of each image, by its id.
    found = {
        image["Id"]: image["RepoTags"] or []
        for image in engine.call("GET", "/images/json")
        if image["Id"] in ours and image["Created"] < before
    }
    if not found:
        hours = settings.prune_older_than_hours
        raise Refused(f"every image of this collection is used or younger than {hours} h, and others are not touched")

    def take() -> dict[str, Any]:
        removed, kept = [], []
        for identifier, names in found.items():
            try:
                # The engine refuses an id with several names; with the last name the image itself goes.
                for reference in [*names, identifier]:
                    with suppress(Gone):
                        engine.call("DELETE", f"/images/{reference}")
                removed.append(called(identifier, names))
            except EngineError as error:
                kept.append(str(error))
        if not removed:
            raise EngineError(kept[0])
        return {"images": removed, **({"kept": kept} if kept else {})}

    return Step("", take, {"images": [called(identifier, names) for identifier, names in found.items()]})


def noted(path: Path) -> set[str]:
    """Return the ids of the images that compose_service pulled or built.

    :raises ResponderError: the file cannot be understood.
    """
    try:
        return set(json.loads(path.read_text(encoding="utf-8"))["images"]) if path.exists() else set()
    except (OSError, *UNREADABLE) as error:
        raise ResponderError(
            f"{path} cannot be read ({error}): remove it; the images in it are then left alone."
        ) from error


def called(identifier: str, names: list[str]) -> str:
    """Return how an image is called in the log."""
    return ", ".join(names) or identifier


def restart_container(engine: Engine, settings: Settings, labels: Mapping[str, str]) -> Step:
    """Restart a container of this collection that is unhealthy at this moment."""
    name = labels.get("name", "")
    if not CONTAINER_NAME.fullmatch(name):
        raise Refused(f'the alert\'s label name is "{name}", which is no name of a container')
    try:
        container = engine.call("GET", f"/containers/{name}/json")
    except Gone as error:
        raise Refused("no container has this name") from error
    # The engine also finds containers by the beginning of their id.
    if container["Name"] != f"/{name}":
        raise Refused("no container has this name")
    project = (container["Config"]["Labels"] or {}).get(PROJECT_LABEL, "")
    if not project.startswith(PROJECT_PREFIX):
        raise Refused(f'its Compose project is "{project}" and does not begin with {PROJECT_PREFIX}')
    # One that was stopped keeps the health it had.
    if not container["State"]["Running"]:
        raise Refused("it does not run")
    health = (container["State"].get("Health") or {}).get("Status", "none")
    if health != "unhealthy":
        raise Refused(f'its health is "{health}" and no longer "unhealthy"')

    def take() -> dict[str, Any]:
        engine.call("POST", f"/containers/{container['Id']}/restart")
        return {}

    return Step(name, take, {})


# All that can ever be done: an alert's name, and its action.
ACTIONS: dict[str, Action] = {"LowDiskSpace": prune_images, "ContainerUnhealthy": restart_container}
NAMES = sorted(action.__name__ for action in ACTIONS.values())


class History:
    """When actions were taken, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            state = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            self.taken = {str(key): [float(moment) for moment in moments] for key, moments in state.items()}
        except (OSError, *UNREADABLE) as error:
            raise ResponderError(f"{path} cannot be read ({error}): remove it, and the limit begins anew.") from error

    def within(self, key: str, now: float, seconds: int) -> int:
        """Count the recent actions. A clock that was set back does not free any."""
        return sum(moment > now - seconds for moment in self.taken.get(key, []))

    def add(self, key: str, now: float, seconds: int) -> None:
        """Remember an action, and forget the old ones.

        :raises ResponderError: the file could not be written; nothing is remembered.
        """
        kept = {name: [moment for moment in moments if moment > now - seconds] for name, moments in self.taken.items()}
        kept = {name: moments for name, moments in kept.items() if moments}
        kept[key] = [*kept.get(key, []), now]
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        try:
            temporary.write_text(json.dumps(kept), encoding="utf-8")
            os.replace(temporary, self.path)
        except OSError as error:
            raise ResponderError(f"{self.path} cannot be written ({error}): make room for it.") from error
        self.taken = kept


class Responder:
    """Decides on every alert, acts, logs and counts."""

    def __init__(self, settings: Settings, history: History, connect: Callable[[], Engine]) -> None:
        self.settings = settings
        self.history = history
        self.connect = connect
        self.lock = threading.Lock()
        self.notifications = 0
        self.counts = {(action, result): 0 for action in NAMES for result in RESULTS}
        self.last = dict.fromkeys(NAMES, 0.0)

    def notified(self, alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Take the actions for a notification's alerts, one after the other, and return what became of each."""
        with self.lock:
            self.notifications += 1
            firing = [alert["labels"] for alert in alerts if alert["status"] == "firing"]
            return [self.respond(labels) for labels in firing if labels.get("alertname") in ACTIONS]

    def respond(self, labels: Mapping[str, str]) -> dict[str, Any]:
        action = ACTIONS[labels["alertname"]]
        entry: dict[str, Any] = {"alert": labels["alertname"], "action": action.__name__}
        entry.update({label: labels[label] for label in ("name", "mountpoint") if label in labels})
        try:
            entry.update(self.act(action, labels))
        except Refused as error:
            entry.update(result="refused", reason=str(error))
        except (EngineError, ResponderError) as error:
            entry.update(result="failed", reason=str(error))
        except UNREADABLE as error:
            entry.update(result="failed", reason=f"The Docker engine's answer is not understood ({error!r}).")
        self.counts[action.__name__, entry["result"]] += 1
        print(json.dumps({"time": datetime.now(timezone.utc).isoformat(), **entry}), flush=True)
        return entry

    def act(self, action: Action, labels: Mapping[str, str]) -> dict[str, Any]:
        settings, name = self.settings, action.__name__
        if name not in settings.actions:
            raise Refused("the action is not switched on")
        if labels.get("instance") != settings.instance:
            raise Refused(f'the alert is of "{labels.get("instance", "")}" and this server is "{settings.instance}"')
        with self.engine() as engine:
            step = action(engine, settings, labels)
            key, now, window = f"{name} {step.target}".strip(), time.time(), settings.limit_window_seconds
            if self.history.within(key, now, window) >= settings.limit:
                return {"result": "limited", "reason": f"{settings.limit} times within {window // 60} minutes"}
            # Remembered before it is done: an action that ends this program counts as well.
            self.history.add(key, now, window)
            if settings.dry_run:
                return {"result": "dry_run", **step.planned}
            found = step.take()
        self.last[name] = time.time()
        return {"result": "done", **found}

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        engine = self.connect()
        try:
            yield engine
        finally:
            engine.close()

    def metrics(self) -> str:
        """Return the metrics in Prometheus's text format; every series is there from the start."""
        counts = sorted(self.counts.items())
        values = {
            "alert_responder_actions_total": [
                (f'{{action="{action}",result="{result}"}}', value) for (action, result), value in counts
            ],
            "alert_responder_last_action_timestamp_seconds": [
                (f'{{action="{action}"}}', f"{value:.3f}") for action, value in self.last.items()
            ],
            "alert_responder_notifications_total": [("", self.notifications)],
        }
        lines = []
        for metric, (kind, description) in METRICS.items():
            lines += [f"# HELP {metric} {description}", f"# TYPE {metric} {kind}"]
            lines += [f"{metric}{labels} {value}" for labels, value in values[metric]]
        return "\n".join(lines) + "\n"


# -- the server -------------------------------------------------------------------------------------------------------


def understood(body: bytes) -> list[dict[str, Any]]:
    """Return the alerts of a notification.

    :raises Malformed: it is no notification of Alertmanager's webhook, version 4.
    """
    try:
        notification = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed(HTTPStatus.BAD_REQUEST, f"The body is not JSON ({error}).") from error
    version = notification.get("version") if isinstance(notification, dict) else None
    if version != "4":
        raise Malformed(HTTPStatus.BAD_REQUEST, f"The notification's version is {version!r}: send version '4'.")
    alerts = notification.get("alerts")
    if not isinstance(alerts, list) or not all(map(is_alert, alerts)):
        raise Malformed(
            HTTPStatus.BAD_REQUEST, "The notification's alerts are no list of alerts, each with a status and labels."
        )
    return alerts


def is_alert(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("labels"), dict):
        return False
    return value.get("status") in ("firing", "resolved") and all(isinstance(v, str) for v in value["labels"].values())


@dataclasses.dataclass(frozen=True)
class Login:
    """Who may ask."""

    username: str
    password: str

    def accepts(self, header: str) -> bool:
        """Return whether the header Authorization carries the user and password, or the password as a token."""
        scheme, dummy, credentials = header.partition(" ")
        given = credentials.strip().encode("latin-1")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(given, self.password.encode())
        if scheme.lower() != "basic":
            return False
        try:
            decoded = base64.b64decode(given, validate=True)
        except binascii.Error:
            return False
        return hmac.compare_digest(decoded, f"{self.username}:{self.password}".encode())


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """An HTTP server on a socket that listens already."""

    daemon_threads = True
    # HTTPServer makes a socket of its own first; for one of the network this program has no right.
    address_family = socket.AF_UNIX

    def __init__(self, listener: socket.socket, responder: Responder, login: Login) -> None:
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.responder = responder
        self.login = login

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of one who went away before the answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "alert_responder"
    sys_version = ""
    error_content_type = CONTENT_TYPES["text"]
    error_message_format = "%(message)s.\n"
    timeout = 30

    def do_GET(self) -> None:
        self.route()

    def do_POST(self) -> None:
        self.route()

    def route(self) -> None:
        routes = {
            "/-/healthy": ("GET", self.healthy),
            "/metrics": ("GET", self.measured),
            "/alerts": ("POST", self.notified),
        }
        path = urllib.parse.urlsplit(self.path).path
        method, answer = routes.get(path, ("", None))
        if path != "/-/healthy" and not self.server.login.accepts(self.headers.get("Authorization", "")):
            login = {"WWW-Authenticate": 'Basic realm="alert_responder"'}
            self.answer(HTTPStatus.UNAUTHORIZED, "Give the user's name and password.\n", **login)
        elif answer is None:
            self.answer(HTTPStatus.NOT_FOUND, f"{path} is not here: ask for {', '.join(routes)}.\n")
        elif method != self.command:
            self.answer(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} takes {method}, not {self.command}.\n", Allow=method)
        else:
            answer()

    def healthy(self) -> None:
        try:
            with self.server.responder.engine():
                self.answer(HTTPStatus.OK, "alert_responder is healthy.\n")
        except EngineError as error:
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n")

    def measured(self) -> None:
        self.answer(HTTPStatus.OK, self.server.responder.metrics(), CONTENT_TYPES["metrics"])

    def notified(self) -> None:
        try:
            alerts = understood(self.body())
        except Malformed as error:
            self.answer(error.status, f"{error}\n")
            return
        # 200 even for what failed: Alertmanager would send an error again at once, and the next notification comes.
        responses = json.dumps({"responses": self.server.responder.notified(alerts)})
        self.answer(HTTPStatus.OK, f"{responses}\n", "application/json")

    def body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,18}", length):
            raise Malformed(HTTPStatus.LENGTH_REQUIRED, "The body's length is not given: send Content-Length.")
        if int(length) > BODY_LIMIT:
            raise Malformed(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The body has {length} bytes: send {BODY_LIMIT} at most, with Alertmanager's max_alerts.",
            )
        return self.rfile.read(int(length))

    def answer(self, status: HTTPStatus, text: str, kind: str = CONTENT_TYPES["text"], **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        if status != HTTPStatus.OK:
            # What was not read of the body would be taken for the next request.
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Say nothing: the log is for actions."""


# -- the program ------------------------------------------------------------------------------------------------------


def passed_socket() -> socket.socket:
    """Return the socket that systemd listens on for this program."""
    if (os.environ.get("LISTEN_PID"), os.environ.get("LISTEN_FDS")) != (str(os.getpid()), "1"):
        raise ResponderError("No socket was passed on: start miniweb-alert-responder.socket instead.")
    return socket.socket(fileno=FIRST_PASSED_DESCRIPTOR)


def password(path: Path) -> str:
    try:
        found = path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, ValueError) as error:
        raise ResponderError(f"{path} cannot be read ({error}): run the role alert_responder again.") from error
    if not found:
        raise ResponderError(f"{path} is empty: set alert_responder_password and run the role again.")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instance", required=True, help="label instance of the alerts of this server")
    parser.add_argument("--username", required=True, help="user that must be given")
    parser.add_argument("--password-file", type=Path, required=True, help="file with the password that must be given")
    parser.add_argument("--history", type=Path, required=True, help="file of recent actions")
    parser.add_argument("--actions", nargs="*", choices=NAMES, default=[], help="actions that may be taken")
    parser.add_argument("--images", type=Path, required=True, help="file of the images that may be pruned")
    parser.add_argument("--prune-older-than-hours", type=int, required=True, help="age from which an image is pruned")
    parser.add_argument("--limit", type=int, required=True, help="most times an action is taken on one container")
    parser.add_argument("--limit-window-minutes", type=int, required=True, help="minutes for which the limit holds")
    parser.add_argument("--dry-run", action="store_true", help="only say and count what would be done")
    parser.add_argument("--socket", default="/run/docker.sock", help="socket of the Docker engine")
    parser.add_argument("--timeout", type=float, default=300, help="seconds to wait for an answer of the engine")
    arguments = parser.parse_args()
    settings = Settings(
        instance=arguments.instance,
        actions=frozenset(arguments.actions),
        images=arguments.images,
        prune_older_than_hours=arguments.prune_older_than_hours,
        limit=arguments.limit,
        limit_window_seconds=arguments.limit_window_minutes * 60,
        dry_run=arguments.dry_run,
    )
    try:
        login = Login(arguments.username, password(arguments.password_file))
        responder = Responder(settings, History(arguments.history), lambda: Engine(arguments.socket, arguments.timeout))
        Server(passed_socket(), responder, login).serve_forever()
    except ResponderError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
