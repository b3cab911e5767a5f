"""alert_responder.py, run as systemd runs it, against a double of the engine on a unix socket."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker_engine_double import DockerEngine, Reply, identifier, install, serving
from prometheus_client.parser import text_string_to_metric_families

PASSWORD = "a long enough password"
TOKEN = {"Authorization": f"Bearer {PASSWORD}"}
APP = "miniweb-app-app-1"
RESTART, PRUNE = "restart_container", "prune_images"
LAST = "alert_responder_last_action_timestamp_seconds"
# What systemd does for a socket-activated service.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
BOTH = ("--actions", PRUNE, RESTART)


class Engine(DockerEngine):
    """Restarts its containers and removes images."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.restarted: list[str] = []
        self.images: list[dict[str, Any]] = []
        self.noted = path.with_name("images.json")

    def add(self, name: str = APP, health: str | None = "unhealthy", **changes: Any) -> None:
        state = {"Running": True, **({"Health": {"Status": health}} if health else {})}
        described = {
            "Id": identifier(name),
            "Name": f"/{name}",
            "State": state,
            "Image": "",
            "Config": {"Labels": {"com.docker.compose.project": "miniweb-app"}},
        }
        self.containers.append({**described, **changes})

    def add_image(self, *names: str, hours: float = 100, noted: bool = True) -> str:
        """Add an image of this age; a noted one was pulled or built by compose_service."""
        image = f"sha256:{identifier(f'{len(self.images)} {names}')}"
        self.images.append({"Id": image, "RepoTags": list(names), "Created": int(time.time() - hours * 3600)})
        if noted:
            before = json.loads(self.noted.read_text())["images"] if self.noted.exists() else {}
            self.noted.write_text(json.dumps({"images": {**before, image: {"reference": names[:1], "service": "app"}}}))
        return image

    def remove_image(self, reference: str) -> Reply:
        found = [image for image in self.images if reference in (image["Id"], *image["RepoTags"])]
        if not found:
            return 404, json.dumps({"message": f"No such image: {reference}"})
        if reference == found[0]["Id"] and len(found[0]["RepoTags"]) > 1:
            return 409, json.dumps({"message": "image is referenced in multiple repositories"})
        found[0]["RepoTags"] = [name for name in found[0]["RepoTags"] if reference not in (name, found[0]["Id"])]
        if not found[0]["RepoTags"]:
            self.images.remove(found[0])
        return 200, json.dumps([{"Deleted": found[0]["Id"]}])

    def names(self) -> set[str]:
        """The names of the images that are there."""
        return {name for image in self.images for name in image["RepoTags"]}

    def reply_otherwise(self, method: str, words: list[str], query: dict[str, str]) -> Reply:
        if (method, words) == ("GET", ["info"]):
            return 200, json.dumps({"DockerRootDir": "/var/lib/docker"})
        if (method, words, query) == ("GET", ["containers", "json"], {"all": "true"}):
            return 200, json.dumps([{"Id": one["Id"], "ImageID": one["Image"]} for one in self.containers])
        if (method, words, query) == ("GET", ["images", "json"], {}):
            return 200, json.dumps(self.images)
        if (method, words[0], query) == ("DELETE", "images", {}):
            return self.remove_image("/".join(words[1:]))
        assert (method, words[0], words[2], query) == ("POST", "containers", "restart", {})
        self.restarted.append(words[1])
        return 204, ""


class Responder:
    """The program as its clients see it."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.port = port
        self.process = process

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def notify(self, *alerts: dict[str, Any]) -> list[dict[str, Any]]:
        """Send a notification; return what happened to each alert, which the log must report, too."""
        status, body = self.ask("POST", "/alerts", notification(*alerts), **TOKEN)
        assert status == 200, body
        found = json.loads(body)["responses"]
        assert self.process.stdout
        logged = [json.loads(self.process.stdout.readline()) for dummy in found]
        assert all(entry.pop("time") for entry in logged)
        assert logged == found
        return found

    def result(self, *alerts: dict[str, Any]) -> str:
        (found,) = self.notify(*alerts)
        return found["result"]

    def metrics(self) -> dict[tuple[str, ...], float]:
        """The value of each series, by its name and labels."""
        status, body = self.ask("GET", "/metrics", **TOKEN)
        assert status == 200
        found = {}
        for family in text_string_to_metric_families(body):
            assert family.documentation.endswith(".")
            for sample in family.samples:
                assert family.type == ("counter" if sample.name.endswith("_total") else "gauge")
                found[sample.name, *sample.labels.values()] = sample.value
        return found

    def counted(self) -> dict[tuple[str, ...], float]:
        """How often each action had each result, without zeros."""
        total = "alert_responder_actions_total"
        return {series[1:]: value for series, value in self.metrics().items() if series[0] == total and value}


def notification(*alerts: dict[str, Any], **changes: Any) -> bytes:
    """What Alertmanager sends, as far as it is read."""
    body = {"version": "4", "status": "firing", "receiver": "responder", "groupLabels": {}, "alerts": list(alerts)}
    return json.dumps({**body, **changes}).encode()


def alert(alertname: str, status: str = "firing", /, **labels: str) -> dict[str, Any]:
    labels = {"alertname": alertname, "instance": "www", "severity": "critical", **labels}
    return {"status": status, "labels": labels, "annotations": {}, "startsAt": "2026-07-01T12:00:00Z"}


def unhealthy(container: str = APP, /, **labels: str) -> dict[str, Any]:
    return alert("ContainerUnhealthy", name=container, **labels)


def disk(mountpoint: str = "/", /, **labels: str) -> dict[str, Any]:
    return alert("LowDiskSpace", mountpoint=mountpoint, **labels)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with serving(Engine(tmp_path / "engine.sock")) as server:
        yield server


@pytest.fixture
def history(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir()
    return directory / "history.json"


Start = Callable[..., "contextlib.AbstractContextManager[Responder]"]


@pytest.fixture
def command(engine: Engine, history: Path, tmp_path: Path) -> list[str]:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    program = install("alert_responder", "alert_responder.py", tmp_path)
    words = [sys.executable, "-Es", str(program), "--instance", "www", "--username", "alertmanager"]
    words += ["--password-file", str(password), "--history", str(history), "--socket", str(engine.path)]
    words += ["--images", str(engine.noted)]
    return [*words, "--timeout", "5", "--prune-older-than-hours", "36", "--limit", "2", "--limit-window-minutes", "60"]


@pytest.fixture
def start(command: list[str]) -> Start:
    """Run the program on an already listening socket, passed as descriptor 3, until the block is left."""

    @contextlib.contextmanager
    def run(*words: str) -> Iterator[Responder]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", ACTIVATE, str(listener.fileno()), *command, *(words or BOTH)],
                pass_fds=[listener.fileno()],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            with process:
                try:
                    yield Responder(listener.getsockname()[1], process)
                finally:
                    process.terminate()
                    out, errors = process.communicate(timeout=10)
            assert (out, errors) == ("", ""), "everything logged was expected, and nothing went wrong"

    return run


@pytest.fixture
def responder(start: Start) -> Iterator[Responder]:
    with start() as running:
        yield running


# -- requests and access ----------------------------------------------------------------------------------------------


def basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (basic(f"alertmanager:{PASSWORD}"), 200),
        (f"Bearer {PASSWORD}", 200),
        (f"bearer {PASSWORD}", 200),
        (None, 401),
        ("", 401),
        (PASSWORD, 401),
        (basic("alertmanager:wrong"), 401),
        (basic(f"other:{PASSWORD}"), 401),
        (basic(f"alertmanager:{PASSWORD}x"), 401),
        ("Basic !", 401),
        ("Basic \xe9", 401),
        ("Bearer wrong", 401),
        ("Bearer \xe9", 401),
        ("Bearer", 401),
        (f"Digest {PASSWORD}", 401),
    ],
)
def test_authorization(engine: Engine, responder: Responder, header: str | None, status: int) -> None:
    engine.add()
    headers = {} if header is None else {"Authorization": header}
    assert responder.ask("GET", "/metrics", **headers)[0] == status
    assert responder.ask("POST", "/alerts", notification(), **headers)[0] == status
    assert responder.ask("GET", "/-/healthy", **headers)[0] == 200
    assert responder.ask("GET", "/elsewhere", **headers)[0] == (404 if status == 200 else 401)
    assert not engine.restarted


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 400, "The body is not JSON (Expecting value"),
        (b"{", 400, "The body is not JSON"),
        (b"\xff", 400, "The body is not JSON"),
        (b"[" * 100_000, 400, "The body is not JSON"),
        (b"[]", 400, "The notification's version is None: send version '4'."),
        (notification(version="3"), 400, "The notification's version is '3': send version '4'."),
        (notification(version=4), 400, "The notification's version is 4: send version '4'."),
        (notification(alerts=None), 400, "The notification's alerts are no list of alerts"),
        (notification(alerts=[1]), 400, "The notification's alerts are no list of alerts"),
        (notification({"status": "firing"}), 400, "The notification's alerts are no list of alerts"),
        (notification({"labels": {}}), 400, "The notification's alerts are no list of alerts"),
        (notification({"status": "firing", "labels": {"name": 1}}), 400, "The notification's alerts are no list"),
        (notification(unhealthy(), {"status": []} | {"labels": {}}), 400, "The notification's alerts are no list"),
        (b" " * (1 << 20) + b"{}", 413, "The body has 1048578 bytes: send 1048576 at most"),
    ],
)
def test_malformed_notifications_are_refused_in_a_sentence(
    engine: Engine, responder: Responder, body: bytes, status: int, sentence: str
) -> None:
    engine.add()
    found, text = responder.ask("POST", "/alerts", body, **TOKEN)
    assert (found, text.startswith(sentence), text.count("\n")) == (status, True, 1), text
    assert responder.metrics()["alert_responder_notifications_total",] == 0
    assert not engine.restarted


@pytest.mark.parametrize("length", ["", "-1", "9" * 5000, "a"])
def test_an_invalid_content_length_is_refused(responder: Responder, length: str) -> None:
    status, text = responder.ask("POST", "/alerts", b"", **TOKEN, **{"Content-Length": length})
    assert (status, text) == (411, "The body's length is not given: send Content-Length.\n")


def test_wrong_methods_and_paths_are_refused(responder: Responder) -> None:
    assert responder.ask("GET", "/alerts", **TOKEN) == (405, "/alerts takes POST, not GET.\n")
    assert responder.ask("POST", "/metrics", b"", **TOKEN) == (405, "/metrics takes GET, not POST.\n")
    assert responder.ask("GET", "/", **TOKEN) == (404, "/ is not here: ask for /-/healthy, /metrics, /alerts.\n")
    assert responder.ask("DELETE", "/alerts", **TOKEN)[0] == 501


def test_a_connection_is_kept_alive(responder: Responder) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", responder.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/alerts", notification(), TOKEN)
        assert json.loads(connection.getresponse().read()) == {"responses": []}
        kept = connection.sock
        connection.request("GET", "/metrics", headers=TOKEN)
        assert connection.getresponse().status == 200
        assert connection.sock is kept is not None


def test_it_is_healthy_if_it_reaches_the_engine(engine: Engine, responder: Responder) -> None:
    assert responder.ask("GET", "/-/healthy") == (200, "alert_responder is healthy.\n")
    engine.path.unlink()
    status, text = responder.ask("GET", "/-/healthy")
    assert status == 503
    assert text.startswith(f"The Docker engine does not answer at {engine.path} ([Errno 2] No such file or directory)")


# -- the actions ------------------------------------------------------------------------------------------------------


def test_an_unhealthy_container_is_restarted(engine: Engine, responder: Responder) -> None:
    engine.add()
    engine.add("miniweb-nginx-nginx-1", "healthy")
    before = time.time()
    assert responder.notify(unhealthy()) == [
        {"alert": "ContainerUnhealthy", "action": RESTART, "name": APP, "result": "done"}
    ]
    assert engine.restarted == [identifier(APP)]
    found = responder.metrics()
    assert found["alert_responder_notifications_total",] == 1
    assert before - 0.001 <= found[LAST, RESTART] <= time.time()
    assert found[LAST, PRUNE] == 0
    assert responder.counted() == {(RESTART, "done"): 1}


def test_old_unused_images_of_this_collection_are_pruned_and_nothing_else(engine: Engine, responder: Responder) -> None:
    engine.add_image("registry:5000/miniweb/old:1", "old:latest", hours=37)
    nameless = engine.add_image()
    engine.add_image("young:1", hours=35)
    engine.add_image("theirs:1", noted=False)
    engine.add(Image=engine.add_image("used:1"))
    (found,) = responder.notify(disk())
    assert found == {
        "alert": "LowDiskSpace",
        "action": PRUNE,
        "mountpoint": "/",
        "result": "done",
        "images": ["registry:5000/miniweb/old:1, old:latest", nameless],
    }
    assert engine.names() == {"young:1", "theirs:1", "used:1"}
    assert len(engine.images) == 3
    assert responder.counted() == {(PRUNE, "done"): 1}


@pytest.mark.parametrize("noted", [None, '{"images": {}}'])
def test_nothing_to_prune(engine: Engine, responder: Responder, noted: str | None) -> None:
    engine.add_image("theirs:1", noted=False)
    if noted:
        engine.noted.write_text(noted)
    (found,) = responder.notify(disk("/var"))
    assert found["result"] == "refused"
    assert found["reason"] == "every image of this collection is used or younger than 36 h, and others are not touched"
    assert engine.names() == {"theirs:1"}


@pytest.mark.parametrize("noted", ["{", "[]", "{}", '{"images": 1}'])
def test_an_invalid_list_of_images(engine: Engine, responder: Responder, noted: str) -> None:
    engine.add_image("old:1")
    engine.noted.write_text(noted)
    (found,) = responder.notify(disk())
    assert found["result"] == "failed"
    assert found["reason"].startswith(f"{engine.noted} cannot be read (")
    assert engine.names() == {"old:1"}


def test_an_image_that_cannot_be_removed_does_not_stop_the_others(engine: Engine, responder: Responder) -> None:
    engine.add_image("kept:1")
    engine.fails["/images/kept:1"] = (409, "a container is using it")
    kept = "The Docker engine answers /images/kept:1 with 409 (a container is using it): look at its log."
    (found,) = responder.notify(disk())
    assert (found["result"], found["reason"]) == ("failed", kept)
    engine.add_image("old:1")
    (found,) = responder.notify(disk())
    assert (found["result"], found["images"], found["kept"]) == ("done", ["old:1"], [kept])
    assert engine.names() == {"kept:1"}


def test_every_series_is_there_from_the_start(responder: Responder) -> None:
    results = ("done", "dry_run", "limited", "failed", "refused")
    expected = {("alert_responder_actions_total", action, result) for action in (PRUNE, RESTART) for result in results}
    expected |= {("alert_responder_notifications_total",), (LAST, PRUNE), (LAST, RESTART)}
    assert responder.metrics() == dict.fromkeys(expected, 0)


@pytest.mark.parametrize(
    "other",
    [
        alert("TargetDown", name=APP),
        alert("", name=APP),
        {"status": "firing", "labels": {}},
        alert("ContainerUnhealthy", "resolved", name=APP),
        alert("LowDiskSpace", "resolved", mountpoint="/"),
    ],
)
def test_other_and_resolved_alerts_do_nothing(engine: Engine, responder: Responder, other: dict[str, Any]) -> None:
    engine.add()
    assert responder.notify(other) == []
    assert engine.asked == []
    assert responder.counted() == {}
    assert responder.metrics()["alert_responder_notifications_total",] == 1


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        ({"health": "healthy"}, 'its health is "healthy" and no longer "unhealthy"'),
        ({"health": "starting"}, 'its health is "starting" and no longer "unhealthy"'),
        ({"health": None}, 'its health is "none" and no longer "unhealthy"'),
        ({"State": {"Running": False, "Health": {"Status": "unhealthy"}}}, "it does not run"),
        ({"Config": {"Labels": None}}, 'its Compose project is "" and does not begin with miniweb-'),
        (
            {"Config": {"Labels": {"com.docker.compose.project": "shop"}}},
            'its Compose project is "shop" and does not begin with miniweb-',
        ),
        ({"name": "another"}, "no container has this name"),
    ],
)
def test_a_container_that_must_not_be_restarted(
    engine: Engine, responder: Responder, container: dict[str, Any], reason: str
) -> None:
    engine.add(**container)
    (found,) = responder.notify(unhealthy())
    assert (found["result"], found["reason"]) == ("refused", reason)
    assert not engine.restarted
    assert responder.counted() == {(RESTART, "refused"): 1}
    assert responder.metrics()[LAST, RESTART] == 0


@pytest.mark.parametrize("name", ["", "../images/prune?x=", f"{APP}/stop", "a b", f"{APP}\n", "-a", "\N{SNOWMAN}"])
def test_an_invalid_name_never_reaches_the_engine(engine: Engine, responder: Responder, name: str) -> None:
    (found,) = responder.notify(unhealthy(name))
    assert found["result"] == "refused"
    assert found["reason"].endswith("which is no name of a container")
    assert [path for path in engine.asked if path != "/_ping"] == []


def test_an_id_is_not_taken_for_a_name(engine: Engine, responder: Responder) -> None:
    engine.add()
    assert responder.notify(unhealthy(identifier(APP)[:12]))[0]["reason"] == "no container has this name"


@pytest.mark.parametrize("mountpoint", ["/srv", "/var/lib/docker/overlay2/x", "/var/lib/dock", "", "var"])
def test_a_disk_that_holds_no_images(engine: Engine, responder: Responder, mountpoint: str) -> None:
    engine.add_image("old:1")
    assert responder.result(disk(mountpoint)) == "refused"
    assert engine.names() == {"old:1"}


@pytest.mark.parametrize("mountpoint", ["/", "/var", "/var/lib/docker"])
def test_a_disk_that_holds_the_images(engine: Engine, responder: Responder, mountpoint: str) -> None:
    engine.add_image("old:1")
    assert responder.result(disk(mountpoint)) == "done"


def test_alerts_of_another_server(engine: Engine, responder: Responder) -> None:
    engine.add()
    (found,) = responder.notify(unhealthy(instance="db"))
    assert (found["result"], found["reason"]) == ("refused", 'the alert is of "db" and this server is "www"')
    assert responder.result(disk(instance="")) == "refused"
    assert engine.asked == []


@pytest.mark.parametrize(("switched_on", "results"), [(PRUNE, ["refused", "done"]), (RESTART, ["done", "refused"])])
def test_an_action_that_is_switched_off(engine: Engine, start: Start, switched_on: str, results: list[str]) -> None:
    engine.add()
    engine.add_image("old:1")
    with start("--actions", switched_on) as responder:
        found = responder.notify(unhealthy(), disk())
    assert [entry["result"] for entry in found] == results
    assert [entry["reason"] for entry in found if "reason" in entry] == ["the action is not switched on"]


def test_a_dry_run_reports_counts_and_does_nothing(engine: Engine, start: Start) -> None:
    engine.add()
    engine.add_image("old:1")
    with start(*BOTH, "--dry-run") as responder:
        found = responder.notify(unhealthy(), disk())
        assert [entry["result"] for entry in found] == ["dry_run", "dry_run"]
        assert found[1]["images"] == ["old:1"]
        assert responder.counted() == {(RESTART, "dry_run"): 1, (PRUNE, "dry_run"): 1}
        assert responder.metrics()[LAST, RESTART] == 0
        assert [responder.result(unhealthy()) for dummy in range(2)] == ["dry_run", "limited"]
        assert responder.result(unhealthy("another")) == "refused"
    assert not [path for path in engine.asked if path.startswith(("POST", "DELETE"))]


# -- the limit --------------------------------------------------------------------------------------------------------


def test_the_limit_holds_for_each_action_and_container(engine: Engine, responder: Responder) -> None:
    engine.add()
    engine.add("miniweb-mysql-mysql-1")
    assert [responder.result(unhealthy()) for dummy in range(3)] == ["done", "done", "limited"]
    assert responder.notify(unhealthy())[0]["reason"] == "2 times within 60 minutes"
    assert responder.result(unhealthy("miniweb-mysql-mysql-1")) == "done"
    for mountpoint, result in (("/", "done"), ("/var", "done"), ("/var/lib/docker", "limited")):
        engine.add_image(f"old:{len(mountpoint)}")
        assert responder.result(disk(mountpoint)) == result
    assert (len(engine.restarted), len(engine.images)) == (3, 1)
    assert responder.counted() == {
        (RESTART, "done"): 3,
        (RESTART, "limited"): 2,
        (PRUNE, "done"): 2,
        (PRUNE, "limited"): 1,
    }


def test_the_limit_survives_a_restart(engine: Engine, start: Start) -> None:
    engine.add()
    for expected in (["done"], ["done", "limited"], ["limited"]):
        with start() as responder:
            assert [responder.result(unhealthy()) for dummy in expected] == expected
    assert len(engine.restarted) == 2


def test_what_was_done_long_ago_is_forgotten(engine: Engine, start: Start, history: Path) -> None:
    engine.add()
    now = time.time()
    key, other = f"{RESTART} {APP}", f"{RESTART} miniweb-gone-1"
    history.write_text(json.dumps({key: [now - 4000, now - 3700, now - 3000], other: [now - 4000]}))
    with start() as responder:
        assert [responder.result(unhealthy()) for dummy in range(2)] == ["done", "limited"]
    kept = json.loads(history.read_text())
    assert list(kept) == [key]
    assert kept[key][0] == now - 3000
    assert len(kept[key]) == 2


def test_a_clock_that_was_set_back_does_not_lift_the_limit(engine: Engine, start: Start, history: Path) -> None:
    engine.add()
    history.write_text(json.dumps({f"{RESTART} {APP}": [time.time() + 9000] * 2}))
    with start() as responder:
        assert responder.result(unhealthy()) == "limited"


def test_what_is_refused_does_not_count(engine: Engine, start: Start, history: Path) -> None:
    engine.add(health="healthy")
    with start() as responder:
        assert [responder.result(unhealthy()) for dummy in range(4)] == ["refused"] * 4
    assert not history.exists()


def test_what_failed_counts(engine: Engine, responder: Responder) -> None:
    engine.add()
    engine.fails["/restart"] = (500, '{"message":"broken"}\n')
    (found,) = responder.notify(unhealthy())
    assert found["result"] == "failed"
    assert found["reason"].endswith('/restart with 500 ({"message":"broken"}): look at its log.')
    engine.fails.clear()
    assert [responder.result(unhealthy()) for dummy in range(2)] == ["done", "limited"]
    assert responder.counted() == {(RESTART, "failed"): 1, (RESTART, "done"): 1, (RESTART, "limited"): 1}


# -- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "failure", "reason"),
    [
        ("/json", (500, "broken"), "answers /containers/miniweb-app-app-1/json with 500 (broken): look at its log."),
        ("/json", (200, "<html>"), "The Docker engine's answer is not understood (JSONDecodeError("),
        ("/json", (200, "{}"), "The Docker engine's answer is not understood (KeyError('Name'))."),
        ("/restart", (404, "gone"), "/restart with 404 (gone): look at its log."),
    ],
)
def test_an_engine_that_answers_wrongly(
    engine: Engine, responder: Responder, part: str, failure: Reply, reason: str
) -> None:
    engine.add()
    engine.fails[part] = failure
    (found,) = responder.notify(unhealthy())
    assert found["result"] == "failed"
    assert reason in found["reason"]
    assert not engine.restarted


def test_an_engine_that_is_down(engine: Engine, responder: Responder) -> None:
    engine.path.unlink()
    found = responder.notify(unhealthy(), disk())
    assert [entry["result"] for entry in found] == ["failed", "failed"]
    assert found[0]["reason"].endswith("No such file or directory): look at systemctl status docker.")


def test_without_its_history_nothing_is_done(engine: Engine, responder: Responder, history: Path) -> None:
    engine.add()
    history.parent.rmdir()
    (found,) = responder.notify(unhealthy())
    assert found["result"] == "failed"
    assert found["reason"].startswith(f"{history} cannot be written ([Errno 2]")
    assert not engine.restarted


def refusal(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    return done.stderr


def test_what_it_needs_to_start(command: list[str], history: Path, tmp_path: Path) -> None:
    assert refusal(command) == "No socket was passed on: start miniweb-alert-responder.socket instead.\n"
    for text in ("{", "[]", '{"a": 1}'):
        history.write_text(text)
        assert refusal(command).endswith("remove it, and the limit begins anew.\n")
    (tmp_path / "password").write_text("\n")
    assert refusal(command).endswith("is empty: set alert_responder_password and run the role again.\n")
    (tmp_path / "password").unlink()
    assert "password cannot be read ([Errno 2] No such file or directory" in refusal(command)


def test_a_client_that_disconnects_is_no_error(responder: Responder) -> None:
    with socket.create_connection(("127.0.0.1", responder.port)) as client:
        # Closing sends a reset, so that the other side's next write fails.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(b"GET /metrics HTTP/1.1\r\n")
    assert responder.ask("GET", "/-/healthy")[0] == 200
