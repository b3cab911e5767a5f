"""Notes of what is done: they hold as long as nothing that they name changes, and save later runs their checks."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants
from ansible.plugins.loader import lookup_loader
from ansible_collections.miniweb.stack.plugins.module_utils import settled as notes
from ansible_collections.miniweb.stack.plugins.module_utils.compose.contributions import Index, Reader, Store
from ansible_collections.miniweb.stack.plugins.plugin_utils import settled as look
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import SettledAction

PROGRAMS = {
    "docker": """
case "$*" in
  "ps "*) test -e ANSWERS && cat LISTED ;;
  "inspect "*) cat INSPECTED ;;
esac
""",
    "systemctl": "cat UNITS\n",
    "dpkg-query": "cat PACKAGES\n",
    "ask": "cat REPLY\n",
}
CONTAINER = """[{"Id": "c1", "State": {"Status": "STATUS", "Health": {"Status": "healthy"}}, "RestartCount": 0,
  "HostConfig": {"Memory": MEMORY}, "Config": {"Labels": {"com.docker.compose.project": "PROJECT",
  "com.docker.compose.oneoff": "ONEOFF"}}}]"""
PROJECT = "com.docker.compose.project"
UNITS = "Id=web.timer\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\nMainPID=0\n"


class Machine:
    """A server of files below one directory, with programs that print them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "bin").mkdir()
        for name, text in PROGRAMS.items():
            for word in ("ANSWERS", "LISTED", "INSPECTED", "UNITS", "PACKAGES", "REPLY"):
                text = text.replace(word, f"{path}/{word}")
            (path / "bin" / name).write_text(f"#!/bin/sh\n{text}")
            (path / "bin" / name).chmod(0o755)
        self.write("ANSWERS", "")
        self.write("LISTED", "c1\n")
        self.container()
        self.write("UNITS", UNITS)
        self.write("PACKAGES", "docker.io installed 26.1.5\niptables installed 1.8\n")
        self.write("REPLY", "root localhost\n")
        self.write("page", "hello")
        (path / "directory").mkdir()
        self.contribute()
        self.notes = notes.Notes(self, str(path / "settled"))  # type: ignore[arg-type]

    def contribute(self) -> None:
        """The service mysql has contributed a file to web, which has loaded it."""
        store = Store(str(self.path / "contributions"))
        reader = Reader(str(self.path), os.getuid())
        store.save_index("web", Index({"mysql.yml": ["mysql"]}, reader))
        store.put("web", "mysql.yml", b"rules")
        store.save_index("web", Index({"mysql.yml": ["mysql"]}, reader, store.hash("web")))

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def container(
        self, status: str = "running", memory: int = 64, project: str = "miniweb-web", one_off: str = "False"
    ) -> None:
        text = CONTAINER.replace("STATUS", status).replace("MEMORY", str(memory)).replace("PROJECT", project)
        self.write("INSPECTED", text.replace("ONEOFF", one_off))

    # -- what an AnsibleModule offers ---------------------------------------------------------------------------------

    def get_bin_path(self, name: str) -> str | None:
        path = self.path / "bin" / name
        return str(path) if path.exists() else None

    def run_command(self, words: list[str], **given: Any) -> tuple[int, str, str]:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def remove(machine: Machine, name: str) -> None:
    os.unlink(machine.path / name)


def touched(machine: Machine) -> None:
    """Change only the ctime, as a change of owner does: content and mode stay."""
    path = machine.path / "page"
    path.chmod(path.stat().st_mode)


def conditions(machine: Machine, kind: str) -> list[notes.Condition]:
    """Conditions of a kind, as a module would note them now."""
    path = str(machine.path)
    server = notes.Server(machine, [])  # type: ignore[arg-type]
    found = {
        "file": lambda: notes.files(f"{path}/page"),
        "written": lambda: notes.written(f"{path}/page"),
        "directory": lambda: notes.files(f"{path}/directory"),
        "no file": lambda: notes.files(f"{path}/nothing"),
        "until": lambda: [notes.until(time.time() + 60)],
        "packages": lambda: [notes.packages("docker.io", "iptables")],
        "unit": lambda: notes.unit_conditions(machine, ["web.timer"]),  # type: ignore[arg-type]
        "answer": lambda: [notes.answer(machine, f"{path}/bin/ask")],  # type: ignore[arg-type]
        "containers": lambda: [
            ["containers", "miniweb-web", {one.container.id: one.container.mark for one in server.listed or ()}]
        ],
        "no containers": lambda: [["no_containers", "miniweb-shop"]],
        "owned": lambda: [["owned", f"{path}/directory", os.getuid()]],
        "another's": lambda: [["owned", f"{path}/directory", os.getuid() + 1]],
        "reader": lambda: [["reader", f"{path}/contributions", "web"]],
        "contributions": lambda: [["contributions", f"{path}/contributions", "mysql", [["web", "mysql.yml"]]]],
        "unknown": lambda: [["of a later version", "x"]],
        "other arguments": lambda: [["file", f"{path}/page"]],
        "no condition": lambda: ["file"],
    }
    return found[kind]()


@pytest.mark.parametrize(
    ("kind", "change", "holds"),
    [
        ("file", lambda m: None, True),
        ("file", lambda m: m.write("page", "other"), False),
        # Replaced by the same content: what happened in between is unknown.
        ("file", lambda m: (remove(m, "page"), m.write("page", "hello")), False),
        ("file", lambda m: (m.path / "page").chmod(0o600), False),
        ("file", lambda m: remove(m, "page"), False),
        ("file", touched, False),
        ("written", touched, True),
        ("written", lambda m: m.write("page", "other"), False),
        ("written", lambda m: (m.path / "page").chmod(0o600), False),
        ("written", lambda m: remove(m, "page"), False),
        ("directory", lambda m: m.write("directory/other", "x"), True),
        ("directory", lambda m: (m.path / "directory").chmod(0o700), False),
        ("directory", lambda m: (m.path / "directory").rmdir(), False),
        ("no file", lambda m: None, True),
        ("no file", lambda m: m.write("nothing", ""), False),
        ("until", lambda m: None, True),
        ("packages", lambda m: None, True),
        ("packages", lambda m: m.write("PACKAGES", "docker.io installed\niptables config-files\n"), False),
        ("packages", lambda m: m.write("PACKAGES", ""), False),
        ("unit", lambda m: None, True),
        ("unit", lambda m: m.write("UNITS", UNITS.replace("=active", "=failed")), False),
        ("unit", lambda m: m.write("UNITS", UNITS.replace("MainPID=0", "MainPID=7")), False),
        ("unit", lambda m: remove(m, "bin/systemctl"), False),
        ("answer", lambda m: None, True),
        ("answer", lambda m: m.write("REPLY", "root localhost\nevil %\n"), False),
        ("answer", lambda m: remove(m, "REPLY"), False),
        ("answer", lambda m: remove(m, "bin/ask"), False),
        ("owned", lambda m: None, True),
        ("owned", lambda m: m.write("directory/more", "x"), True),
        ("owned", lambda m: (m.path / "directory").rename(m.path / "gone"), False),
        ("another's", lambda m: None, True),
        ("another's", lambda m: m.write("directory/more", "x"), False),
        ("reader", lambda m: None, True),
        ("reader", lambda m: m.write("contributions/web/shop.yml", "x"), False),
        ("contributions", lambda m: None, True),
        ("contributions", lambda m: m.write("contributions/web.json", "{}"), False),
        ("other arguments", lambda m: None, False),
        ("no condition", lambda m: None, False),
        ("containers", lambda m: None, True),
        ("containers", lambda m: m.container(status="exited"), False),
        ("containers", lambda m: m.container(memory=128), False),
        ("containers", lambda m: m.write("LISTED", ""), False),
        ("containers", lambda m: remove(m, "ANSWERS"), False),
        ("containers", lambda m: m.container(one_off="True"), False),
        ("no containers", lambda m: None, True),
        ("no containers", lambda m: m.container(project="miniweb-shop"), False),
        # An engine that does not answer does not prove that there are none.
        ("no containers", lambda m: remove(m, "ANSWERS"), False),
        ("unknown", lambda m: None, False),
    ],
)
def test_a_note_holds_for_as_long_as_nothing_changes(
    machine: Machine, kind: str, change: Callable[[Machine], Any], holds: bool
) -> None:
    machine.notes.write("thing/web", "digest", conditions(machine, kind), {"actions": []})
    change(machine)
    wanted = {"thing/web": {"digest": "digest", "result": {"actions": []}}} if holds else {}
    assert machine.notes.holding() == wanted


def test_a_note_that_has_expired(machine: Machine) -> None:
    machine.notes.write("thing/web", "digest", [notes.until(time.time() - 1)], {})
    assert machine.notes.holding() == {}


def test_a_note_does_not_hold_on_a_failed_program(machine: Machine) -> None:
    remove(machine, "REPLY")
    machine.notes.write("thing/web", "digest", conditions(machine, "answer"), {})
    assert machine.notes.holding() == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"digest": ""}'])
def test_a_note_that_cannot_be_read_is_ignored(machine: Machine, text: str) -> None:
    machine.notes.write("thing/web", "digest", [], {})
    machine.write("settled/thing%web.json", text)
    assert machine.notes.holding() == {}


def test_nothing_is_noted_without_a_request_from_an_action(machine: Machine) -> None:
    machine.notes.write("thing/web", None, [], {})
    assert machine.notes.holding() == {}


def test_notes_are_for_root_alone(machine: Machine) -> None:
    machine.notes.write("thing/web", "digest", [], {})
    directory = machine.path / "settled"
    assert [oct(path.stat().st_mode & 0o777) for path in (directory, *directory.iterdir())] == ["0o700", "0o600"]


def test_traces_are_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's project, a directory, the owner of a contribution, and systemd's units."""
    for name, directory in (("BASE_DIRECTORY", "."), ("UNITS_DIRECTORY", "etc"), ("STARTED_DIRECTORY", "units")):
        monkeypatch.setattr(notes, name, str(machine.path / directory))
    assert {"web", "directory", "mysql"} <= set(machine.notes.traces() or ())
    (machine.path / "etc").mkdir()
    machine.write("etc/backup.timer", "")
    machine.notes.holding()
    assert "backup" in (machine.notes.traces() or ())
    remove(machine, "ANSWERS")
    machine.notes.holding()
    assert machine.notes.traces() is None


def test_services_are_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the label of their containers, and by what compose_service writes into their directories."""
    monkeypatch.setattr(notes, "BASE_DIRECTORY", str(machine.path))
    monkeypatch.setattr(notes, "CONFIGURATION_LABEL", PROJECT)
    machine.write("directory/state.json", "{}")
    assert machine.notes.services() == ["directory", "web"]
    monkeypatch.setattr(notes, "CONFIGURATION_LABEL", "a label that it does not have")
    assert machine.notes.services() == ["directory"]
    remove(machine, "ANSWERS")
    machine.notes.holding()
    assert machine.notes.services() is None


# -- the controller ---------------------------------------------------------------------------------------------------


class Action(SettledAction):
    """The action of a module that never really runs."""

    MODULE = "compose_service"
    KEY = "name"
    REMOVES = True
    NOT_REMOVED = ("remove_volumes",)

    def __init__(self, arguments: dict[str, Any], answer: dict[str, Any], **task: Any) -> None:
        given = {"args": arguments, "delegate_to": None, "check_mode": False, "async_val": 0, **task}
        self._task = SimpleNamespace(**given)  # type: ignore[assignment]
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def _execute_module(self, name: str, arguments: dict[str, Any], task_vars: Any) -> dict[str, Any]:  # type: ignore[override]
        self.asked.append(arguments)
        return self.answer


@pytest.fixture
def perform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[dict[str, Any], int]]:
    """Run the action; return its result and how often the module ran."""
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda self, tmp, task_vars: {})

    def run(arguments: dict[str, Any], answer: dict[str, Any] | None = None, **task: Any) -> tuple[dict[str, Any], int]:
        action = Action(arguments, answer or {"changed": False}, **task)
        return action.run(task_vars=HERE), len(action.asked)

    return run


HERE = {"inventory_hostname": "web", "ansible_play_name": "The whole system"}
WEB = {"name": "web", "definition": {"image": "web:1"}}


def noted(arguments: dict[str, Any]) -> dict[str, Any]:
    digest = look.digest_of("compose_service", arguments)
    return {"compose_service/web": {"digest": digest, "result": {"actions": [], "container_id": "c1"}}}


def test_without_notes_the_module_runs(perform) -> None:
    assert perform(WEB) == ({"changed": False}, 1)


def test_the_module_does_not_run_for_what_is_noted(perform) -> None:
    look.remember(HERE, settled=noted(WEB))
    assert perform(WEB) == ({"changed": False, "actions": [], "container_id": "c1"}, 0)
    assert perform(WEB, check_mode=True)[1] == 0


@pytest.mark.parametrize(
    ("arguments", "task"),
    [
        ({**WEB, "definition": {"image": "web:2"}}, {}),
        ({**WEB, "name": "shop"}, {}),
        (WEB, {"delegate_to": "other"}),
    ],
    ids=["another question", "another service", "another host"],
)
def test_the_module_runs_for_what_is_not_noted(perform, arguments: dict[str, Any], task: dict[str, Any]) -> None:
    look.remember(HERE, settled=noted(WEB))
    assert perform(arguments, **task)[1] == 1


@pytest.mark.parametrize(
    ("answer", "task", "runs"),
    [
        ({"changed": False}, {}, 0),
        ({"changed": True}, {}, 1),
        ({"changed": False, "failed": True}, {}, 1),
        ({"changed": True}, {"check_mode": True}, 0),
    ],
)
def test_after_a_change_notes_are_not_used_any_more(
    perform, answer: dict[str, Any], task: dict[str, Any], runs: int
) -> None:
    look.remember(HERE, settled=noted(WEB))
    perform({**WEB, "name": "shop"}, answer, **task)
    assert perform(WEB)[1] == runs


def test_a_host_does_not_use_notes_of_another(perform) -> None:
    look.remember({**HERE, "inventory_hostname": "other"}, settled=noted(WEB))
    assert perform(WEB)[1] == 1


def test_another_play_does_not_use_the_notes(perform) -> None:
    look.remember({**HERE, "ansible_play_name": "Another one"}, settled=noted(WEB))
    assert perform(WEB)[1] == 1


ABSENT = {"name": "web", "state": "absent"}


def test_what_left_no_trace_needs_no_removal(perform) -> None:
    look.remember(HERE, traces=["shop"])
    assert perform(ABSENT) == ({"changed": False, "actions": []}, 0)
    # Nor after a change to something else
    perform({**WEB, "name": "shop"}, {"changed": True})
    assert perform(ABSENT)[1] == 0


@pytest.mark.parametrize(
    ("traces", "arguments", "task"),
    [
        (None, ABSENT, {}),
        (["web"], ABSENT, {}),
        ([], WEB, {}),
        ([], {**ABSENT, "remove_volumes": True}, {}),
        ([], ABSENT, {"delegate_to": "other"}),
    ],
    ids=["not known", "a trace", "present", "volumes", "another host"],
)
def test_otherwise_the_module_runs(perform, traces: Any, arguments: dict[str, Any], task: dict[str, Any]) -> None:
    look.remember(HERE, traces=traces)
    assert perform(arguments, **task)[1] == 1


def test_what_was_deployed_in_this_play_is_removed(perform) -> None:
    look.remember(HERE, traces=[])
    perform(WEB, {"changed": True})
    assert perform(ABSENT)[1] == 1


@pytest.mark.parametrize("found", [{"source": "docker", "missing": []}, {}])
def test_the_engine_is_known_in_its_play(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: dict[str, Any]
) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    assert look.engine_at_start(HERE) == {}
    look.remember(HERE, engine=found)
    assert look.engine_at_start(HERE) == found
    assert look.engine_at_start({**HERE, "ansible_play_name": "Another one"}) == {}


@pytest.mark.parametrize(
    ("disk", "share"), [(None, 1000), (0, 1000), (400, 40), (8000, 800), (10_000, 1000), (500_000, 1000)]
)
def test_a_share_of_the_disk_is_limited(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, disk: int | None, share: int
) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    if disk is not None:
        look.remember(HERE, disk_mb=disk)
    assert lookup_loader.get("miniweb.stack.disk_share").run([10], HERE, most=1000) == [share]


def test_another_play_does_not_use_the_traces(perform) -> None:
    look.remember({**HERE, "ansible_play_name": "Another one"}, traces=[])
    assert perform(ABSENT)[1] == 1


def test_the_digest_changes_with_code_and_variables(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "main.yml").write_text("one")
    first = look.digest_of_role(str(tmp_path), {"port": 80})
    assert first == look.digest_of_role(str(tmp_path), {"port": 80})
    assert first != look.digest_of_role(str(tmp_path), {"port": 81})
    (tmp_path / "tasks" / "main.yml").write_text("two")
    assert first != look.digest_of_role(str(tmp_path), {"port": 80})


@pytest.mark.parametrize(
    ("names", "wanted", "others"),
    [
        (None, [], True),
        ([], [], False),
        (["mysql", "miniweb-application"], [], False),
        (["miniweb-app_cleanup"], ["miniweb-app_cleanup"], False),
        (["miniweb-app_cleanup", "miniweb-app_old"], ["miniweb-app_cleanup"], True),
    ],
)
def test_whether_there_may_be_units_that_are_no_longer_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: list[str] | None, wanted: list[str], others: bool
) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    look.remember(HERE, traces=names)
    lookup = lookup_loader.get("miniweb.stack.may_have_others")
    assert lookup.run(["miniweb-app_"], HERE, wanted=wanted) == [others]
