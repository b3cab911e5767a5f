"""stray_services: in a playbook on this machine, with a docker program that answers as the engine does."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants
from ansible_collections.miniweb.stack.plugins.action.stray_services import ActionModule, removal, sentence
from ansible_collections.miniweb.stack.plugins.modules.stray_services import made
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import remember

ROOT = Path(__file__).resolve().parents[2]
DOCKER = """\
#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/told"
cat "$here/containers"
exec sh "$here/end"
"""
PLAYBOOK = """\
- hosts: www
  gather_facts: false
  tasks:
{imports}
    - miniweb.stack.stray_services:
        roles: "{{{{ ansible_play_role_names + ['miniweb.stack.grafana'] }}}}"
        known: {known}
        directory: {directory}
        units: {units}
      register: found
    - ansible.builtin.copy:
        content: "{{{{ [found.strays, found.scheduled] | to_json }}}}"
        dest: {result}
        mode: "0600"
      check_mode: false
"""


def container(name: str, project: str, directory: str) -> str:
    return f"{name}\t{project}\t{directory}\n"


def stray(name: str, *containers: str, directory: str = "") -> dict[str, Any]:
    return {"name": name, "containers": list(containers), "directory": directory or f"/opt/miniweb/{name}"}


# -- the parts --------------------------------------------------------------------------------------------------------


def test_made() -> None:
    listing = container("miniweb-shop-shop-1", "miniweb-shop", "/opt/miniweb/shop")
    listing += container("miniweb-shop-shop-run-1", "miniweb-shop", "/opt/miniweb/shop")
    listing += container("other", "other", "/srv") + container("loose", "", "") + container("x", "miniweb-$(x)", "/")
    assert made(listing, ["shop", "till", "$(x)"], "/opt/miniweb") == {
        "shop": stray("shop", "miniweb-shop-shop-1", "miniweb-shop-shop-run-1"),
        "till": stray("till"),
    }


@pytest.mark.parametrize(
    ("directory", "more"),
    [("", ""), ("/srv/shop", " directory=/srv/shop"), ("/srv/$(x)", ""), ("/srv/a b", ""), ("/srv/x\n", "")],
)
def test_removal(directory: str, more: str) -> None:
    command = f'ansible www -b -m miniweb.stack.compose_service -a "name=shop state=absent{more}"'
    assert removal("www", stray("shop", directory=directory)) == command


@pytest.mark.parametrize(
    ("containers", "what"), [(["a-1", "a-2"], "a-1, a-2"), ([], "/opt/miniweb/shop")], ids=["containers", "directory"]
)
def test_sentence(containers: list[str], what: str) -> None:
    assert sentence("www", {**stray("shop", *containers), "remove": "a command"}) == (
        f'The service "shop" is left on www ({what}), but no role of this play manages it: remove it with `a command`, '
        "or add its role to the play."
    )


# -- the whole --------------------------------------------------------------------------------------------------------


class Project:
    """A playbook with roles of its own, for a server that is this machine."""

    def __init__(self, path: Path) -> None:
        self.path, self.bin, self.services, self.units = path, path / "bin", path / "miniweb", path / "units"
        self.bin.mkdir()
        self.units.mkdir()
        (self.bin / "docker").write_text(DOCKER)
        (self.bin / "docker").chmod(0o755)
        self.answer("")
        self.roles: list[str] = []
        self.scheduled: list[dict[str, Any]] = []

    def answer(self, containers: str, end: str = "exit 0") -> None:
        (self.bin / "containers").write_text(containers)
        (self.bin / "end").write_text(end)

    def add_role(self, name: str, services: str | None, defaults: str = "{}") -> None:
        for part, text in (("defaults/main", defaults), ("meta/service", services)):
            if text is not None:
                file = self.path / "roles" / name / f"{part}.yml"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        self.roles.append(name)

    def add_directory(self, name: str, *files: str) -> None:
        (self.services / name).mkdir(parents=True)
        for file in files:
            (self.services / name / file).write_text("{}")

    def play(self, *words: str, known: str = "[]") -> subprocess.CompletedProcess[str]:
        playbook, inventory, result = (self.path / name for name in ("play.yml", "inventory", "result"))
        inventory.write_text(f"www ansible_connection=local ansible_python_interpreter={sys.executable}\n")
        imports = "\n".join(f"    - ansible.builtin.import_role: {{name: {role}}}" for role in self.roles)
        values = {"imports": imports, "known": known, "directory": self.services, "units": self.units, "result": result}
        playbook.write_text(PLAYBOOK.format(**values))
        environment = {
            **os.environ,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "ANSIBLE_NOCOLOR": "1",
            "COLUMNS": "1000",
        }
        environment |= {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(self.path / "elsewhere")}
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(playbook), *words]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    def strays(self, *words: str, known: str = "[]") -> list[dict[str, Any]]:
        done = self.play(*words, known=known)
        assert done.returncode == 0, done.stdout + done.stderr
        found, self.scheduled = json.loads((self.path / "result").read_text())
        warned = [line for line in done.stderr.splitlines() if "is left on" in line]
        names = [f'The service "{one["name"]}"' for one in found]
        names += [f"The scheduled command {one['unit']}" for one in self.scheduled]
        for one, name, line in zip([*found, *self.scheduled], names, warned, strict=True):
            assert f"{name} is left on www" in line
            assert one["remove"] in line
        return found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_services_that_no_role_declares_are_named(project: Project) -> None:
    project.add_role("app", 'services: ["{{ app_name }}", app_exporter]', "app_name: till")
    project.add_role("engine", "services: []")
    project.add_role("plain", None)
    project.add_directory("till", "state.json")
    project.add_directory("responder", "password")
    project.add_directory("forgotten", "state.json")
    project.add_directory("contributions", "prometheus.pem")
    listing = container("miniweb-till-till-1", "miniweb-till", "/opt/miniweb/till")
    listing += container("miniweb-app_exporter-1", "miniweb-app_exporter", "/opt/miniweb/app_exporter")
    listing += container("miniweb-grafana-grafana-1", "miniweb-grafana", "/opt/miniweb/grafana")
    project.answer(listing + container("miniweb-app-app-1", "miniweb-app", "/opt/miniweb/app"))
    remove = 'ansible www -b -m miniweb.stack.compose_service -a "name={}"'
    lying = stray("forgotten", directory=str(project.services / "forgotten"))
    expected = [
        {**stray("app", "miniweb-app-app-1"), "remove": remove.format("app state=absent")},
        {**lying, "remove": remove.format(f"forgotten state=absent directory={lying['directory']}")},
    ]
    for words in ((), ("--check",)):
        assert project.strays(*words) == expected
        told = (project.bin / "told").read_text().splitlines()
        assert told[-1].startswith("ps --all --filter label=miniweb.stack.configuration --format {{.Names}}\t")
    assert project.strays(known="[app, forgotten]") == []


@pytest.mark.parametrize(
    ("found", "traces", "given", "asked"),
    [
        ([], [], {}, False),
        (["shop"], ["shop", "miniweb-shop_cleanup", "miniweb-mysql-logs"], {}, False),
        (["shop", "forgotten"], [], {}, True),
        (["shop"], ["miniweb-forgotten_cleanup"], {}, True),
        (None, None, {}, True),
        (["shop"], [], {"directory": "/srv"}, True),
    ],
    ids=["none", "all known", "a stray", "a scheduled command", "not known", "another directory"],
)
def test_a_server_without_strays_at_the_start_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    found: list[str] | None,
    traces: list[str] | None,
    given: dict[str, str],
    asked: bool,
) -> None:
    here = {"inventory_hostname": "www", "ansible_play_name": "The whole system"}
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda self, tmp, task_vars: {})
    calls: list[dict[str, Any]] = []

    def execute(**call: Any) -> dict[str, Any]:
        calls.append(call["module_args"])
        return {"changed": False, "strays": [], "scheduled": []}

    remember(here, services=found, traces=traces)
    action = object.__new__(ActionModule)
    action._task = SimpleNamespace(args={"known": ["shop"], **given})
    action._execute_module = execute
    assert action.run(task_vars=here) == {"changed": False, "strays": [], "scheduled": []}
    assert bool(calls) is asked


def test_scheduled_commands_of_applications_that_are_gone_are_named(project: Project) -> None:
    project.add_role("app", "services: [shop, shop-worker]")
    for unit in (
        "miniweb-shop_cleanup",
        "miniweb-blog_tick",
        "miniweb-shop-two_tick",
        "miniweb-mysql-logs",
        "apt-daily",
    ):
        (project.units / f"{unit}.timer").write_text("")
        (project.units / f"{unit}.service").write_text("")
    project.add_directory("schedule")
    paths = ["/opt/miniweb/schedule/miniweb-blog_tick.py", "/var/lib/metrics/miniweb-blog_tick.prom"]
    settings = json.dumps({"application": "blog", "leaves": [*paths, "/tmp/$(x)", 1]})
    (project.services / "schedule" / "miniweb-blog_tick.json").write_text(settings)
    (project.services / "schedule" / "miniweb-shop-two_tick.json").write_text("{")
    assert project.strays() == []
    blog, shop_two = project.scheduled
    assert shlex.split(blog["remove"])[:6] == ["ansible", "www", "-b", "-m", "miniweb.stack.systemd_unit", "-a"]
    absent = {"state": "absent", "start": "timer"}
    assert json.loads(shlex.split(blog["remove"])[6]) == {"name": "miniweb-blog_tick", **absent, "leaves": paths}
    assert json.loads(shlex.split(shop_two["remove"])[6]) == {"name": "miniweb-shop-two_tick", **absent}
    assert project.strays(known="[blog, shop-two]") == project.scheduled == []


@pytest.mark.parametrize(
    ("services", "sentence"),
    [
        (
            "services: app",
            "roles/app/meta/service.yml: services is 'app': list the names of the role's services, or [].",
        ),
        (
            'services: ["{{ app_nam }}"]',
            "roles/app/meta/service.yml: services cannot be evaluated without their variables (",
        ),
    ],
)
def test_a_role_that_does_not_declare_its_services(project: Project, services: str, sentence: str) -> None:
    project.add_role("app", services)
    done = project.play()
    assert done.returncode == 2
    assert sentence in done.stderr + done.stdout


def test_an_engine_that_does_not_answer(project: Project) -> None:
    project.answer("", end="echo Cannot connect. >&2; exit 1")
    done = project.play()
    assert done.returncode == 2
    assert "cannot be listed (Cannot connect): look at systemctl status docker." in done.stderr + done.stdout
