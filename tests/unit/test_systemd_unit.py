"""The module systemd_unit, with a double of systemctl."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.miniweb.stack.plugins.modules import systemd_unit

SYSTEMCTL = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/told"
case "$1" in
show) cat "$here/state"; exit ;;
stop) test ! -e "$here/runs" || { echo "Job for web.timer failed." >&2; exit 1; } ;;
enable) test ! -e "$here/sets" || touch "$here/set"
    test ! -e "$here/fails" || { echo "Job for web.socket failed." >&2; exit 1; } ;;
esac
"""
RUNNING = "Id=web.timer\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\nMainPID=0\n"


class Machine:
    """The module on a machine with a double of systemctl."""

    def __init__(self, path: Path, run_module: Any) -> None:
        self.path, self.run_module = path, run_module
        self.bin, self.files = path / "bin", path / "files"
        self.bin.mkdir()
        self.files.mkdir()
        (self.bin / "systemctl").write_text(SYSTEMCTL)
        (self.bin / "systemctl").chmod(0o755)
        self.state(RUNNING)

    def state(self, text: str) -> None:
        (self.bin / "state").write_text(text)

    def told(self) -> list[str]:
        """What systemctl was told since the last call, without questions."""
        told = self.bin / "told"
        lines = told.read_text().splitlines() if told.exists() else []
        told.write_text("")
        return [line for line in lines if not line.startswith("show")]

    def run(self, **given: Any) -> dict[str, Any]:
        content, check_mode = given.pop("content", "one"), given.pop("check_mode", False)
        arguments = {
            "name": "web",
            "start": "timer",
            "directories": [str(self.files / "program")],
            "files": [
                {"dest": str(self.files / "web.timer"), "content": content},
                {"dest": str(self.files / "program" / "password"), "secret": given.pop("secret", "hidden")},
            ],
            "leaves": [str(self.files / "state.prom"), str(self.files / "program")],
            **given,
        }
        return self.run_module("systemd_unit", programs=self.bin, check_mode=check_mode, **arguments)


@pytest.fixture
def machine(tmp_path: Path, run_module: Any, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(systemd_unit, "STARTED_DIRECTORY", str(tmp_path / "units"))
    monkeypatch.setattr(systemd_unit, "UNITS_DIRECTORY", str(tmp_path / "files"))
    return Machine(tmp_path, run_module)


START = ["stop web.timer", "daemon-reload", "enable --now web.timer"]
STOPPED = RUNNING.replace("=active", "=inactive")


def test_first_and_second_run(machine: Machine) -> None:
    first = machine.run()
    assert first["actions"] == [
        f"create {machine.files}/program",
        f"write {machine.files}/web.timer",
        f"write {machine.files}/program/password",
        "start web.timer",
    ]
    assert machine.told() == START
    assert (machine.files / "program" / "password").stat().st_mode & 0o777 == 0o400
    assert "hidden" not in json.dumps(first["diff"])
    assert not machine.run()["changed"]
    assert machine.told() == []


@pytest.mark.parametrize("given", [{"content": "two"}, {"secret": "another"}])
def test_another_file_restarts_it(machine: Machine, given: dict[str, Any]) -> None:
    machine.run()
    machine.told()
    assert machine.run(**given)["changed"]
    assert machine.told() == START
    assert not machine.run(**given)["changed"]


@pytest.mark.parametrize(
    ("state", "value"), [("ActiveState", "inactive"), ("UnitFileState", "disabled"), ("NeedDaemonReload", "yes")]
)
def test_a_unit_that_does_not_run_as_its_file_says_is_started(machine: Machine, state: str, value: str) -> None:
    machine.run()
    machine.told()
    machine.state(RUNNING.replace(next(line for line in RUNNING.splitlines() if state in line), f"{state}={value}"))
    assert machine.run()["actions"] == ["start web.timer again"]
    assert machine.told() == START[1:]


def by_hand(machine: Machine) -> None:
    (machine.files / "web.timer").write_text("other")


def directory_by_hand(machine: Machine) -> None:
    (machine.files / "program").chmod(0o777)


@pytest.mark.parametrize("change", [by_hand, directory_by_hand])
def test_what_was_changed_by_hand_is_put_right_and_restarted(machine: Machine, change: Any) -> None:
    machine.run()
    machine.told()
    change(machine)
    assert machine.run()["changed"]
    assert machine.told() == START
    assert (machine.files / "web.timer").read_text() == "one"
    assert not machine.run()["changed"]


def test_a_start_that_failed_is_repeated_by_the_next_run(machine: Machine) -> None:
    (machine.bin / "fails").touch()
    failed = machine.run()
    assert failed["msg"] == "`systemctl enable --now web.timer` failed: Job for web.socket failed."
    assert machine.run()["failed"]
    (machine.bin / "fails").unlink()
    machine.told()
    assert machine.run()["actions"] == ["start web.timer"]
    assert machine.told() == START
    assert not machine.run()["changed"]


def test_a_file_in_the_way_is_named(machine: Machine) -> None:
    (machine.files / "web.timer").mkdir()
    assert machine.run()["msg"] == f"{machine.files}/web.timer cannot be read or written: Is a directory."
    assert machine.told() == []


def test_check_mode_changes_nothing(machine: Machine) -> None:
    assert machine.run(check_mode=True)["actions"][-1] == "start web.timer"
    assert os.listdir(machine.files) == []
    machine.run()
    machine.told()
    assert machine.run(check_mode=True, content="two")["changed"]
    assert machine.run(check_mode=True, state="absent")["changed"]
    assert (machine.files / "web.timer").read_text() == "one"
    assert machine.told() == []
    assert not machine.run()["changed"]


def test_absent_leaves_nothing(machine: Machine) -> None:
    machine.run()
    (machine.files / "state.prom").touch()
    (machine.files / "others.prom").touch()
    machine.told()
    gone = machine.run(state="absent", files=[])
    assert gone["actions"][-1] == f"remove {machine.files}/web.timer"
    assert machine.told() == ["stop web.timer", "disable web.timer", "reset-failed web.*", "daemon-reload"]
    assert os.listdir(machine.files) == ["others.prom"]
    assert os.listdir(machine.path / "units") == []
    assert not machine.run(state="absent", files=[])["changed"]
    assert machine.told() == []


class Answers(BaseHTTPRequestHandler):
    """Answers each path with the status and text that it names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path[1:4]))
        self.end_headers()
        self.wfile.write(b"first line\nthe cause.\n")

    def log_message(self, *words: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_it_is_started_once_it_answers(machine: Machine, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert machine.run(probe_url=f"{url}/500")["msg"] == f"{url}/500 does not answer: the cause."
    assert machine.run(probe_url=f"{url}/200")["actions"] == ["start web.timer"]
    assert not machine.run(probe_url=f"{url}/200")["changed"]


def test_an_address_that_refuses_connections_is_named(machine: Machine) -> None:
    message = "http://127.0.0.1:1/ does not answer: [Errno 111] Connection refused."
    assert machine.run(probe_url="http://127.0.0.1:1/")["msg"] == message


def test_a_socket_is_stopped_with_its_service(machine: Machine) -> None:
    machine.state("\n".join(RUNNING.replace("web.timer", name) for name in ("web.socket", "web.service")))
    machine.run(start="socket")
    assert machine.told()[0] == "stop web.socket web.service"


def test_what_does_not_run_is_not_stopped(machine: Machine) -> None:
    machine.state(STOPPED)
    machine.run()
    assert machine.told() == START[1:]


@pytest.mark.parametrize("given", [{"content": "two"}, {"state": "absent", "files": []}])
def test_what_cannot_be_stopped_ends_the_run(machine: Machine, given: dict[str, Any]) -> None:
    """Otherwise an old program would go on under new files, or without any."""
    machine.run()
    (machine.bin / "runs").touch()
    assert machine.run(**given)["msg"] == "`systemctl stop web.timer` failed: Job for web.timer failed."
    assert (machine.files / "web.timer").exists()
    (machine.bin / "runs").unlink()
    assert machine.run(**given)["changed"]


def test_what_a_unit_has_set_up_is_set_up_again(machine: Machine) -> None:
    (machine.bin / "sets").touch()
    proof = {"proof_command": ["test", "-e", str(machine.bin / "set")]}
    machine.run(**proof)
    assert not machine.run(**proof)["changed"]
    machine.told()
    (machine.bin / "set").unlink()
    assert machine.run(check_mode=True, **proof)["actions"] == ["start web.timer again"]
    assert machine.told() == []
    assert machine.run(**proof)["actions"] == ["start web.timer again"]
    assert machine.told() == START
    assert (machine.bin / "set").exists()


def test_a_unit_that_sets_up_nothing_fails(machine: Machine) -> None:
    command = ["test", "-e", str(machine.bin / "set")]
    assert machine.run(proof_command=command)["msg"] == f"web.timer has started, but `{' '.join(command)}` fails."
    # The next run tries again.
    assert machine.run(proof_command=command)["failed"]


def test_a_service_that_starts_with_the_server(machine: Machine) -> None:
    machine.state(RUNNING.replace("web.timer", "web.service"))
    assert "start web.service" in machine.run(start="service")["actions"]
    assert machine.told() == ["stop web.service", "daemon-reload", "enable --now web.service"]
    assert not machine.run(start="service")["changed"]
