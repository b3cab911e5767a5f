"""The program that runs an application's scheduled commands, with a double of Docker's program."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "roles" / "flask_app" / "files" / "run_scheduled.py"
# Records each call with its input; a container is there from `compose run` until `rm`.
DOCKER = """#!{python}
import json, os, pathlib, signal, sys, time
place = pathlib.Path(__file__).parent
container, words = place / "container", sys.argv[1:]
if words[0] == "ps":
    print("4f1c" if container.exists() else "")
elif words[0] == "rm":
    container.unlink()
else:
    container.touch()
    (place / "called").write_text(json.dumps({{"words": words, "document": json.load(sys.stdin)}}))
    command = words[-1]
    if command == "hangs":
        (place / "hanging").touch()
        signal.pause()
    print("printed")
    container.unlink()
    sys.exit(int(command))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    docker = tmp_path / "docker"
    docker.write_text(DOCKER.format(python=sys.executable))
    docker.chmod(0o755)
    spec = importlib.util.spec_from_file_location("run_scheduled", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return module


def settings(tmp_path: Path, command: str, **given: Any) -> dict[str, Any]:
    service = {"image": "miniweb/app:1", "healthcheck": {"test": ["CMD", "true"]}, "mem_reservation": "128m"}
    (tmp_path / "compose.yaml").write_text(json.dumps({"services": {"app": service}}))
    return {
        "application": "app",
        "name": "cleanup",
        "project": "miniweb-app",
        "directory": str(tmp_path),
        "launcher": ["python", "launch.py"],
        "command": ["flask", command],
        "timeout_seconds": 60,
        "memory_limit": "64m",
        "metrics_file": str(tmp_path / "figures.prom"),
        **given,
    }


def run(program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, **given: Any) -> int:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings(tmp_path, command, **given)))
    monkeypatch.setattr(sys, "argv", ["run_scheduled.py", str(file)])
    monkeypatch.setattr(program.signal, "signal", lambda *_: None)
    return int(program.main())


def figures(tmp_path: Path) -> dict[str, float]:
    lines = [line for line in (tmp_path / "figures.prom").read_text().splitlines() if not line.startswith("#")]
    head, labels = "miniweb_scheduled_command_", '{application="app",name="cleanup"}'
    return {line.split()[0].removeprefix(head).removesuffix(labels): float(line.split()[1]) for line in lines}


def test_the_container_is_that_of_the_application_of_this_moment(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(program, monkeypatch, tmp_path, "0") == 0
    called = json.loads((tmp_path / "called").read_text())
    assert called["document"]["services"]["app"] == {
        "image": "miniweb/app:1",
        "healthcheck": {"disable": True},
        "mem_limit": "64m",
    }
    words = called["words"]
    assert words[words.index("--name") + 1] == "miniweb-app_cleanup"
    assert words[words.index("--entrypoint") + 1 :] == ["python", "app", "launch.py", "flask", "0"]
    assert words[words.index("--project-directory") + 1] == str(tmp_path)


def test_a_failure_is_reported_and_keeps_the_time_of_the_last_success(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(program, monkeypatch, tmp_path, "3") == 1
    assert (figures(tmp_path)["failed"], "last_success_timestamp_seconds" in figures(tmp_path)) == (1, False)
    assert "printed" in (said := capfd.readouterr().out)
    assert "`flask 3` exited with 3." in said
    assert run(program, monkeypatch, tmp_path, "0") == 0
    succeeded = figures(tmp_path)
    assert succeeded["failed"] == 0
    assert run(program, monkeypatch, tmp_path, "4") == 1
    assert figures(tmp_path)["last_success_timestamp_seconds"] == succeeded["last_success_timestamp_seconds"]


def test_what_takes_too_long_is_ended_and_has_failed(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(program, monkeypatch, tmp_path, "hangs", timeout_seconds=0.5) == 1
    assert "its timeout_minutes" in capfd.readouterr().out
    assert figures(tmp_path)["failed"] == 1
    assert not (tmp_path / "container").exists()


def test_what_an_interruption_has_left_is_removed_first(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "container").touch()
    assert run(program, monkeypatch, tmp_path, "0") == 0
    assert not (tmp_path / "container").exists()


def test_when_it_is_stopped_its_container_is_removed_and_it_has_failed(program: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings(tmp_path, "hangs")))
    with subprocess.Popen([sys.executable, str(PROGRAM), str(file)]) as process:
        while not (tmp_path / "hanging").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 1
    assert not (tmp_path / "container").exists()
    assert figures(tmp_path)["failed"] == 1


@pytest.mark.parametrize("case", ["without an application", "without Docker"])
def test_what_is_missing_is_named(
    program: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    case: str,
) -> None:
    given: dict[str, Any] = {}
    if case == "without Docker":
        monkeypatch.setattr(program, "DOCKER", "no-such-docker")
    else:
        given["directory"] = str(tmp_path / "gone")
    assert run(program, monkeypatch, tmp_path, "0", **given) == 1
    said = capfd.readouterr().out
    assert ("Docker cannot be used" if case == "without Docker" else "The application is not there") in said
    assert figures(tmp_path)["failed"] == 1


def test_without_node_exporter_nothing_is_left(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(program, monkeypatch, tmp_path, "0", metrics_file="") == 0
    assert run(program, monkeypatch, tmp_path, "0", metrics_file=str(tmp_path / "gone" / "f.prom")) == 0
    assert not list(tmp_path.rglob("*.prom"))
