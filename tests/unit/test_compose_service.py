"""compose_service: the plan, the Compose file, and the whole module with a docker program that records its calls."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import fcntl
import itertools
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import docker_program
import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.miniweb.stack.plugins.module_utils.compose import apply as applying
from ansible_collections.miniweb.stack.plugins.module_utils.compose import contributions as contributed
from ansible_collections.miniweb.stack.plugins.module_utils.compose import engine as engines
from ansible_collections.miniweb.stack.plugins.module_utils.compose import model
from ansible_collections.miniweb.stack.plugins.module_utils.compose import plan as planning
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import FileState
from ansible_collections.miniweb.stack.plugins.module_utils.settled import Notes

ROLES = Path(__file__).resolve().parents[2] / "roles"
SECRET = "s3cr3t-$value"
# Valid for a hundred years
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIUcAr4PdTsm5ajPWqGqfnpq4wvc7QwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYTAgFw0yNjExMjYyMDQyMDJaGA8yMTI2MTEwMjIwNDIwMlow
DDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDL1YXUgygA3
8lhk7Juwgz9m1ZuNnpT/PMWWZDQKTbvjuliTCcCMoOMA3pYWz5mYepIkZfICqJ0b
OLdb03dRxnejUzBRMB0GA1UdDgQWBBQ4S/GnxgOvGM9SHKmbLLzQ1jrFHTAfBgNV
HSMEGDAWgBQ4S/GnxgOvGM9SHKmbLLzQ1jrFHTAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCICajdUx7kbrC3iJQgr7eusvngLnbyukDssr8bxZSjWHq
AiEA8HDHPHJBJgSytHfh4MAsxkFh12/cZ7JC6WyLaNYgseY=
-----END CERTIFICATE-----
"""
PARAMS: dict[str, Any] = {
    "name": "web",
    "definition": {"image": "web:1"},
    "networks": [],
    "volumes": [],
    "shared_volumes": [],
    "build": None,
    "pull": "missing",
    "directories": [],
}


def pem(text: str, ext: str = "pem") -> dict[str, Any]:
    """A certificate for the service probe."""
    return {"reader": "probe", "ext": ext, "content": text}


def files(page: bytes = b"page", conf: bytes = b"conf", secret: str = SECRET) -> list[model.File]:
    return [
        model.File("conf/page", page, reload=True),
        model.File("conf/start", conf),
        model.File("secrets/password", secret.encode(), 0o400, 101, 101, secret=True),
    ]


def as_found(described: list[model.File]) -> dict[str, FileState]:
    return {f.dest: FileState(f.content, f.mode, f.owner, f.group) for f in described if f.content is not None}


class Server:
    """A server with the files of an earlier plan, whose container runs."""

    def __init__(self) -> None:
        plan = planning.make_plan(PARAMS, files(), {}, model.State(), [])
        assert plan.compose
        self.found = {**as_found(files()), **as_found([plan.compose])}
        known = tuple(file.dest for file in files())
        noted = model.State(plan.reload_hash, plan.secrets_mark, known)
        labels = json.loads(plan.compose.content or b"")["services"]["web"]["labels"]
        self.configuration = labels[model.CONFIGURATION_LABEL]
        seen = model.Container("4c01", "running", configuration=self.configuration)
        self.state = planning.seen_healthy(noted, [seen])

    def plan(
        self,
        described: list[model.File] | None = None,
        health: str = "healthy",
        state: str = "running",
        settings: dict[str, str] | None = None,
        restarts: int = 0,
        image: str = "",
        tagged: str = "",
        **changed: Any,
    ) -> model.Plan:
        given = {"settings": settings or {}, "restarts": restarts, "image": image}
        containers = [model.Container("4c01", state, health, self.configuration, **given)]
        described = files() if described is None else described
        return planning.make_plan({**PARAMS, **changed}, described, self.found, self.state, containers, tagged)


@pytest.fixture
def server() -> Server:
    return Server()


def test_fresh() -> None:
    plan = planning.make_plan(PARAMS, files(), {}, model.State(), [])
    writes = [f"write {name}" for name in ("conf/page", "conf/start", "secrets/password", "compose.yaml")]
    assert plan.actions == [*writes, "create"]
    assert (plan.force, plan.start, plan.wait, plan.reload) == (False, False, False, False)
    assert len(plan.secrets_mark) == 16


@pytest.mark.parametrize("health", ["healthy", ""])
def test_nothing_to_do(server: Server, health: str) -> None:
    plan = server.plan(health=health)
    assert plan.actions == []
    assert not plan.wait
    assert plan.secrets_mark == server.state.secrets


@pytest.mark.parametrize(
    ("changed", "actions"),
    [
        ({"definition": {"image": "web:2"}}, ["write compose.yaml", "recreate"]),
        ({"volumes": ["data"]}, ["write compose.yaml", "recreate"]),
        ({"networks": [{"name": "edge", "internal": False}]}, ["write compose.yaml", "recreate"]),
        ({"described": files(page=b"new")}, ["write conf/page", "reload"]),
        ({"described": files(conf=b"new")}, ["write conf/start", "write compose.yaml", "recreate"]),
        ({"described": files(secret="new")}, ["write secrets/password", "write compose.yaml", "recreate"]),
        ({"described": files()[1:]}, ["remove conf/page", "reload"]),
        ({"described": files()[::2]}, ["remove conf/start", "write compose.yaml", "recreate"]),
        ({"described": files()[:2]}, ["remove secrets/password", "write compose.yaml", "recreate"]),
        ({"state": "exited", "health": ""}, ["start"]),
        ({"state": "paused"}, ["resume"]),
        ({"health": "unhealthy"}, ["recreate"]),
        ({"health": "starting"}, []),
    ],
    ids=str,
)
def test_changes(server: Server, changed: dict[str, Any], actions: list[str]) -> None:
    plan = server.plan(**changed)
    # Only the last action has a fixed place.
    assert sorted(plan.actions) == sorted(actions)
    assert plan.actions[-1:] == actions[-1:]
    assert plan.wait == (changed.get("health") == "starting" or changed.get("state") == "paused")
    assert plan.force == ("recreate" in actions)


@pytest.mark.parametrize("health", ["healthy", ""])
def test_a_running_container_is_watched_unless_it_was_already_seen_to_be_stable(server: Server, health: str) -> None:
    assert server.plan(health=health, restarts=57).wait
    server.state = dataclasses.replace(server.state, restarts=57)
    assert not server.plan(health=health, restarts=57).wait
    server.state = dataclasses.replace(server.state, healthy=("another",))
    assert server.plan(health=health, restarts=57).wait


def test_changed_permissions_are_repaired_without_a_reload(server: Server) -> None:
    server.found["conf/page"] = FileState(b"page", 0o600)
    assert server.plan().actions == ["write conf/page"]


@pytest.mark.parametrize(
    ("seen_healthy", "restarted", "volumes", "recreated"),
    [
        (True, False, [], True),
        (True, False, ["data"], True),
        (True, True, [], True),
        (False, False, [], True),
        # It may be recovering its data.
        (True, True, ["data"], False),
        (False, False, ["data"], False),
    ],
)
def test_an_unhealthy_container_is_replaced_unless_it_may_be_recovering(
    seen_healthy: bool, restarted: bool, volumes: list[str], recreated: bool
) -> None:
    first = planning.make_plan({**PARAMS, "volumes": volumes}, files(), {}, model.State(), [])
    assert first.compose
    known = tuple(file.dest for file in files())
    healthy = ("4c01",) if seen_healthy else ()
    state = model.State(first.reload_hash, first.secrets_mark, known, healthy=healthy, started=("10:00",))
    found = {**as_found(files()), **as_found([first.compose])}
    started = "11:00" if restarted else "10:00"
    containers = [model.Container("4c01", "running", "unhealthy", first.configuration, started=started)]
    plan = planning.make_plan({**PARAMS, "volumes": volumes}, files(), found, state, containers)
    assert (plan.recreate, plan.wait) == (recreated, not recreated)


MADE = {"limits": "1", "networks": "2", "restart policy": "3"}


@pytest.mark.parametrize(
    ("found", "action"),
    [
        ({"settings": MADE}, None),
        # A group that an earlier version did not record is no difference.
        ({"settings": {**MADE, "mounts": "4"}}, None),
        ({"settings": {**MADE, "limits": "9"}}, "recreate: changed by hand: limits"),
        (
            {"settings": {**MADE, "limits": "9", "restart policy": "9"}},
            "recreate: changed by hand: limits, restart policy",
        ),
        ({"settings": MADE, "image": "sha256:1", "tagged": "sha256:1"}, None),
        ({"settings": MADE, "image": "sha256:1", "tagged": "sha256:2"}, "recreate: changed by hand: image"),
        # The name belongs to no image any more; the container runs all the same.
        ({"settings": MADE, "image": "sha256:1", "tagged": ""}, None),
    ],
    ids=str,
)
def test_manual_changes_are_named_and_repaired(server: Server, found: dict[str, Any], action: str | None) -> None:
    container = model.Container("4c01", "running", "healthy", server.configuration, settings=MADE)
    server.state = planning.seen_healthy(server.state, [container])
    assert server.plan(**found).actions == ([action] if action else [])


def test_a_container_of_another_configuration_is_not_compared(server: Server) -> None:
    container = model.Container("4c01", "running", "healthy", "another", settings=MADE)
    server.state = planning.seen_healthy(server.state, [container])
    assert server.plan(settings={**MADE, "limits": "9"}).actions == []


def test_file_made_by_something_else_reloads(server: Server) -> None:
    described = [*files(), model.File("tls/certificate.pem", None, reload=True)]
    server.found["tls/certificate.pem"] = FileState(b"first", 0o644)
    first = server.plan(described)
    assert first.actions == ["reload"]
    server.state = dataclasses.replace(server.state, reload=first.reload_hash)
    assert server.plan(described).actions == []
    server.found["tls/certificate.pem"] = FileState(b"second", 0o644)
    assert server.plan(described).actions == ["reload"]


def test_interrupted_run_is_finished(server: Server) -> None:
    server.found.update(as_found(files(page=b"new")))
    assert server.plan(files(page=b"new")).actions == ["reload"]
    server.configuration = "of the container before"
    assert server.plan(files(page=b"new")).actions == ["recreate"]


def test_a_changed_secret_changes_the_mark_and_appears_nowhere(server: Server) -> None:
    plan = server.plan(files(secret="n3w-v4lue"))
    assert plan.secrets_mark != server.state.secrets
    assert plan.compose and plan.compose.content
    for text in (plan.compose.content.decode(), str(plan.actions), plan.reload_hash, plan.secrets_mark):
        assert "n3w-v4lue" not in text
    assert "n3w-v4lue" not in str(planning.text_diff(plan, server.found, server.state, "/srv"))
    assert SECRET not in str(planning.text_diff(server.plan(files()[:2]), server.found, server.state, "/srv"))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("$HOME", "$$HOME"),
        ({"a$": ["${X}", 1, None, True]}, {"a$": ["$${X}", 1, None, True]}),
        (3, 3),
    ],
)
def test_literal(value: Any, written: Any) -> None:
    assert planning.literal(value) == written


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("/tmp", "/tmp:size=64m"),
        ("/tmp:size=8m", "/tmp:size=8m"),
        ("/run:uid=101,mode=0755", "/run:uid=101,mode=0755,size=64m"),
        ("/run:mode=0755,size=1m", "/run:mode=0755,size=1m"),
    ],
)
def test_every_tmpfs_has_a_size(given: str, made: str) -> None:
    for tmpfs in (given, [given]):
        document = planning.compose_document("web", {"image": "web:1", "tmpfs": tmpfs}, [], [], [])
        assert document["services"]["web"]["tmpfs"] == [made]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"HTTP_PROXY": "", "no_proxy": ""}),
        ({"A": "1"}, {"A": "1", "https_proxy": ""}),
        ({"https_proxy": "http://proxy:3128"}, {"https_proxy": "http://proxy:3128", "http_proxy": ""}),
        (["A=1=2", "HTTP_PROXY=http://proxy:3128", "B"], {"A": "1=2", "HTTP_PROXY": "http://proxy:3128", "B": None}),
    ],
)
def test_a_container_gets_no_proxy_but_one_that_it_is_given(given: Any, expected: dict[str, Any]) -> None:
    document = planning.compose_document("web", {"image": "web:1", "environment": given}, [], [], [])
    environment = document["services"]["web"]["environment"]
    assert environment.items() >= expected.items()
    assert len([name for name in environment if name.lower().endswith("_proxy")]) == 10


def test_compose_document() -> None:
    document = planning.compose_document(
        "web",
        {"image": "web:1", "read_only": False, "command": ["echo", "$X"], "labels": ["a=b=c"]},
        [{"name": "edge", "internal": False}],
        ["data"],
        ["password"],
        "hash",
    )
    service = document["services"]["web"]
    assert document["name"] == "miniweb-web"
    assert service["command"] == ["echo", "$$X"]
    assert (service["read_only"], service["cap_drop"], service["restart"]) == (False, ["ALL"], "unless-stopped")
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["labels"] == {"a": "b=c", model.CONFIGURATION_LABEL: "hash"}
    assert service["networks"] == ["edge"]
    assert service["secrets"] == ["password"]
    assert document["networks"] == {"edge": {"name": "edge", "external": True}}
    assert document["volumes"] == {"data": {}}
    assert document["secrets"] == {"password": {"file": "./secrets/password"}}


@pytest.mark.parametrize(
    ("mounts", "left"),
    [
        (["data:/var/lib/web"], []),
        (["./conf:/etc/web:ro", "data:/var/lib/web", "/opt:/opt"], ["./conf:/etc/web:ro", "/opt:/opt"]),
        ([{"type": "volume", "source": "data", "target": "/data"}, {"type": "tmpfs", "target": "/tmp"}],
         [{"type": "tmpfs", "target": "/tmp"}]),
    ],
)  # fmt: skip
def test_a_document_for_a_one_off_container(mounts: list[Any], left: list[Any]) -> None:
    definition = {"image": "web:1", "volumes": mounts, "healthcheck": {"test": ["CMD", "ask"]}}
    document = planning.compose_document("web", definition, [], ["data"], [])
    expected = copy.deepcopy(document)
    expected["services"]["web"]["healthcheck"] = {"disable": True}
    assert json.loads(planning.for_one_off(json.dumps(document).encode(), data=True)) == expected
    expected["services"]["web"]["volumes"] = left
    del expected["volumes"]
    assert json.loads(planning.for_one_off(json.dumps(document).encode(), data=False)) == expected


def file_item(**given: Any) -> dict[str, Any]:
    return {
        "dest": "a",
        "content": "",
        "secret": None,
        "mode": "0644",
        "owner": 0,
        "group": 0,
        "reload": False,
        **given,
    }


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        *(({"files": [file_item(dest=dest)]}, f'files: "{dest}" cannot be used as dest') for dest in (
            "/etc/passwd", "../x", "a/../../x", "a//b", ".", "compose.yaml", "state.json", "previous.json", "secrets/x")),
        ({"files": [file_item(mode="rw")]}, 'files: mode "rw" of a is not an octal number'),
        ({"files": [file_item(reload=True)]}, "files: a has reload: true, but neither reload_command nor reload_proof is set"),
        ({"files": [file_item(), file_item()]}, 'files: "a" is described twice'),
        ({"files": [file_item(), file_item(dest="a/b")]}, 'files: "a" is also a directory of other files'),
        ({"secrets": [{"name": "../x", "content": "", "owner": 0}]}, 'secrets: name "../x" may only have'),
    ],
)  # fmt: skip
def test_described_files_refuses(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(model.ServiceError) as error:
        given = {"files": [], "secrets": [], "directories": [], "reload_command": None, "reload_proof": None, **given}
        planning.described_files(given)
    assert str(error.value).startswith(sentence)


def entries(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for item in value if isinstance(value, list) else []:
        yield from entries(item)


@pytest.mark.parametrize("path", sorted(ROLES.glob("*/vars/main.yml")), ids=lambda path: path.parts[-3])
def test_what_only_its_program_may_read_is_shown_nowhere(path: Path) -> None:
    shown = [
        item["dest"]
        for item in entries(yaml.safe_load(path.read_text()))
        if item.get("mode") == "0400" and "dest" in item and "content" in item
    ]
    assert shown == [], 'Give them as "secret".'


# -- the whole module -------------------------------------------------------------------------------------------------

DOUBLE = Path(docker_program.__file__)
RUN_COMMAND = AnsibleModule.run_command


class Killed(BaseException):
    """Ends the run as if the process had been killed here, except that cleanup code runs."""


class Machine:
    """The module on a machine with a double of the docker program."""

    def __init__(self, path: Path, run_module: Any) -> None:
        self.bin, self.directory, self.run_module = path / "bin", path / "web", run_module
        self.contributions, self.volume = path / "contributions", path / "volume"
        self.bin.mkdir()
        self.volume.mkdir()
        # This interpreter, without the modules it would import at startup
        (self.bin / "docker").write_text(f"#!{sys.executable} -IS\n{DOUBLE.read_text()}")
        (self.bin / "docker").chmod(0o755)
        self.engine = {
            "images": {"web:1": "sha256:1", "web:2": "sha256:2"},
            "pullable": {"web:3": "sha256:3"},
            "behaviour": {},
            "opens_data": [],
            "opens_data_late": [],
            "volume": "",
            "containers": [],
            "networks": [],
            "mounts": [],
            "check": [],
            "count": 0,
            "proxies": ["", "", ""],
            "password": "",
            "prune_code": 0,
            "run_code": 0,
            "run_opens_data": False,
            "run_output": "emerg: unknown directive",
            "exec_code": 0,
            "exec_output": "",
            "exec_seconds": 0,
        }
        self.answer()

    def installed(self, monkeypatch: pytest.MonkeyPatch) -> Self:
        """Let modules find this machine's docker program."""
        monkeypatch.setattr(AnsibleModule, "run_command", lambda *given, **named: self.run_command(*given, **named))
        monkeypatch.setattr(applying, "STEADY_SECONDS", 1)
        return self

    def run_command(self, module: AnsibleModule, words: list[str], **given: Any) -> tuple[int, str, str]:
        """Answer as the program does, without a process for each call."""
        if words[0] != str(self.bin / "docker"):
            return RUN_COMMAND(module, words, **given)
        return docker_program.answer(self.bin, words[1:], given.get("data"))

    def answer(self, **answers: Any) -> None:
        if (self.bin / "engine.json").exists():
            self.engine = json.loads((self.bin / "engine.json").read_text())
        self.engine.update(answers)
        (self.bin / "engine.json").write_text(json.dumps(self.engine))

    def run(self, page: str = "page", secret: str = SECRET, **given: Any) -> dict[str, Any]:
        (self.bin / "told").write_text("")
        me = {"owner": os.getuid(), "group": os.getgid()}
        arguments = {
            "name": "web",
            "directory": str(self.directory),
            "contributions_directory": str(self.contributions),
            "definition": {"image": "web:1"},
            "files": [{"dest": "conf/page", "content": page, "reload": True, **me}],
            "secrets": [{"name": "password", "content": secret, "owner": os.getuid()}],
            "check_command": ["web", "-t"],
            "reload_command": ["web", "-s", "reload"],
            "wait_timeout": 1,
        }
        return self.run_module("compose_service", programs=self.bin, **{**arguments, **given})

    @contextlib.contextmanager
    def killed_in(self, module: Any, function: str) -> Iterator[None]:
        """Kill the run as soon as this function has returned."""
        with pytest.MonkeyPatch.context() as patch:
            original = getattr(module, function)

            def work_and_end(*given: Any) -> None:
                original(*given)
                raise Killed

            patch.setattr(module, function, work_and_end)
            with pytest.raises(Killed):
                yield

    def settled(self) -> bool:
        """Whether a run of the whole system would skip the module."""
        server = SimpleNamespace(
            get_bin_path=lambda name: str(self.bin / name) if (self.bin / name).exists() else None,
            run_command=lambda words, **given: docker_program.answer(self.bin, words[1:]),
        )
        return "compose_service/web" in Notes(server, str(self.contributions.parent / "settled")).holding()

    def told(self) -> list[str]:
        return (self.bin / "told").read_text().splitlines()

    def contents(self) -> dict[str, bytes]:
        found = self.directory.rglob("*")
        return {str(p.relative_to(self.directory)): p.read_bytes() for p in found if p.is_file()}

    def seen(self) -> list[Any]:
        """What a user sees of the service: its files and their modes, its contributions, and its container."""
        paths = [path for top in (self.directory, self.contributions) for path in sorted(top.rglob("*"))]
        found = [(str(path), path.stat().st_mode) for path in paths if path.name != "state.json"]
        pages = [(self.directory / "conf" / "page").read_text()]
        (container,) = self.containers
        return [found, pages, container["State"], container["HostConfig"]]

    @property
    def containers(self) -> list[dict[str, Any]]:
        return json.loads((self.bin / "engine.json").read_text())["containers"]

    def become(self, status: str = "running", health: str = "", restarts: int = 0) -> None:
        """Change the state of the container."""
        found = self.containers
        found[0]["State"]["Status"], found[0]["RestartCount"] = status, restarts
        if health:
            found[0]["State"]["Health"] = {"Status": health}
        self.answer(containers=found)

    def runs(self) -> tuple[str, str]:
        """Image and state of the running container."""
        (found,) = self.containers
        return found["Image"], found["State"]["Status"]


@pytest.fixture
def machine(tmp_path: Path, run_module: Any, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, run_module).installed(monkeypatch)


def test_first_and_second_run(machine: Machine) -> None:
    first = machine.run()
    assert first["actions"] == ["write conf/page", "write secrets/password", "write compose.yaml", "create"]
    assert first["changed"]
    contents = machine.contents()
    assert set(contents) == {"compose.yaml", "state.json", "conf/page", "secrets/password"}
    assert [name for name, content in contents.items() if SECRET.encode() in content] == ["secrets/password"]
    assert SECRET not in json.dumps(first) + "".join(machine.told())
    assert (machine.directory / "secrets" / "password").stat().st_mode & 0o777 == 0o400
    assert machine.directory.stat().st_mode & 0o777 == 0o700

    second = machine.run()
    assert (second["changed"], second["actions"]) == (False, [])
    assert [line.split()[0] for line in machine.told()] == ["ps", "inspect", "image"]
    assert machine.contents() == contents


def left_by_mysql(machine: Machine) -> Path:
    """A file that another service has contributed to this one."""
    file = machine.contributions / "web" / "mysql.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("rules")
    return file


@pytest.mark.parametrize(
    "change",
    [
        lambda m: (m.directory / "conf" / "page").write_text("by hand"),
        lambda m: (m.directory / "conf" / "page").chmod(0o600),
        lambda m: (m.directory / "secrets" / "password").unlink(),
        lambda m: (m.directory / "compose.yaml").write_text("{}"),
        lambda m: m.become("exited"),
        lambda m: m.become("paused"),
        lambda m: m.become(health="unhealthy"),
        lambda m: m.become(restarts=3),
        lambda m: m.answer(containers=[]),
        lambda m: m.answer(containers=[{**m.containers[0], "HostConfig": {"Memory": 7}}]),
        lambda m: (m.contributions / "prometheus" / "web.jobs.yml").write_text("by hand"),
        lambda m: (m.contributions / "prometheus" / "web.jobs.yml").unlink(),
        lambda m: (m.contributions / "prometheus.json").unlink(),
        left_by_mysql,
        lambda m: (m.contributions / "web").chmod(0o700),
    ],
)
def test_a_change_that_the_module_would_repair_ends_its_note(
    machine: Machine, change: Callable[[Machine], Any]
) -> None:
    given = {
        "settled": "asked",
        "contributions": [{"reader": "prometheus", "ext": "jobs.yml", "content": "jobs"}],
        "contributions_uid": os.getuid(),
    }
    machine.run(**given)
    assert machine.settled()
    machine.run(**given)
    assert machine.settled()
    before = machine.seen()
    change(machine)
    assert not machine.settled()
    machine.run(**given)
    assert machine.settled()
    assert machine.seen() == before or change is left_by_mysql


def test_a_note_that_the_service_is_gone_ends_with_its_return(machine: Machine) -> None:
    machine.run()
    machine.run(state="absent", settled="asked")
    assert machine.settled()
    machine.run()
    assert not machine.settled()


@pytest.mark.parametrize("given", [{}, {"settled": "asked", "check_mode": True}])
def test_nothing_is_noted_in_check_mode_or_without_a_request_from_an_action(
    machine: Machine, given: dict[str, Any]
) -> None:
    machine.run(**given)
    assert not machine.settled()


def test_reload(machine: Machine) -> None:
    machine.run()
    assert machine.run(page="new")["actions"] == ["write conf/page", "reload"]
    assert f"exec {machine.containers[0]['Id']} web -s reload" in machine.told()
    assert not any(" up " in line for line in machine.told())
    assert not machine.run(page="new")["changed"]


def test_a_reload_that_does_not_take_effect_is_undone(machine: Machine) -> None:
    proof = {"command": ["grep", "-q", "good", "conf/page"], "on_server": True, "timeout": 1}
    machine.run(page="good", reload_proof=proof)
    before = machine.contents()
    result = machine.run(page="bad", reload_proof=proof)
    assert result["msg"].startswith('reload_proof: the service "web" has not loaded its new files within 1 s')
    assert result["msg"].endswith("The files are as they were before, and the service has loaded them again.")
    assert machine.contents() == before


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({}, (applying, "reload_containers")),
        ({"definition": {"image": "web:2"}}, (applying.Applier, "_up")),
    ],
    ids=["reload", "recreate"],
)
def test_files_that_a_killed_run_may_have_loaded_are_loaded_again(
    machine: Machine, given: dict[str, Any], where: tuple[Any, str]
) -> None:
    machine.run()
    with machine.killed_in(*where):
        machine.run(page="new", **given)
    assert machine.run(**given)["actions"] == ["write conf/page", "reload"]
    assert f"exec {machine.containers[0]['Id']} web -s reload" in machine.told()
    assert not machine.run(**given)["changed"]


def test_files_that_could_not_be_reloaded_are_loaded_by_the_next_run(machine: Machine) -> None:
    machine.run()
    machine.answer(exec_code=1)
    assert machine.run(page="new")["failed"]
    machine.answer(exec_code=0)
    assert machine.run()["actions"] == ["reload"]


def test_files_that_were_not_loaded_during_the_start_are_loaded_by_the_next_run(machine: Machine) -> None:
    machine.answer(volume=str(machine.volume))
    machine.run(volumes=["data"])
    machine.become(health="starting")
    assert "is still starting" in machine.run(volumes=["data"], page="new")["msg"]
    machine.become(health="healthy")
    assert machine.run(volumes=["data"], page="new")["actions"] == ["reload"]


def test_warnings_of_a_proof_are_shown(machine: Machine) -> None:
    proof = {"command": ["echo", "WARNING: nobody can see it"], "on_server": True}
    machine.run(reload_proof=proof)
    assert "nobody can see it" in json.dumps(machine.run(page="new", reload_proof=proof)["warnings"])


@pytest.mark.parametrize("proof", [{"command": ["sleep", "30"], "on_server": True}, {"command": ["web", "--ready"]}])
def test_a_proof_that_hangs_fails(machine: Machine, proof: dict[str, Any]) -> None:
    given = {"reload_command": None, "reload_proof": {**proof, "timeout": 1}}
    machine.run(**given)
    machine.answer(exec_seconds=30)
    assert "within 1 s: it did not finish within 1 s." in machine.run(page="new", **given)["msg"]


def test_a_reload_after_an_interrupted_one_goes_back_to_the_last_proven_files(machine: Machine) -> None:
    machine.run()
    before = machine.contents()["conf/page"]
    with machine.killed_in(applying, "reload_containers"):
        machine.run(page="half")
    machine.answer(exec_code=1)
    assert machine.run(page="bad")["failed"]
    assert machine.contents()["conf/page"] == before


def test_a_file_with_a_secret_in_it_is_shown_nowhere(machine: Machine) -> None:
    def run(value: str, kind: str = "secret") -> dict[str, Any]:
        item = {"dest": "conf/app.yml", kind: value, "owner": os.getuid(), "group": os.getgid()}
        return machine.run(files=[item] if value else [])

    for value, kind in [("password: s3cr3t", "secret"), ("password: 4n0th3r", "secret"), ("no more", "content")]:
        shown = json.dumps(run(value, kind))
        assert "s3cr3t" not in shown and "4n0th3r" not in shown
        assert machine.contents()["conf/app.yml"] == value.encode()
    run("password: s3cr3t")
    shown = json.dumps(run(""))
    assert "remove conf/app.yml" in shown and "s3cr3t" not in shown


def test_files_that_cannot_be_written_are_reported_in_a_sentence(machine: Machine) -> None:
    (machine.directory / "conf" / "page").mkdir(parents=True)
    sentence = f'The service "web": {machine.directory}/conf/page cannot be read or written: Is a directory.'
    assert machine.run()["msg"] == sentence
    machine.contributions.write_text("")
    assert "cannot be read or written: " in machine.run_module(
        "contributions", programs=machine.bin, name="app", contributions=[JOB],
        contributions_directory=str(machine.contributions),
    )["msg"]  # fmt: skip


# -- what others changed on the server --------------------------------------------------------------------------------


def altered(part: str, value: Any) -> Callable[[Machine], None]:
    """What somebody does to a container without this collection."""
    return lambda machine: machine.answer(containers=[{**machine.containers[0], part: value}])


@pytest.mark.parametrize(
    ("change", "action"),
    [
        (altered("HostConfig", {"Memory": 7}), "recreate: changed by hand: limits"),
        (altered("HostConfig", {"Memory": 0, "PidsLimit": 7}), "recreate: changed by hand: limits"),
        (
            altered("HostConfig", {"Memory": 0, "RestartPolicy": {"Name": "no"}}),
            "recreate: changed by hand: restart policy",
        ),
        (altered("HostConfig", {"Memory": 0, "PortBindings": {"80/tcp": []}}), "recreate: changed by hand: ports"),
        (altered("HostConfig", {"Memory": 0, "Binds": ["/etc:/etc"]}), "recreate: changed by hand: mounts"),
        (altered("HostConfig", {"Memory": 0, "Privileged": True}), "recreate: changed by hand: rights"),
        (altered("NetworkSettings", {"Networks": {}}), "recreate: changed by hand: networks"),
        (
            altered("NetworkSettings", {"Networks": {"edge": {"Aliases": ["web"]}}}),
            "recreate: changed by hand: networks",
        ),
        (altered("Name", "/mine"), "recreate: changed by hand: name"),
        (lambda m: m.answer(images={"web:1": "sha256:2"}), "recreate: changed by hand: image"),
        (lambda m: m.become("paused"), "resume"),
        (lambda m: m.become("exited"), "start"),
        (lambda m: m.become(health="unhealthy"), "recreate"),
        (lambda m: m.answer(containers=[]), "create"),
    ],
)
def test_what_runs_is_compared_with_what_is_wanted_and_each_difference_is_named_and_mended(
    machine: Machine, change: Callable[[Machine], None], action: str
) -> None:
    given = {"networks": [{"name": "edge"}], "settled": "asked"}
    machine.run(**given)
    wanted = machine.seen()
    change(machine)
    assert not machine.settled()
    assert machine.run(check_mode=True, **given)["actions"] == [action]
    assert machine.run(**given)["actions"] == [action]
    assert machine.seen() == wanted
    assert not machine.run(**given)["changed"]
    assert machine.settled()


def mount(source: Path, destination: Path, kind: str = "bind") -> dict[str, str]:
    return {"Type": kind, "Source": str(source), "Destination": str(destination)}


@pytest.mark.parametrize(
    ("place", "seen", "kind", "detached"),
    [
        ("there", "there", "bind", False),
        # Removed and made again, so that the process still has the old one; removed; moved away
        ("there", "old", "bind", True),
        ("removed", "old", "bind", True),
        ("there", "old", "volume", False),
        # Files are replaced when they are written.
        ("there/file", "old/file", "bind", False),
        # It would be looked for on the server.
        ("there", "link/old", "bind", False),
        ("there", "nowhere", "bind", False),
    ],
)
def test_a_mounted_directory_that_was_removed_or_replaced(
    tmp_path: Path, place: str, seen: str, kind: str, detached: bool
) -> None:
    for name in ("there", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert engines.is_detached(os.getpid(), mount(tmp_path / place, tmp_path / seen, kind)) == detached
    assert not engines.is_detached(0, mount(tmp_path / place, tmp_path / seen, kind))


@pytest.mark.parametrize("looks", range(8))
def test_a_process_that_ends_while_it_is_looked_at_has_no_directory_that_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    source, process = tmp_path / "source", tmp_path / "proc" / "7" / "root"
    source.mkdir()
    process.parent.mkdir(parents=True)
    process.symlink_to("/")
    monkeypatch.setattr(engines, "PROC", str(tmp_path / "proc"))
    count = itertools.count()

    def ending(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def looked(path: str, **options: Any) -> os.stat_result:
            if next(count) == looks:
                process.unlink(missing_ok=True)
            return look(path, **options)

        return looked

    mounted = mount(source, source)
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", ending(os.stat))
        patched.setattr(os, "lstat", ending(os.lstat))
        assert not engines.is_detached(7, mounted)


def lose_sight(machine: Machine) -> None:
    """As if a directory that the container has mounted were removed and made again."""
    found = machine.containers
    machine.answer(containers=[{**one, "Mounts": [mount(Path("/nowhere"), machine.directory)]} for one in found])


def test_a_container_that_no_longer_sees_its_files_is_recreated(machine: Machine) -> None:
    machine.run()
    lose_sight(machine)
    assert machine.run(page="new")["actions"] == ["write conf/page", "recreate: changed by hand: mounted files"]
    assert not machine.run(page="new")["changed"]


def test_a_program_recreated_from_an_edited_compose_file_is_recreated_from_ours(machine: Machine) -> None:
    machine.run()
    machine.answer(containers=[{**machine.containers[0], "Id": "another", "Config": {
        **machine.containers[0]["Config"], "Env": ["DEBUG=1"], "User": "0"}}])  # fmt: skip
    assert machine.run()["actions"] == ["recreate: changed by hand: program, user"]


def test_a_directory_for_temporary_files_belongs_to_the_program(machine: Machine) -> None:
    given = {"directories": [{"dest": "temporary", "owner": os.getuid()}], "settled": "asked"}
    assert machine.run(check_mode=True, **given)["actions"][0] == "make temporary"
    assert not machine.directory.exists()
    assert machine.run(**given)["actions"][0] == "make temporary"
    assert (machine.directory / "temporary").stat().st_mode & 0o777 == 0o700
    assert not machine.run(**given)["changed"]
    assert machine.settled()
    (machine.directory / "temporary").rmdir()
    assert not machine.settled()
    assert machine.run(**given)["actions"] == ["make temporary"]


@pytest.mark.parametrize("dest", ["../up", "/etc", "secrets", "a/b", ""])
def test_a_directory_elsewhere_is_refused(machine: Machine, dest: str) -> None:
    assert "give a plain name" in machine.run(directories=[{"dest": dest, "owner": 1}])["msg"]


def test_a_service_does_not_start_without_the_data_it_had(machine: Machine) -> None:
    given = {"volumes": ["data"]}
    machine.answer(volume=str(machine.volume))
    machine.run(**given)
    machine.answer(volume="")
    # As long as its container exists, so does the volume: the engine refuses to remove it.
    assert not machine.run(**given)["changed"]
    machine.answer(containers=[])
    for check in (True, False):
        result = machine.run(check_mode=check, **given)
        assert "would start without its data, because the volume miniweb-web_data is gone" in result["msg"]
        assert machine.containers == []
    machine.run(state="absent", remove_volumes=True)
    assert machine.run(**given)["actions"][-1] == "create"


def test_a_network_that_was_removed_is_made_again_before_a_service_is_started(machine: Machine) -> None:
    given = {"networks": [{"name": "edge"}]}
    machine.run(**given)
    machine.become("exited")
    machine.answer(networks=[])
    assert machine.run(**given)["actions"] == ["start"]
    assert "network create edge" in machine.told()
    assert any(line.endswith("--force-recreate") for line in machine.told())
    machine.become("exited")
    machine.run(**given)
    assert not any(line.endswith("--force-recreate") for line in machine.told())


ROUTES = {
    "none": "",
    "by hand": "00 x 00 fe80 400 1 0 00000003 eth0",
    "advertised": "00 x 00 fe80 400 1 0 00450003 eth0",
    "advertised, of another network": "40 x 00 fe80 400 1 0 00450003 eth0",
    "unreachable": "00 x 00 fe80 ffffffff 1 0 00200200 lo",
}


@pytest.mark.parametrize(
    ("translates", "route", "accepts", "attached"),
    [
        ("yes", "none", "1", True),
        ("yes", "by hand", "1", True),
        ("yes", "unreachable", "1", True),
        ("yes", "advertised", "2", True),
        ("yes", "advertised, of another network", "1", True),
        # Its route would be lost.
        ("yes", "advertised", "1", False),
        ("no", "none", "1", False),
        ("no", "by hand", "1", False),
    ],
)
def test_a_network_with_ipv6_is_used_where_visitors_keep_their_addresses(
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    translates: str,
    route: str,
    accepts: str,
    attached: bool,
) -> None:
    monkeypatch.setattr(engines, "PROC", str(tmp_path))
    (tmp_path / "sys/net/ipv6/conf/eth0").mkdir(parents=True)
    (tmp_path / "sys/net/ipv6/conf/eth0/accept_ra").write_text(accepts)
    (tmp_path / "net").mkdir()
    (tmp_path / "net/ipv6_route").write_text(f"{'0' * 32} {ROUTES[route]}\n" if ROUTES[route] else "")
    program = machine.bin / "ip6tables"
    program.write_text(f"#!/bin/sh\ntest {translates} = yes\n")
    program.chmod(0o755)
    given = {"networks": [{"name": "edge"}, {"name": "visitors", "ipv6": True}], "settled": "asked"}
    machine.run(**given)
    made = [line for line in machine.told() if line.startswith("network create")]
    assert made[0] == "network create edge"
    assert [
        bool(re.fullmatch(r"network create --ipv6 --subnet fd[0-9a-f:]+::/64 visitors", one)) for one in made[1:]
    ] == ([True] if attached else [])
    written = json.loads((machine.directory / "compose.yaml").read_text())
    assert written["services"]["web"]["networks"] == (["edge", "visitors"] if attached else ["edge"])
    note = json.loads(next((tmp_path / "settled").glob("compose_service%web.json")).read_text())
    assert [one[0] for one in note["conditions"]].count("answer") == 1


# -- images whose tag may move ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pull", "registry", "here", "outcome"),
    [
        ("always", {"web:1": "sha256:2"}, {"web:1": "sha256:1"}, "recreate"),
        ("always", {"web:1": "sha256:1"}, {"web:1": "sha256:1"}, None),
        ("always", {}, {"web:1": "sha256:1"}, "warning"),
        ("always", {}, {}, "failed"),
        ("missing", {"web:1": "sha256:2"}, {"web:1": "sha256:1"}, None),
    ],
)
def test_an_image_whose_tag_has_moved(
    machine: Machine, pull: str, registry: dict[str, str], here: dict[str, str], outcome: str | None
) -> None:
    machine.answer(pullable={"web:1": "sha256:1"})
    machine.run(pull=pull, settled="asked")
    assert machine.settled() == (pull == "missing")
    machine.answer(pullable=registry, images=here)
    result = machine.run(pull=pull)
    assert (result.get("actions") or [None])[-1] == (outcome if outcome == "recreate" else None)
    assert ("pull --quiet web:1" in machine.told()) == (pull == "always")
    cannot = 'The image "web:1" of the service "web" cannot be pulled (manifest unknown)'
    told = [str(item) for item in [result.get("msg"), *result.get("warnings", [])]]
    assert any(cannot in text for text in told) == (outcome in ("warning", "failed"))
    assert result.get("failed", False) == (outcome == "failed")
    assert machine.runs() == ("sha256:2" if outcome == "recreate" else "sha256:1", "running")


def test_a_moved_image_that_does_not_work_gives_way_to_the_one_before(machine: Machine) -> None:
    machine.answer(pullable={"web:1": "sha256:1"})
    machine.run(pull="always")
    machine.answer(pullable={"web:1": "sha256:2"}, behaviour={"sha256:2": "restarts"})
    assert machine.run(pull="always")["msg"].endswith("The previous version is running again.")
    assert machine.runs() == ("sha256:1", "running")
    machine.answer(pullable={"web:1": "sha256:3"})
    assert machine.run(pull="always")["actions"] == ["write compose.yaml", "recreate"]
    assert machine.runs() == ("sha256:3", "running")


PROXY = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    ("proxies", "given"),
    [
        (["", "", ""], {}),
        ([PROXY, PROXY, "localhost,.example.com"], {"http": PROXY, "https": PROXY, "no": "localhost,.example.com"}),
        (["", PROXY, ""], {"https": PROXY}),
        # The engine does not tell a login.
        (["http://xxxxx:xxxxx@proxy.example.com:3128", PROXY, ""], {"https": PROXY}),
    ],
)
def test_a_build_gets_the_proxies_through_which_the_engine_pulls(
    machine: Machine, tmp_path: Path, proxies: list[str], given: dict[str, str]
) -> None:
    machine.answer(proxies=proxies)
    archive = tmp_path / "source.tar"
    archive.touch()
    machine.run(definition={"image": "web:built"}, build={"archive": "x"}, sent_archive=str(archive))
    (build,) = (line.split() for line in machine.told() if line.startswith("build "))
    arguments = dict(word.split("=", 1) for last, word in itertools.pairwise(build) if last == "--build-arg")
    assert arguments == {
        spelled: value for kind, value in given.items() for spelled in (f"{kind}_proxy", f"{kind.upper()}_PROXY")
    }


@pytest.mark.parametrize(("pull", "builds"), [("always", 2), ("missing", 1)])
def test_a_built_image_is_built_again_when_its_base_has_moved(machine: Machine, pull: str, builds: int) -> None:
    archive = machine.directory.parent / "archive"
    archive.write_text("")
    given = {
        "definition": {"image": "web:built"},
        "build": {"archive": "x", "base": "python:3"},
        "pull": pull,
        "sent_archive": str(archive),
    }
    built = []
    for identity in ("sha256:aaaaaaaaaaaaaaaa", "sha256:bbbbbbbbbbbbbbbb", "sha256:bbbbbbbbbbbbbbbb"):
        machine.answer(pullable={"python:3": identity})
        machine.run(**given)
        built += [line for line in machine.told() if line.startswith("build ")]
    assert len(built) == builds
    assert ("web:built-bbbbbbbbbbbb" in built[-1]) == (pull == "always")


@pytest.mark.parametrize(
    ("image", "pull", "sentence"),
    [
        ("web:3", "missing", 'The image "web:3" of the service "web" is missing, but only 70 MB are free in'),
        ("web:3", "always", 'The image "web:3" of the service "web" is missing, but only 70 MB are free in'),
        # What is on the server needs no room.
        ("web:1", "missing", ""),
        ("web:1", "always", ""),
    ],
)
def test_room_is_needed_only_for_an_image_that_is_missing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, image: str, pull: str, sentence: str
) -> None:
    machine.run()
    monkeypatch.setattr(engines, "free_megabytes", lambda path: 70)
    result = machine.run(definition={"image": image, "command": ["new"]}, pull=pull)
    assert result.get("failed", False) == bool(sentence)
    assert sentence in result.get("msg", "")
    assert ("only 70 MB are free" in json.dumps(result.get("warnings", []))) == (image == "web:1" and pull == "always")
    assert not any(line.startswith("pull") for line in machine.told())
    assert machine.runs() == ("sha256:1", "running")


def test_pruning_a_moved_image_does_not_take_the_tag_from_the_newer_one(machine: Machine) -> None:
    for identity in ("sha256:1", "sha256:2", "sha256:3", "sha256:4"):
        machine.answer(pullable={"web:1": identity})
        machine.run(pull="always")
    removed = [line for line in machine.told() if line.startswith("image rm")]
    assert removed == ["image rm sha256:2"]
    assert machine.runs() == ("sha256:4", "running")


def test_an_archive_is_asked_for_only_if_the_image_is_missing(machine: Machine, tmp_path: Path) -> None:
    built = {"definition": {"image": "web:built"}, "build": {"archive": "/on/the/controller.tar"}}
    result = machine.run(**built)
    assert (result["archive_needed"], result["changed"]) == (True, False)
    assert not machine.directory.exists()
    archive = tmp_path / "sent.tar"
    archive.touch()
    assert machine.run(**built, sent_archive=str(archive))["changed"]
    machine.directory.rename(machine.directory.with_name("gone"))
    assert machine.run(**built)["changed"]


def test_a_missing_archive_is_reported_in_a_sentence(machine: Machine) -> None:
    built = {"definition": {"image": "web:built"}, "build": {"archive": "/on/the/controller.tar"}}
    result = machine.run(**built, sent_archive="/nowhere/source.tar")
    assert (
        result["msg"] == 'The service "web": /nowhere/source.tar cannot be read or written: No such file or directory.'
    )


def test_check_mode_writes_nothing(machine: Machine) -> None:
    result = machine.run(check_mode=True)
    assert result["changed"]
    assert result["actions"][-1] == "create"
    assert not machine.directory.exists()


@pytest.mark.parametrize("given", [{"page": "wrong"}, {"definition": {"image": "web:2"}}, {"secret": "another"}])
def test_refused_files_are_put_back(machine: Machine, given: dict[str, Any]) -> None:
    machine.run()
    before = machine.contents()
    machine.answer(run_code=1)
    result = machine.run(**given)
    assert result["failed"]
    assert result["msg"] == (
        'check_command: the new files are refused: `web -t` of the service "web" exited with 1: '
        "emerg: unknown directive. The files are as they were before."
    )
    assert machine.contents() == before
    assert not any(" up " in line or line.startswith("exec") for line in machine.told())
    machine.answer(run_code=0)
    assert machine.run(**given)["changed"]


@pytest.mark.parametrize(
    ("behaviour", "answers"),
    [
        # Checked in the container itself
        ("healthy", {"exec_code": 1, "exec_output": "emerg: unknown directive"}),
        # Which needs one that runs
        ("restarts", {"run_code": 1}),
        ("taken", {"run_code": 1}),
    ],
)
def test_refused_files_of_a_first_deployment_leave_nothing(
    machine: Machine, behaviour: str, answers: dict[str, Any]
) -> None:
    machine.answer(behaviour={"sha256:1": behaviour}, **answers)
    result = machine.run()
    assert result["msg"] == (
        'check_command: the new files are refused: `web -t` of the service "web" exited with 1: '
        "emerg: unknown directive. The files are as they were before."
    )
    assert not machine.directory.exists()
    assert machine.containers == []
    machine.answer(behaviour={}, exec_code=0, run_code=0)
    assert machine.run()["changed"]


@pytest.mark.parametrize("first", [True, False], ids=["first deployment", "later"])
def test_a_definition_that_compose_rejects(machine: Machine, first: bool) -> None:
    if not first:
        machine.run()
    before, containers = machine.contents(), machine.containers
    refused = {"image": "web:1", "imagee": "web:2"}
    sentence = "definition: Compose rejects it: additional properties 'imagee' not allowed."
    assert machine.run(definition=refused)["msg"] == sentence
    assert (machine.contents(), machine.containers) == (before, containers)
    assert any(" up " in line for line in machine.told()) is first
    assert machine.run()["changed"] is first


def test_files_are_checked_before_kept_data_are_opened(machine: Machine) -> None:
    machine.answer(run_code=1, volume=str(machine.volume))
    assert machine.run(volumes=["data"])["msg"].startswith("check_command: the new files are refused")
    assert not any(" up " in line for line in machine.told())


def test_failing_migration_leaves_a_new_server_empty(machine: Machine) -> None:
    machine.answer(run_code=4)
    result = machine.run(check_command=None, before_start=[["flask", "db", "upgrade"]])
    assert result["msg"].startswith("before_start: a command failed: `flask db upgrade`")
    assert machine.contents() == {}


def test_a_message_shows_the_beginning_of_a_long_command(machine: Machine) -> None:
    machine.answer(run_code=4)
    said = machine.run(check_command=None, before_start=[["python", "run.py", *["word"] * 100]])["msg"]
    assert "`python run.py word" in said
    assert "…` of the service" in said
    assert len(said) < 300


def test_image_that_cannot_be_pulled(machine: Machine) -> None:
    result = machine.run(definition={"image": "web:4"})
    assert result["msg"].startswith('The image "web:4" of the service "web" cannot be pulled (manifest unknown): check')
    assert not machine.directory.exists()


LOGIN = {"user": "shop", "password": "of the registry"}
PRIVATE = "registry.example.com:5000/team/web@sha256:0f1c"


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        (PRIVATE, ["registry.example.com:5000"]),
        ("localhost/web:1.2", ["localhost"]),
        ("team/web:1.2", []),
        ("web.x", []),
    ],
)
def test_an_image_is_pulled_with_a_login_that_ends_with_it(machine: Machine, image: str, registry: list[str]) -> None:
    machine.answer(password=LOGIN["password"], pullable={image: "sha256:9"})
    assert machine.run(definition={"image": image}, login=LOGIN)["changed"]
    login, pull = [line.split() for line in machine.told() if line.startswith("--config ")]
    assert login[2:] == ["login", "--username", "shop", "--password-stdin", *registry]
    assert pull == ["--config", login[1], "pull", "--quiet", image]
    assert not Path(login[1]).exists()
    # It is on the server now.
    machine.run(definition={"image": image}, login=LOGIN)
    assert [line for line in machine.told() if "login" in line] == []


@pytest.mark.parametrize("build", [False, True])
def test_a_registry_that_refuses_the_login(machine: Machine, build: bool) -> None:
    machine.answer(password="another", pullable={PRIVATE: "sha256:9"})
    archive = machine.directory.parent / "archive"
    archive.write_text("")
    built = {"build": {"archive": "x", "base": PRIVATE}, "sent_archive": str(archive)}
    given = {"definition": {"image": "web:built"}, **built} if build else {"definition": {"image": PRIVATE}}
    said = machine.run(**given, login=LOGIN)["msg"]
    assert said.startswith(
        f'The image "{PRIVATE}" of the service "web" cannot be pulled, because its registry does not let "shop"'
    )
    assert said.endswith("status: 401 Unauthorized): correct the user or the password.")
    assert not machine.directory.exists()
    machine.answer(password=LOGIN["password"])
    assert machine.run(**given, login=LOGIN)["changed"]


def test_missing_file_made_by_something_else(machine: Machine) -> None:
    result = machine.run(files=[{"dest": "tls/certificate.pem"}])
    assert result["msg"].startswith("files: tls/certificate.pem has no content and does not exist in ")
    assert not machine.directory.exists()


def test_absent(machine: Machine) -> None:
    machine.run()
    (container,) = machine.containers
    result = machine.run(state="absent")
    assert result["actions"] == ["remove containers", f"remove {machine.directory}"]
    # It is stopped with its own signal and timeout, as its data stay.
    assert machine.told()[-2:] == [f"stop {container['Id']}", f"rm --force {container['Id']}"]
    assert not machine.directory.exists()
    assert not machine.run(state="absent")["changed"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"name": "Web"}, 'name: "Web" may only have small letters, digits, "_" and "-".'),
        ({"definition": {"command": "x"}}, 'definition: the service "web" names no image.'),
    ],
)
def test_wrong_input(machine: Machine, given: dict[str, Any], sentence: str) -> None:
    assert machine.run(**given)["msg"] == sentence
    assert machine.told() == []


# -- a failed version is rolled back ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "command"),
    [
        (["CMD", "web", "--ping"], "web --ping"),
        (["CMD-SHELL", "web --ping || exit 1"], "/bin/sh -c web --ping || exit 1"),
    ],
)
def test_a_health_check_that_passes_need_not_be_run_by_the_engine(
    machine: Machine, check: list[str], command: str
) -> None:
    machine.answer(behaviour={"sha256:1": "starting"}, check=check)
    assert machine.run(check_command=None)["changed"]
    assert f"exec {machine.containers[0]['Id']} {command}" in machine.told()
    machine.become(health="healthy")
    assert not machine.run(check_command=None)["changed"]


@pytest.mark.parametrize("behaviour", ["restarts", "exits"])
def test_a_health_check_that_passes_makes_no_container_healthy_that_does_not_run(
    machine: Machine, behaviour: str
) -> None:
    machine.answer(behaviour={"sha256:1": behaviour}, check=["CMD", "web", "--ping"])
    assert machine.run(check_command=None)["failed"]


@pytest.mark.parametrize("check", [["NONE"], [], ["CMD", "web", "--ping"]])
def test_a_health_check_that_does_not_pass_is_waited_for(machine: Machine, check: list[str]) -> None:
    machine.answer(behaviour={"sha256:1": "starting"}, check=check, exec_code=1)
    assert "is still starting after 1 s" in machine.run(check_command=None, wait_timeout=1)["msg"]


@pytest.mark.parametrize("volumes", [[], ["data"]])
@pytest.mark.parametrize("behaviour", ["restarts", "unhealthy", "exits"])
def test_a_failed_version_is_put_back(machine: Machine, behaviour: str, volumes: list[str]) -> None:
    machine.answer(volume=str(machine.volume) if volumes else "")
    machine.run(volumes=volumes)
    before = machine.contents()
    machine.answer(behaviour={"sha256:2": behaviour})
    result = machine.run(definition={"image": "web:2"}, page="new", secret="new", volumes=volumes)
    assert result["msg"].startswith('The service "web" did not become healthy: ')
    assert result["msg"].endswith("The previous version is running again.")
    assert result["logs"] == ["the last words"]
    assert machine.runs() == ("sha256:1", "running")
    after = machine.contents()
    assert {name: content for name, content in after.items() if name.split("/")[0] in ("conf", "secrets")} == {
        "conf/page": before["conf/page"],
        "secrets/password": before["secrets/password"],
    }
    # By its id, as the name may now refer to another image
    assert json.loads(after["compose.yaml"])["services"]["web"]["image"] == "sha256:1"
    assert "previous.json" not in after
    # A second attempt at the same is reported as such; going back to what ran before only changes the file.
    again = machine.run(definition={"image": "web:2"}, page="new", secret="new", volumes=volumes)
    assert again["failed"]
    machine.answer(behaviour={})
    done = machine.run(definition={"image": "web:2"}, page="new", secret="new", volumes=volumes)
    assert done["changed"] and machine.runs() == ("sha256:2", "running")


def test_a_failed_version_is_stopped_before_the_previous_files_return(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With them it could come up, and a program that is just starting misses the stop signal."""
    machine.run(page="old")
    machine.answer(behaviour={"sha256:2": "restarts"})
    stopped_with = []

    def watched(module: AnsibleModule, words: list[str], **given: Any) -> tuple[int, str, str]:
        if words[1] == "stop":
            stopped_with.append(machine.contents()["conf/page"])
        return machine.run_command(module, words, **given)

    monkeypatch.setattr(AnsibleModule, "run_command", watched)
    assert machine.run(definition={"image": "web:2"}, page="new")["failed"]
    assert stopped_with == [b"new"]
    assert machine.contents()["conf/page"] == b"old"


def test_a_configuration_that_failed_before_is_reported_as_such(machine: Machine) -> None:
    machine.run()
    machine.answer(behaviour={"sha256:2": "restarts"})
    assert "warnings" not in machine.run(definition={"image": "web:2"})
    sentence = 'The service "web" tries a configuration again that failed before.'
    assert sentence in json.dumps(machine.run(definition={"image": "web:2"})["warnings"]).replace('\\"', '"')


def test_the_previous_configuration_is_accepted_after_a_failure(machine: Machine) -> None:
    machine.run()
    machine.answer(behaviour={"sha256:2": "restarts"})
    machine.run(definition={"image": "web:2"})
    container = machine.containers[0]["Id"]
    assert not machine.run().get("failed")
    assert machine.containers[0]["Id"] == container
    assert not machine.run()["changed"]


@pytest.mark.parametrize("volumes", [["data"]])
def test_a_service_that_is_still_starting_is_left_running_and_waited_for(machine: Machine, volumes: list[str]) -> None:
    machine.answer(volume=str(machine.volume))
    machine.run(volumes=volumes)
    machine.answer(behaviour={"sha256:2": "starting"})
    result = machine.run(definition={"image": "web:2"}, volumes=volumes)
    assert 'The service "web" is still starting after 1 s and was left running' in result["msg"]
    assert machine.runs() == ("sha256:2", "running")
    container = machine.containers[0]["Id"]
    assert "is still starting" in machine.run(definition={"image": "web:2"}, volumes=volumes)["msg"]
    found = machine.containers
    found[0]["State"]["Health"]["Status"] = "healthy"
    machine.answer(containers=found)
    assert not machine.run(definition={"image": "web:2"}, volumes=volumes)["changed"]
    assert machine.containers[0]["Id"] == container
    assert "previous.json" not in machine.contents()


def test_a_service_that_fails_after_it_was_left_starting_is_rolled_back_by_the_next_run(machine: Machine) -> None:
    machine.answer(volume=str(machine.volume))
    machine.run(volumes=["data"])
    machine.answer(behaviour={"sha256:2": "starting"})
    machine.run(definition={"image": "web:2"}, volumes=["data"])
    found = machine.containers
    found[0]["State"]["Status"], found[0]["RestartCount"] = "restarting", 4
    machine.answer(containers=found)
    result = machine.run(definition={"image": "web:2"}, volumes=["data"])
    assert result["msg"].endswith("The previous version is running again.")
    assert machine.runs() == ("sha256:1", "running")


def test_an_older_image_is_never_put_back_on_data_that_a_newer_one_has_opened(machine: Machine) -> None:
    machine.answer(volume=str(machine.volume), opens_data=["sha256:2"])
    machine.run(volumes=["data"])
    machine.answer(behaviour={"sha256:2": "restarts"})
    result = machine.run(definition={"image": "web:2"}, volumes=["data"])
    assert "The previous version was not restored, because the new image has opened its data" in result["msg"]
    assert machine.runs() == ("sha256:2", "restarting")
    # A later run, also after an interruption, does not put it back either.
    assert "not restored" in (again := machine.run(definition={"image": "web:2"}, volumes=["data"]))["msg"] or (
        "It is left as it is" in again["msg"]
    )
    assert machine.runs()[0] == "sha256:2"


def test_an_interrupted_switch_is_judged_by_the_next_run(machine: Machine) -> None:
    """As if the run had been killed after the switch: the previous state is saved, the new version runs and fails."""
    machine.answer(volume=str(machine.volume), opens_data=["sha256:2"])
    machine.run(volumes=["data"])
    machine.answer(behaviour={"sha256:2": "starting"})
    machine.run(definition={"image": "web:2"}, volumes=["data"])
    assert "previous.json" in machine.contents()
    found = machine.containers
    found[0]["State"]["Status"], found[0]["RestartCount"] = "restarting", 4
    machine.answer(containers=found)
    assert "was not restored" in machine.run(definition={"image": "web:2"}, volumes=["data"])["msg"]
    assert machine.runs()[0] == "sha256:2"


def test_files_that_were_written_before_an_interruption_are_not_rolled_back_to(machine: Machine) -> None:
    machine.run()
    with machine.killed_in(applying, "reload_containers"):
        machine.run(page="half")
    machine.answer(behaviour={"sha256:2": "restarts"})
    machine.run(definition={"image": "web:2"}, page="new")
    assert machine.runs() == ("sha256:1", "running")
    assert machine.contents()["conf/page"] == b"page"


def test_files_that_keep_a_stopped_service_from_starting_are_put_back(machine: Machine) -> None:
    machine.run()
    machine.become("exited")
    machine.answer(run_code=1)
    assert machine.run(page="new")["msg"].startswith("check_command: the new files are refused")
    assert machine.contents()["conf/page"] == b"page"
    assert not any(" up " in line for line in machine.told())
    machine.answer(run_code=0, behaviour={"sha256:1": "restarts"})
    assert "The previous version was restored" in machine.run(page="new")["msg"]
    assert machine.contents()["conf/page"] == b"page"


@pytest.mark.parametrize(
    "replaced",
    [None, "services: {web: {image: web:1}}", '{"services": []}', '{"services": {"web": {"image": "web:1"}}}'],
)
def test_a_foreign_compose_file_is_not_rolled_back_to(machine: Machine, replaced: str | None) -> None:
    machine.run()
    compose = machine.directory / "compose.yaml"
    compose.write_text(replaced or "")
    if replaced is None:
        compose.unlink()
    machine.answer(behaviour={"sha256:2": "restarts"})
    assert machine.run(definition={"image": "web:2"})["msg"].endswith("It is left as it is, with its log and its data.")
    assert "previous.json" not in machine.contents()
    assert machine.run()["changed"]
    assert machine.runs() == ("sha256:1", "running")


def test_a_version_that_could_not_be_put_back_and_was_removed_by_hand_is_replaced(machine: Machine) -> None:
    machine.answer(volume=str(machine.volume))
    machine.run(volumes=["data"])
    machine.answer(behaviour={"sha256:1": "taken", "sha256:2": "taken"})
    assert machine.run(definition={"image": "web:1", "command": "x"}, volumes=["data"])["failed"]
    assert machine.containers == []
    assert "previous.json" in machine.contents()
    machine.answer(behaviour={})
    assert machine.run(definition={"image": "web:2"}, volumes=["data"])["changed"]
    assert machine.runs() == ("sha256:2", "running")


def test_data_changed_by_the_previous_version_itself_do_not_prevent_a_rollback(machine: Machine) -> None:
    machine.answer(volume=str(machine.volume))
    machine.run(volumes=["data"])
    machine.answer(behaviour={"sha256:1": "starting", "sha256:2": "restarts"})
    slow = machine.run(definition={"image": "web:2"}, volumes=["data"])
    assert "was restored and did not become healthy either" in slow["msg"]
    machine.become(health="healthy")
    (machine.volume / "recovered").touch()
    machine.answer(behaviour={"sha256:2": "restarts"})
    assert machine.run(definition={"image": "web:2"}, volumes=["data"])["msg"].endswith(
        "The previous version is running again."
    )


def test_an_image_that_opens_the_data_while_the_run_waits_is_noticed(machine: Machine) -> None:
    machine.answer(volume=str(machine.volume), opens_data_late=["sha256:2"], behaviour={"sha256:2": "restarts"})
    machine.run(volumes=["data"])
    result = machine.run(definition={"image": "web:2"}, volumes=["data"])
    assert "was not restored, because the new image has opened its data" in result["msg"]
    assert machine.runs() == ("sha256:2", "restarting")


@pytest.mark.parametrize(
    ("opens", "end"), [(False, "The previous version is running again."), (True, "from a backup before going back.")]
)
def test_commands_before_the_start_that_change_the_data_are_noticed(machine: Machine, opens: bool, end: str) -> None:
    given = {"volumes": ["data"], "before_start": [["web", "migrate"]]}
    machine.answer(volume=str(machine.volume), behaviour={"sha256:2": "restarts"})
    machine.run(**given)
    machine.answer(run_opens_data=opens)
    assert machine.run(definition={"image": "web:2"}, **given)["msg"].endswith(end)


def test_a_first_deployment_that_fails_is_stopped_and_kept(machine: Machine) -> None:
    machine.answer(behaviour={"sha256:1": "restarts"})
    result = machine.run()
    end = "Nothing worked before it, so it was stopped; its container, log and data are kept for inspection."
    assert end in result["msg"]
    assert machine.runs() == ("sha256:1", "exited")
    machine.answer(behaviour={})
    assert machine.run()["actions"] == ["start"]
    assert not machine.run()["changed"]


def test_a_port_in_use_is_reported_and_the_old_version_gets_its_own_back(machine: Machine) -> None:
    machine.run()
    machine.answer(behaviour={"sha256:2": "taken"})
    result = machine.run(definition={"image": "web:2"})
    assert "port is already allocated" in result["msg"]
    assert result["msg"].endswith("The previous version is running again.")
    machine.answer(behaviour={"sha256:1": "taken", "sha256:2": "taken"})
    assert machine.run(definition={"image": "web:2"})["msg"].count("port is already allocated") == 2


def test_a_container_that_was_restarted_since_it_was_seen_is_watched_once(machine: Machine) -> None:
    machine.answer(behaviour={"sha256:1": "plain"})
    machine.run()
    machine.become(restarts=57)
    assert not machine.run()["changed"]
    assert any(" up " in line for line in machine.told())
    machine.run()
    assert [line.split()[0] for line in machine.told()] == ["ps", "inspect", "image"]


def test_a_container_without_a_health_check_is_healthy_when_it_has_run_for_a_while(machine: Machine) -> None:
    machine.answer(behaviour={"sha256:1": "plain", "sha256:2": "exits"})
    assert machine.run(wait_timeout=20)["changed"]
    assert machine.run(definition={"image": "web:2"})["msg"].endswith("The previous version is running again.")


def test_a_container_without_a_health_check_is_healthy_once_it_accepts_connections(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "STEADY_SECONDS", 0)
    machine.answer(behaviour={"sha256:1": "plain"})
    networks = [{"name": "monitoring"}]
    with socket.create_server(("127.0.0.1", 0)) as server:
        definition = {"image": "web:1", "expose": [server.getsockname()[1]]}
        assert machine.run(definition=definition, networks=networks)["changed"]
    result = machine.run(definition={**definition, "command": ["other"]}, networks=networks)
    assert 'The service "web" is still starting after 1 s' in result["msg"]
    assert "running, no health check" in result["msg"]


@pytest.mark.parametrize(
    ("expose", "ports"),
    [([], []), (None, []), ([80, "81", "82/tcp"], [80, 81, 82]), (["83/udp", "84-86"], [])],
)
def test_ports_that_a_service_listens_to(expose: Any, ports: list[int]) -> None:
    assert applying.listened_to({"expose": expose}) == ports


# -- images -----------------------------------------------------------------------------------------------------------


def test_only_images_that_were_pulled_or_built_here_are_removed(machine: Machine) -> None:
    machine.run()
    noted = machine.directory.parent / "images.json"
    assert not noted.exists()
    pullable = {f"web:{number}": f"sha256:{number}" for number in range(3, 7)}
    machine.answer(pullable=pullable)
    for tag in pullable:
        machine.run(definition={"image": tag})
    assert set(json.loads(noted.read_text())["images"]) == {"sha256:5", "sha256:6"}
    machine.answer()
    assert set(machine.engine["images"]) == {"web:1", "web:2", "web:5", "web:6"}


def test_only_a_build_clears_the_build_cache_and_may_fail_to(machine: Machine, tmp_path: Path) -> None:
    machine.answer(prune_code=1)
    machine.run()
    assert not any(line.startswith("builder") for line in machine.told())
    archive = tmp_path / "source.tar"
    archive.touch()
    assert machine.run(definition={"image": "web:built"}, build={"archive": "x"}, sent_archive=str(archive))["changed"]
    assert "builder prune --force --filter until=168h" in machine.told()


# -- contributions ----------------------------------------------------------------------------------------------------

JOB = {"reader": "prometheus", "ext": "jobs.yml", "content": "a job"}
BOARD = {"reader": "grafana", "ext": "json", "content": "{}", "shared": "flask_app"}


def test_contributions_wait_for_their_reader(machine: Machine) -> None:
    result = machine.run(contributions=[JOB, BOARD])
    assert result["actions"][-2:] == ["contribute prometheus/web.jobs.yml", "contribute grafana/flask_app.json"]
    assert (machine.contributions / "prometheus" / "web.jobs.yml").read_text() == "a job"
    assert (machine.contributions / "prometheus" / "web.jobs.yml").stat().st_mode & 0o777 == 0o400
    assert machine.contributions.stat().st_mode & 0o777 == 0o700
    assert not machine.run(contributions=[JOB, BOARD])["changed"]
    assert machine.run(contributions=[BOARD])["actions"] == ["withdraw prometheus/web.jobs.yml"]
    assert "withdraw grafana/flask_app.json" in machine.run(state="absent", contributions=[BOARD])["actions"]
    assert not (machine.contributions / "grafana" / "flask_app.json").exists()


def test_check_mode_contributes_nothing(machine: Machine) -> None:
    machine.run()
    result = machine.run(check_mode=True, contributions=[JOB])
    assert result["actions"] == ["contribute prometheus/web.jobs.yml"]
    assert result["diff"][-1]["after"] == "a job"
    assert not machine.contributions.exists()


def test_a_password_among_the_contributions_is_hidden(machine: Machine) -> None:
    contribution = {"reader": "prometheus", "ext": "password", "secret": SECRET}
    result = machine.run(contributions=[contribution])
    assert SECRET not in json.dumps(result)
    assert (machine.contributions / "prometheus" / "web.password").read_text() == SECRET


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([JOB, {**JOB, "content": "another"}], '"prometheus/web.jobs.yml" is described twice'),
        ([{"reader": "prometheus", "ext": "token", "secret": SECRET}], '"prometheus/web.token" is a secret'),
        ([{"reader": "../etc", "ext": "x", "content": ""}], '"../etc/web.x" may only have letters'),
        ([{"reader": "prometheus", "ext": "pem", "source": "tls/x.pem"}], 'the source "tls/x.pem" of web.pem'),
        (
            [pem("")],
            '"probe/web.pem" of the service "web" holds no certificate: it is empty; provide one in PEM format.',
        ),
        ([pem(" \n")], '"probe/web.pem" of the service "web" holds no certificate: it is empty'),
        ([pem("a certificate")], '"probe/web.pem" of the service "web" holds no certificate; provide one'),
        ([pem(CERTIFICATE[:300])], '"probe/web.pem" of the service "web" holds no certificate; provide one'),
        ([pem(CERTIFICATE + CERTIFICATE.replace("MIIB", "XXXX"))], '"probe/web.pem" of the service "web" holds no'),
        ([pem("", ext="tls.pem")], '"probe/web.tls.pem" of the service "web" holds no certificate: it is empty'),
    ],
)
def test_invalid_contributions_are_reported_before_anything_is_done(
    machine: Machine, items: list[dict[str, Any]], sentence: str
) -> None:
    assert machine.run(contributions=items)["msg"].startswith(f"contributions: {sentence}")
    assert machine.told() == []
    assert not machine.directory.exists()


@pytest.mark.parametrize("text", ["{0}", "{0}{0}", "# für die Probe\n{0}\n# and no more\n"])
def test_certificates_are_contributed_as_they_are(machine: Machine, text: str) -> None:
    given = text.format(CERTIFICATE)
    assert machine.run(contributions=[pem(given)])["actions"][-1] == "contribute probe/web.pem"
    assert (machine.contributions / "probe" / "web.pem").read_text() == given


def test_a_certificate_that_became_empty_on_the_server_is_provided_again(machine: Machine) -> None:
    machine.run(contributions=[pem(CERTIFICATE)])
    copy = machine.contributions / "probe" / "web.pem"
    copy.write_text("")
    assert machine.run(contributions=[pem(CERTIFICATE)])["actions"] == ["contribute probe/web.pem"]
    assert copy.read_text() == CERTIFICATE


def test_a_source_may_be_one_of_the_files(machine: Machine) -> None:
    contribution = {"reader": "probe", "ext": "txt", "source": "conf/page"}
    assert machine.run(contributions=[contribution])["actions"][-1] == "contribute probe/web.txt"
    assert (machine.contributions / "probe" / "web.txt").read_text() == "page"
    predicted = machine.run(page="new", contributions=[contribution], check_mode=True)["actions"]
    assert predicted == ["write conf/page", "reload", "contribute probe/web.txt"]


def test_a_binary_file_has_a_diff_too(machine: Machine) -> None:
    path = machine.contributions / "prometheus" / "web.jobs.yml"
    machine.run(contributions=[JOB])
    path.chmod(0o600)
    path.write_bytes(b"\xff")
    assert machine.run(contributions=[JOB])["diff"][-1]["after"] == "a job"


def test_a_shared_contribution_goes_with_its_last_owner(machine: Machine) -> None:
    path = machine.contributions / "grafana" / "flask_app.json"
    machine.run(contributions=[BOARD])
    other = {"name": "shop", "contributions_directory": str(machine.contributions)}
    machine.run_module("contributions", programs=machine.bin, contributions=[BOARD], **other)
    machine.run(contributions=[])
    assert path.exists()
    machine.run_module("contributions", programs=machine.bin, state="absent", **other)
    assert not path.exists()


class WithReader(Machine):
    """The machine with the reader `web`, to which other services contribute files."""

    def deploy(self, **given: Any) -> dict[str, Any]:
        return self.run(contributions_uid=os.getuid(), **given)

    def leave(
        self, content: str | None, owner: str = "app", shared: str | None = None, check_mode: bool = False
    ) -> dict[str, Any]:
        (self.bin / "told").write_text("")
        item = {"reader": "web", "ext": "rules.yml", "content": content, **({"shared": shared} if shared else {})}
        items = [item] if content is not None else []
        return self.run_module(
            "contributions",
            programs=self.bin,
            check_mode=check_mode,
            name=owner,
            contributions=items,
            contributions_directory=str(self.contributions),
        )

    def reloads(self) -> int:
        """How often the last run had the reader load its files."""
        return sum(line.startswith("exec ") and line.endswith("reload") for line in self.told())


@pytest.fixture
def reader(tmp_path: Path, run_module: Any, monkeypatch: pytest.MonkeyPatch) -> WithReader:
    return WithReader(tmp_path, run_module).installed(monkeypatch)


@pytest.mark.parametrize(
    ("where", "file", "held"),
    [
        ((applying.Applier, "apply"), ".web.lock", True),
        ((contributed, "contribute"), ".web.lock", False),
        ((contributed, "contribute"), "contributions/.lock", False),
        ((contributed, "synchronise"), "contributions/.lock", True),
        ((contributed.Store, "give"), "contributions/.lock", True),
        ((shutil, "rmtree"), ".web.lock", True),
    ],
    ids=["apply", "contribute", "lock of all", "synchronise", "give", "remove"],
)
def test_concurrent_runs_take_turns(
    reader: WithReader, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str], file: str, held: bool
) -> None:
    original, found = getattr(*where), []

    def look(*given: Any) -> Any:
        with (reader.directory.parent / file).open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(False)
            except BlockingIOError:
                found.append(True)
        return original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(*where, look)
        reader.deploy(contributions=[JOB])
        reader.deploy(state="absent")
    assert set(found) == {held}


def test_a_reader_checks_and_loads_contributions(reader: WithReader) -> None:
    reader.deploy()
    result = reader.leave("a rule")
    assert result["actions"] == ["contribute web/app.rules.yml", "reload web"]
    assert any(" run --rm " in line and line.endswith("--entrypoint web web -t") for line in reader.told())
    assert f"exec {reader.containers[0]['Id']} web -s reload" in reader.told()
    assert not reader.leave("a rule")["changed"]
    assert not reader.deploy()["changed"]
    assert reader.leave(None)["actions"] == ["withdraw web/app.rules.yml", "reload web"]


def test_a_reader_that_no_longer_sees_its_files_is_started_again(reader: WithReader) -> None:
    reader.deploy()
    lose_sight(reader)
    before = reader.containers[0]["Id"]
    assert reader.leave("a rule")["actions"] == ["contribute web/app.rules.yml", "reload web"]
    assert f"restart {before}" in reader.told()
    assert not reader.deploy()["changed"]


def test_waiting_contributions_are_loaded_by_the_readers_own_run(reader: WithReader) -> None:
    reader.leave("a rule")
    assert reader.deploy()["changed"]
    assert not reader.leave("a rule")["changed"]
    found = reader.containers
    found[0]["State"]["Status"] = "exited"
    reader.answer(containers=found)
    assert reader.leave("another")["actions"] == ["contribute web/app.rules.yml"]
    assert reader.deploy()["actions"] == ["start"]
    assert not reader.deploy()["changed"]


def test_an_interrupted_load_is_done_by_the_next_run_of_any_service(reader: WithReader) -> None:
    reader.deploy()
    reader.leave("a rule")
    index = reader.contributions / "web.json"
    noted = json.loads(index.read_text())
    for mend in (lambda: reader.leave("a rule"), reader.deploy):
        index.write_text(json.dumps({**noted, "applied": "before"}))
        assert "reload" in mend()["actions"][-1]
        assert not reader.leave("a rule")["changed"]


def test_a_refused_contribution_is_undone_and_named_with_its_owner(reader: WithReader) -> None:
    reader.deploy()
    reader.leave("a rule")
    reader.answer(run_code=1, run_output="/etc/web/contributions/app.rules.yml: bad expression")
    result = reader.leave("bad")
    assert "contributions: app.rules.yml of the service app: web rejects the contributed files: " in result["msg"]
    path = reader.contributions / "web" / "app.rules.yml"
    assert path.read_text() == "a rule"
    assert not any(line.startswith("exec") for line in reader.told())
    reader.answer(run_code=0)
    assert reader.leave("a rule")["changed"] is False
    assert reader.leave("good")["changed"]


def test_a_file_whose_name_is_the_end_of_a_refused_ones_is_not_named(reader: WithReader) -> None:
    reader.deploy()
    reader.leave("a rule")
    reader.answer(run_code=1, run_output="/etc/web/shop-app.rules.yml: bad expression")
    assert reader.leave("bad", owner="shop-app")["msg"].startswith(
        "contributions: shop-app.rules.yml of the service shop-app: web rejects"
    )


def test_a_file_that_is_just_being_written_is_ignored(reader: WithReader) -> None:
    reader.leave("a rule")
    (reader.contributions / "web" / ".miniweb-x").symlink_to("gone")
    assert reader.deploy()["changed"]
    assert not reader.deploy()["changed"]


def test_a_refusal_without_a_name_names_the_reader(reader: WithReader) -> None:
    reader.deploy()
    reader.leave("a rule")
    index = reader.contributions / "web.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "applied": "before"}))
    reader.answer(run_code=1, run_output="out of memory")
    assert reader.leave("a rule")["msg"].startswith(
        "contributions: web: web rejects the contributed files: out of memory"
    )


def test_a_reader_whose_proof_fails_loads_its_previous_files(reader: WithReader) -> None:
    proof = {
        "command": ["sh", "-c", f"! grep -q bad {reader.contributions}/web/*.yml"],
        "on_server": True,
        "timeout": 1,
    }
    reader.deploy(reload_proof=proof)
    reader.leave("good")
    assert "web keeps what it had" in reader.leave("bad")["msg"]
    assert reader.reloads() == 2


@pytest.mark.parametrize("next_run", [lambda reader: reader.leave("a rule"), lambda reader: reader.deploy()])
def test_a_reader_that_may_have_loaded_files_of_a_killed_run_loads_its_previous_files(
    reader: WithReader, next_run: Callable[[WithReader], dict[str, Any]]
) -> None:
    reader.deploy()
    reader.leave("a rule")
    with reader.killed_in(contributed, "reload_containers"):
        reader.leave("bad")
    next_run(reader)
    assert (reader.contributions / "web" / "app.rules.yml").read_text() == "a rule"
    assert reader.reloads() == 1


@pytest.mark.parametrize("changed", ["bad", None])
@pytest.mark.parametrize(
    "next_run", [lambda reader: reader.leave("another rule", owner="shop"), lambda reader: reader.deploy()]
)
def test_unproven_files_of_a_killed_run_are_undone_by_the_next_run_of_any_service(
    reader: WithReader, next_run: Callable[[WithReader], dict[str, Any]], changed: str | None
) -> None:
    reader.deploy()
    reader.leave("a rule")
    with reader.killed_in(contributed.Store, "change"):
        reader.leave(changed)
    path = reader.contributions / "web" / "app.rules.yml"
    assert (path.read_text() if path.exists() else None) == changed
    assert not next_run(reader).get("failed")
    assert path.read_text() == "a rule"
    # Its owner contributes it again.
    assert reader.leave("good")["actions"] == ["contribute web/app.rules.yml", "reload web"]
    assert reader.leave(None)["actions"] == ["withdraw web/app.rules.yml", "reload web"]


@pytest.mark.parametrize("changed", ["bad", None])
def test_a_killed_change_is_made_again_by_its_owner(reader: WithReader, changed: str | None) -> None:
    reader.deploy()
    reader.leave("a rule")
    with reader.killed_in(contributed.Store, "change"):
        reader.leave(changed)
    word = "withdraw" if changed is None else "contribute"
    assert reader.leave(changed)["actions"] == [f"{word} web/app.rules.yml", "reload web"]
    assert not reader.leave(changed)["changed"]


def test_check_mode_predicts_what_a_run_then_does(reader: WithReader) -> None:
    reader.leave("waits", check_mode=True)
    assert not reader.contributions.exists()
    reader.deploy()
    index = reader.contributions / "web.json"
    for content, owner in [("a rule", "app"), ("a rule", "shop"), (None, "app"), ("a rule", "shop"), (None, "shop")]:
        said = reader.leave(content, owner=owner, shared="shops", check_mode=True)["actions"]
        assert reader.leave(content, owner=owner, shared="shops")["actions"] == said
    reader.leave("a rule")
    index.write_text(json.dumps({**json.loads(index.read_text()), "applied": "before"}))
    assert reader.leave("a rule", check_mode=True)["actions"] == ["reload web"] == reader.leave("a rule")["actions"]
    reader.become("exited")
    said = reader.leave("another", check_mode=True)["actions"]
    assert said == ["contribute web/app.rules.yml"] == reader.leave("another")["actions"]


@pytest.mark.parametrize("pull", ["missing", "always"])
@pytest.mark.parametrize("build", [None, {"archive": "x", "base": "python:3"}])
def test_check_mode_needs_no_engine(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, build: dict[str, Any] | None, pull: str
) -> None:
    found = AnsibleModule.get_bin_path
    monkeypatch.setattr(
        AnsibleModule,
        "get_bin_path",
        lambda self, name, *given: None if name == "docker" else found(self, name, *given),
    )
    given = {"volumes": ["data"], "build": build, "pull": pull}
    assert machine.run(check_mode=True, **given)["actions"][-1] == "create"
    assert "Docker is not installed" in machine.run(**given)["msg"]


def test_check_mode_does_not_withdraw_a_file_that_the_run_would_create(machine: Machine) -> None:
    contribution = {"reader": "probe", "ext": "pem", "source": "tls/certificate.pem"}
    certificate = machine.directory / "tls" / "certificate.pem"
    certificate.parent.mkdir(parents=True)
    certificate.write_text(CERTIFICATE)
    machine.run(contributions=[contribution])
    certificate.unlink()
    assert machine.run(check_mode=True, contributions=[contribution])["actions"] == ["contribute probe/web.pem"]


def test_a_service_whose_shared_file_is_refused_does_not_own_it(reader: WithReader) -> None:
    reader.deploy()
    reader.leave("a rule", owner="shop", shared="shops")
    reader.answer(run_code=1, run_output="bad expression")
    assert reader.leave("bad", owner="market", shared="shops")["failed"]
    path = reader.contributions / "web" / "shops.rules.yml"
    assert path.read_text() == "a rule"
    reader.answer(run_code=0)
    reader.leave(None, owner="shop")
    assert not path.exists()


def test_a_service_still_owns_a_shared_file_after_its_withdrawal_was_refused(reader: WithReader) -> None:
    reader.deploy()
    reader.leave("a rule", shared="shops")
    reader.answer(run_code=1, run_output="bad expression")
    assert reader.leave(None)["failed"]
    reader.answer(run_code=0)
    path = reader.contributions / "web" / "shops.rules.yml"
    assert path.read_text() == "a rule"
    assert reader.leave(None)["actions"] == ["withdraw web/shops.rules.yml", "reload web"]
    assert not path.exists()


def test_contributions_to_a_removed_reader_wait_for_its_return(reader: WithReader) -> None:
    reader.deploy()
    reader.leave("a rule")
    reader.deploy(state="absent")
    assert (reader.contributions / "web" / "app.rules.yml").exists()
    assert not reader.leave("a rule")["changed"]
    assert reader.leave("another")["actions"] == ["contribute web/app.rules.yml"]
    reader.deploy()
    assert not reader.leave("another")["changed"]


SHARED = {
    "definition": {"image": "web:1", "volumes": ["shop_uploads:/uploads:nocopy"]},
    "shared_volumes": [{"service": "shop", "volume": "uploads", "owner": os.getuid()}],
}


def test_a_shared_volume_is_created_once_and_belongs_to_another_project(machine: Machine) -> None:
    assert machine.run(**SHARED)["changed"]
    created = [line for line in machine.told() if line.startswith("volume create")]
    assert created == [
        "volume create --label com.docker.compose.project=miniweb-shop --label com.docker.compose.volume=uploads miniweb-shop_uploads"
    ]
    document = json.loads((machine.directory / "compose.yaml").read_text())
    assert document["volumes"] == {"shop_uploads": {"name": "miniweb-shop_uploads", "external": True}}
    assert not machine.run(**SHARED)["changed"]
    assert not [line for line in machine.told() if line.startswith("volume create")]


def test_a_shared_volume_that_has_disappeared_is_not_replaced_by_an_empty_one(machine: Machine) -> None:
    machine.run(**SHARED)
    machine.answer(made=[], containers=[])
    message = machine.run(**SHARED)["msg"]
    assert "miniweb-shop_uploads" in message
    assert machine.engine["made"] == []


def test_a_volume_that_another_service_has_mounted_is_kept_and_removed_later(machine: Machine) -> None:
    given = {"volumes": ["data"]}
    machine.answer(volume=str(machine.volume))
    machine.run(**given)
    machine.answer(in_use=True)
    result = machine.run(state="absent", remove_volumes=True)
    assert "The volume miniweb-web_data is kept as long as" in str(result["warnings"])
    assert "remove volume miniweb-web_data" not in result["actions"]
    assert machine.containers == []
    assert not machine.run(state="absent", remove_volumes=True)["changed"]
    machine.answer(in_use=False)
    result = machine.run(state="absent", remove_volumes=True)
    assert "warnings" not in result
    assert result["actions"] == ["remove volume miniweb-web_data"]
    assert machine.told()[-1] == "volume rm miniweb-web_data"


def test_what_changes_in_a_shared_volume_hinders_no_rollback(machine: Machine) -> None:
    machine.run(**SHARED)
    machine.answer(volume=str(machine.volume), behaviour={"sha256:2": "unhealthy"}, opens_data=["sha256:2"])
    definition = {**SHARED["definition"], "image": "web:2"}
    assert "The previous version is running again" in machine.run(**{**SHARED, "definition": definition})["msg"]
    assert (machine.volume / "opened").exists()


@pytest.mark.parametrize(
    ("command", "code", "output", "sentence"),
    [
        ("flask routes", 0, "3 routes", ""),
        ("flask seed", 4, "Traceback\nERROR: no table", "`flask seed` exited with 4: ERROR: no table"),
        ("flask seed", 4, "", "`flask seed` exited with 4: it printed nothing"),
        (
            'flask "seed',
            0,
            "",
            'command: `flask "seed` cannot be split into words (No closing quotation): correct its quotes.',
        ),
        (" ", 0, "", "command is empty: give one, such as flask routes."),
    ],
)
def test_one_command_of_a_service(machine: Machine, command: str, code: int, output: str, sentence: str) -> None:
    machine.run(check_command=[])
    machine.answer(run_code=code, run_output=output)
    result = machine.run_module(
        "compose_run",
        programs=machine.bin,
        service="web",
        directory=str(machine.directory),
        command=command,
        launcher=["launch"],
    )
    assert result.get("msg", "") == sentence
    if not sentence:
        assert result["stdout_lines"] == ["3 routes"]
        assert "--entrypoint launch web flask routes" in machine.told()[-1]


def test_a_command_of_a_service_that_is_not_there(machine: Machine) -> None:
    result = machine.run_module(
        "compose_run", programs=machine.bin, service="shop", directory=str(machine.directory), command="a"
    )
    assert result["msg"] == 'The service "shop" is not on this server: deploy it before, or give its name.'
