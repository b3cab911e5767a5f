"""What operators see: metrics, log lines, readiness; with real Gunicorn processes."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from conftest import https, make_app
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import QueuePool, make_url

from miniwebapp.logs import GatheringHandler, GatheringStream, JsonFormatter
from miniwebapp.models import READER, db

ROOT = Path(__file__).parent.parent
URL = make_url(os.environ.get("TEST_DATABASE_URL", "mysql+pymysql://"))


def until(condition: Callable[[], bool], said: Callable[[], str]) -> None:
    """Wait for a condition; if it does not hold within half a minute, fail with what was said."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)


class Server:
    """Gunicorn with three processes, and its log."""

    def __init__(self, directory: Path, config: str, url: str) -> None:
        self.log = directory / "log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        (directory / "conf.py").write_text(config)
        environ = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
        environ |= {"SECRET_KEY": "0123456789abcdef", "DATABASE_URL": url, "OPEN_ACCESS": "true"}
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "--config",
            str(directory / "conf.py"),
            "--workers",
            "3",
            "--graceful-timeout",
            "1",
        ]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--bind", self.address, "wsgi:app"], cwd=ROOT, env=environ, stdout=log, stderr=log
            )

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        with contextlib.closing(HTTPConnection(self.address, timeout=15)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def wait(self, path: str = "/healthz", code: int = 200) -> None:
        def answered() -> bool:
            with contextlib.suppress(OSError, HTTPException):
                return self.get(path)[0] == code
            return False

        until(answered, self.log.read_text)

    def workers(self) -> list[int]:
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def wait_for_other_workers(self, ended: set[int]) -> None:
        until(lambda: not ended & set(self.workers()), self.log.read_text)

    def measured(self, name: str) -> float:
        found = re.findall(rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[0]) if found else 0.0

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def line(self, request_id: str) -> dict[str, object]:
        def found() -> list[dict[str, object]]:
            return [line for line in self.lines() if line.get("request_id") == request_id]

        until(lambda: bool(found()), self.log.read_text)
        return found()[0]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


FOREIGN = 'worker_class = "gthread"\nthreads = 4\npreload_app = True\ncontrol_socket_disable = True\n'


@pytest.fixture(params=["its own configuration", "another without hooks"])
def server(request: pytest.FixtureRequest, app: Flask, tmp_path: Path) -> Iterator[Server]:
    own = request.param == "its own configuration"
    server = Server(
        tmp_path, (ROOT / "gunicorn.conf.py").read_text() if own else FOREIGN, os.environ["TEST_DATABASE_URL"]
    )
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def test_measurements_are_summed_over_processes(server: Server) -> None:
    shown = 'http_requests_total{method="GET",route="/api/users/<user_id:user_id>",status="404"}'
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda number: server.get(f"/api/users/{number}")[0], range(10**6, 10**6 + 60)))
    assert codes == [404] * 60
    assert [server.measured(shown) for _attempt in range(6)] == [60.0] * 6, "whichever process answers"
    answered = 'http_request_duration_seconds_count{method="GET",route="/api/users/<user_id:user_id>"}'
    assert server.measured(answered) == 60
    assert server.measured("http_requests_in_flight") == 1, "this one"
    assert server.measured("database_pool_connections_in_use") == 0
    assert 1 <= server.measured("database_pool_connections") <= 12

    killed = set(server.workers())
    for worker in killed:
        os.kill(worker, signal.SIGKILL)
    server.wait_for_other_workers(killed)
    server.wait()
    assert server.measured(shown) == 60, "what ended processes counted stays"
    assert server.measured("database_pool_connections") == 0, "what they held does not"
    assert server.measured("http_requests_in_flight") == 1


def test_every_line_is_json(server: Server) -> None:
    server.get("/api/users/7?secret=hunter2", **{"X-Request-ID": "from-nginx-1", "Authorization": "Bearer hunter2"})
    server.get("/readyz")
    line = server.line("from-nginx-1")
    lines = server.lines()
    assert line["level"] == "info"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/users/7", 404)
    assert isinstance(line["duration_ms"], float)
    assert "time" in line
    assert "hunter2" not in server.log.read_text()
    assert not any(line.get("path") == "/readyz" for line in lines)
    assert any("Booting worker" in str(line["message"]) for line in lines), "Gunicorn's own messages"


def test_the_directory_of_measurements_goes_with_the_server(app: Flask, tmp_path: Path) -> None:
    server = Server(tmp_path, FOREIGN, os.environ["TEST_DATABASE_URL"])
    server.wait()
    open_files = {os.readlink(file) for file in Path(f"/proc/{server.process.pid}/fd").iterdir()}
    found = {Path(file).parent for file in open_files if file.endswith(f"counter_{server.process.pid}.db")}
    server.stop()
    assert len(found) == 1
    assert not found.pop().exists()


def test_measurements_are_not_for_the_public(client: FlaskClient, closed: Flask) -> None:
    assert client.get("/metrics").status_code == 404
    assert https(closed).get("/metrics", headers={"X-Forwarded-For": ""}).status_code == 404
    answer = closed.test_client().get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    for name in ("login_failures_total", "http_request_duration_seconds_bucket"):
        assert name in answer.text


def test_labels_are_few(client: FlaskClient, app: Flask) -> None:
    for number in range(3):
        client.get(f"/nothing-{number}")
        client.open("/api/users", method=f"METHOD{number}")
    text = app.test_client().get("/metrics").text
    assert "nothing-" not in text
    assert "METHOD" not in text
    assert 'method="other"' in text


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-1._X", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("a b", False),
        ("", False),
        ("\xe4", False),
        ("a\tb", False),
    ],
)
def test_request_ids(client: FlaskClient, given: str, kept: bool) -> None:
    answered = client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert (answered == given) == kept
    assert kept or re.fullmatch("[0-9a-f]{32}", answered)


@pytest.mark.parametrize("message", ["plain", "\ud800", "line\nbreak", '"quoted"'])
def test_any_message_is_one_line(message: str) -> None:
    record = logging.LogRecord("a", logging.ERROR, "a.py", 1, message, (), None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == message


def test_an_exception_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miniwebapp.auth.rows", lambda query: 1 / 0)
    app, said = make_app(os.environ["TEST_DATABASE_URL"], OPEN_ACCESS=True), io.StringIO()
    (handler,) = (one for one in app.logger.handlers if isinstance(one, GatheringHandler))
    monkeypatch.setattr(handler, "stream", GatheringStream(said))
    assert https(app).get("/api/users").status_code == 500
    handler.stream.write_out()
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    assert "ZeroDivisionError" in lines[0]["exception"]
    assert lines[1]["status"] == 500


# Four processes share a pipe, as Gunicorn's do.
SEVERAL = """
import logging, os, sys
from miniwebapp.logs import GatheringHandler
log = logging.getLogger("several")
log.addHandler(GatheringHandler(sys.stdout))
log.setLevel(logging.INFO)
log.info("before")
children = []
for name in ("first", "second", "third"):
    child = os.fork()
    if not child:
        for number in range(2000):
            log.info("%s %d %s", name, number, "x" * (number % 500))
        sys.exit(0)
    children.append(child)
log.info("after")
for child in children:
    os.waitpid(child, 0)
"""


def test_lines_of_several_processes_are_whole_and_none_is_lost_or_there_twice() -> None:
    done = subprocess.run([sys.executable, "-c", SEVERAL], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    wanted = [
        f"{name} {number} {'x' * (number % 500)}" for name in ("first", "second", "third") for number in range(2000)
    ]
    assert sorted(done.stdout.splitlines()) == sorted([*wanted, "before", "after"])


def test_a_warning_is_written_at_once_and_what_was_before_it_first() -> None:
    said = io.StringIO()
    handler = GatheringHandler(said)
    for level, message in ((logging.INFO, "first"), (logging.WARNING, "second")):
        handler.handle(logging.LogRecord("a", level, "a.py", 1, message, (), None))
    assert said.getvalue() == "first\nsecond\n"
    handler.handle(logging.LogRecord("a", logging.INFO, "a.py", 1, "third", (), None))
    until(lambda: said.getvalue() == "first\nsecond\nthird\n", said.getvalue)


class Relay(threading.Thread):
    """A TCP proxy to the database that can be cut."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open, self.pairs = True, list[socket.socket]()

    def run(self) -> None:
        while True:
            inside, _address = self.listener.accept()
            if not self.open:
                inside.close()
                continue
            outside = socket.create_connection((URL.host or "", URL.port or 3306))
            self.pairs += [inside, outside]
            for pair in ((inside, outside), (outside, inside)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    @staticmethod
    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        self.open = False
        for end in self.pairs:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_database_that_went_away_and_came_back(app: Flask) -> None:
    relay = Relay()
    relay.start()
    url = URL.set(host="127.0.0.1", port=relay.port).render_as_string(hide_password=False)
    client = https(make_app(url, OPEN_ACCESS=True))
    for path in ("/readyz", "/api/users", "/"):
        assert client.get(path).status_code == 200
        relay.cut()
        for _attempt in range(3):
            assert client.get(path).status_code == 503
        assert client.get("/healthz").status_code == 200
        relay.open = True
        assert client.get(path).status_code == 200, "without a restart"
    text = client.application.test_client().get("/metrics").text
    assert re.search(r"^database_pool_connections_in_use 0\.0$", text, re.MULTILINE)


@pytest.mark.parametrize("path", ["/readyz", "/api/users", "/"])
def test_connections_that_broke_while_they_rested_are_replaced(
    app: Flask, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("miniwebapp.pool.RESTED_SECONDS", 0)
    relay = Relay()
    relay.start()
    url = URL.set(host="127.0.0.1", port=relay.port).render_as_string(hide_password=False)
    own = make_app(url, OPEN_ACCESS=True)

    def ask(_number: int) -> int:
        return https(own).get(path).status_code

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(ask, range(40))) == {200}
    opened = len(relay.pairs)
    relay.cut()
    relay.open = True
    assert [ask(number) for number in range(5)] == [200] * 5
    assert len(relay.pairs) > opened
    text = own.test_client().get("/metrics").text
    assert re.search(r"^database_pool_connections_in_use 0\.0$", text, re.MULTILINE)


def test_many_requests_at_once_leave_few_connections(app: Flask) -> None:
    own = make_app(os.environ["TEST_DATABASE_URL"])
    with own.app_context():
        pool = db.engines[READER].pool
    with contextlib.ExitStack() as stack:
        for _request in range(12):
            stack.enter_context(own.extensions[READER].connection())
    assert isinstance(pool, QueuePool)
    assert (pool.checkedout(), pool.checkedin()) == (5, 5)


@pytest.mark.parametrize("name", ["style.css", "icon.svg"])
def test_static_files_are_kept_by_browsers(client: FlaskClient, name: str) -> None:
    address = re.search(rf"/static/{re.escape(name)}\?v=[0-9a-f]+", client.get("/").text)
    assert address
    with client.get(address[0]) as answer:
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "Set-Cookie" not in answer.headers
    for other in (f"/static/{name}", "/static/nothing.css?v=1"):
        with client.get(other) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
