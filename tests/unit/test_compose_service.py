"""compose_service: the plan, the Compose file, and the whole module with a docker program that notes what it is told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import FileState
from ansible_collections.miniweb.stack.plugins.modules import compose_service as cs

SECRET = "s3cr3t-$value"
PARAMS: dict[str, Any] = {
    "name": "web",
    "definition": {"image": "web:1"},
    "networks": [],
    "volumes": [],
}


def files(page: bytes = b"page", conf: bytes = b"conf", secret: str = SECRET) -> list[cs.File]:
    return [
        cs.File("conf/page", page, reload=True),
        cs.File("conf/start", conf),
        cs.File("secrets/password", secret.encode(), 0o400, 101, 101, secret=True),
    ]


def as_found(described: list[cs.File]) -> dict[str, FileState]:
    return {f.dest: FileState(f.content, f.mode, f.owner, f.group) for f in described if f.content is not None}


class Server:
    """A server on which the files of an earlier plan lie and its container runs."""

    def __init__(self) -> None:
        plan = cs.make_plan(PARAMS, files(), {}, cs.State(), [])
        assert plan.compose
        self.found = {**as_found(files()), **as_found([plan.compose])}
        self.state = cs.State(plan.reload_hash, plan.secrets_mark, tuple(file.dest for file in files()))
        labels = json.loads(plan.compose.content or b"")["services"]["web"]["labels"]
        self.configuration = labels[cs.CONFIGURATION_LABEL]

    def plan(
        self,
        described: list[cs.File] | None = None,
        status: str = "Up 2 hours (healthy)",
        state: str = "running",
        **changed: Any,
    ) -> cs.Plan:
        containers = [cs.Container("4c01", state, status, self.configuration)]
        described = files() if described is None else described
        return cs.make_plan({**PARAMS, **changed}, described, self.found, self.state, containers)


@pytest.fixture
def server() -> Server:
    return Server()


def test_fresh() -> None:
    plan = cs.make_plan(PARAMS, files(), {}, cs.State(), [])
    writes = [f"write {name}" for name in ("conf/page", "conf/start", "secrets/password", "compose.yaml")]
    assert plan.actions == [*writes, "create"]
    assert (plan.force, plan.start, plan.wait, plan.reload) == (False, False, False, False)
    assert len(plan.secrets_mark) == 16


@pytest.mark.parametrize("status", ["Up 2 hours (healthy)", "Up 2 hours"])
def test_nothing_to_do(server: Server, status: str) -> None:
    plan = server.plan(status=status)
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
        ({"state": "exited", "status": "Exited (0) 1 hour ago"}, ["start"]),
        ({"status": "Up 2 hours (unhealthy)"}, ["recreate"]),
        ({"status": "Up 1 second (health: starting)"}, []),
    ],
    ids=str,
)
def test_changes(server: Server, changed: dict[str, Any], actions: list[str]) -> None:
    plan = server.plan(**changed)
    # The order of removals and the Compose file in the plan's words: files that are written come first.
    assert sorted(plan.actions) == sorted(actions)
    assert plan.actions[-1:] == actions[-1:]
    assert plan.wait == (changed.get("status") == "Up 1 second (health: starting)")
    assert plan.force == ("recreate" in actions)


def test_changed_permissions_are_repaired_without_a_reload(server: Server) -> None:
    server.found["conf/page"] = FileState(b"page", 0o600)
    assert server.plan().actions == ["write conf/page"]


def test_file_made_by_something_else_reloads(server: Server) -> None:
    described = [*files(), cs.File("tls/certificate.pem", None, reload=True)]
    server.found["tls/certificate.pem"] = FileState(b"first", 0o644)
    first = server.plan(described)
    assert first.actions == ["reload"]
    server.state = cs.State(first.reload_hash, server.state.secrets, server.state.files)
    assert server.plan(described).actions == []
    server.found["tls/certificate.pem"] = FileState(b"second", 0o644)
    assert server.plan(described).actions == ["reload"]


def test_interrupted_run_is_finished(server: Server) -> None:
    server.found.update(as_found(files(page=b"new")))
    assert server.plan(files(page=b"new")).actions == ["reload"]
    server.configuration = "of the container before"
    assert server.plan(files(page=b"new")).actions == ["recreate"]


def test_secret_gets_a_new_mark_and_stands_nowhere(server: Server) -> None:
    plan = server.plan(files(secret="n3w-v4lue"))
    assert plan.secrets_mark != server.state.secrets
    assert plan.compose and plan.compose.content
    for text in (plan.compose.content.decode(), str(plan.actions), plan.reload_hash, plan.secrets_mark):
        assert "n3w-v4lue" not in text
    assert "n3w-v4lue" not in str(cs.text_diff(plan, server.found, "/srv"))
    assert SECRET not in str(cs.text_diff(server.plan(files()[:2]), server.found, "/srv"))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("$HOME", "$$HOME"),
        ({"a$": ["${X}", 1, None, True]}, {"a$": ["$${X}", 1, None, True]}),
        (3, 3),
    ],
)
def test_literal(value: Any, written: Any) -> None:
    assert cs.literal(value) == written


def test_compose_document() -> None:
    document = cs.compose_document(
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
    assert service["labels"] == {"a": "b=c", cs.CONFIGURATION_LABEL: "hash"}
    assert service["networks"] == ["edge"]
    assert service["secrets"] == ["password"]
    assert document["networks"] == {"edge": {"name": "edge", "external": True}}
    assert document["volumes"] == {"data": {}}
    assert document["secrets"] == {"password": {"file": "./secrets/password"}}


def file_item(**given: Any) -> dict[str, Any]:
    return {"dest": "a", "content": "", "mode": "0644", "owner": 0, "group": 0, "reload": False, **given}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        *(({"files": [file_item(dest=dest)]}, f'files: "{dest}" cannot be used as dest') for dest in (
            "/etc/passwd", "../x", "a/../../x", "a//b", "compose.yaml", "state.json", "secrets/x")),
        ({"files": [file_item(mode="rw")]}, 'files: mode "rw" of a is not an octal number'),
        ({"files": [file_item(reload=True)]}, "files: a has reload: true, but reload_command is not set"),
        ({"files": [file_item(), file_item()]}, 'files: "a" is described twice'),
        ({"secrets": [{"name": "../x", "content": "", "owner": 0}]}, 'secrets: name "../x" may only have'),
    ],
)  # fmt: skip
def test_described_files_refuses(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(cs.ServiceError) as error:
        cs.described_files({"files": [], "secrets": [], "reload_command": None, **given})
    assert str(error.value).startswith(sentence)


# -- the whole module -------------------------------------------------------------------------------------------------

DOCKER = """\
#!/bin/sh
# Answers as the engine does; the container's label is what the last `up` found in the Compose file.
here=$(dirname "$0")
echo "$*" >> "$here/told"
case "$*" in
  "ps "*) cat "$here/containers" ;;
  "image inspect"*) test -e "$here/image" ;;
  "pull "*) echo "manifest unknown." >&2; exit 1 ;;
  *" run --rm "*) echo "emerg: unknown directive"; exit "$(cat "$here/run_code")" ;;
  *" up "*)
    code=$(cat "$here/up_code")
    test "$code" = 0 || exit "$code"
    label=$(sed -n 's/.*"miniweb.stack.configuration": "\\(.*\\)".*/\\1/p' "$DIRECTORY/compose.yaml")
    printf '4c01db0b339c77\\trunning\\tUp 1 second (healthy)\\t%s\\n' "$label" > "$here/containers" ;;
  *" config "*) cat > "$here/document" ;;
  "inspect "*) echo '{"RestartCount": 2, "State": {"Status": "exited", "ExitCode": 3, "OOMKilled": true}}' ;;
  *" logs "*) echo "the last words" ;;
esac
"""


class Machine:
    """The module on a machine with that docker program."""

    def __init__(self, path: Path, run_module: Any) -> None:
        self.bin, self.directory, self.run_module = path / "bin", path / "web", run_module
        self.bin.mkdir()
        (self.bin / "docker").write_text(DOCKER.replace("$DIRECTORY", str(self.directory)))
        (self.bin / "docker").chmod(0o755)
        self.answer(containers="", image="", run_code="0", up_code="0", told="")

    def answer(self, **answers: str) -> None:
        for name, content in answers.items():
            (self.bin / name).write_text(content)

    def run(self, page: str = "page", secret: str = SECRET, **given: Any) -> dict[str, Any]:
        (self.bin / "told").write_text("")
        me = {"owner": os.getuid(), "group": os.getgid()}
        arguments = {
            "name": "web",
            "directory": str(self.directory),
            "definition": {"image": "web:1"},
            "files": [{"dest": "conf/page", "content": page, "reload": True, **me}],
            "secrets": [{"name": "password", "content": secret, "owner": os.getuid()}],
            "check_command": ["web", "-t"],
            "reload_command": ["web", "-s", "reload"],
        }
        return self.run_module("compose_service", programs=self.bin, **{**arguments, **given})

    def told(self) -> list[str]:
        return (self.bin / "told").read_text().splitlines()

    def contents(self) -> dict[str, bytes]:
        found = self.directory.rglob("*")
        return {str(p.relative_to(self.directory)): p.read_bytes() for p in found if p.is_file()}


@pytest.fixture
def machine(tmp_path: Path, run_module: Any) -> Machine:
    return Machine(tmp_path, run_module)


def test_first_and_second_run(machine: Machine) -> None:
    first = machine.run()
    assert first["actions"] == ["write conf/page", "write secrets/password", "write compose.yaml", "create"]
    assert (first["changed"], first["container_id"]) == (True, "4c01db0b339c")
    contents = machine.contents()
    assert set(contents) == {"compose.yaml", "state.json", "conf/page", "secrets/password"}
    assert [name for name, content in contents.items() if SECRET.encode() in content] == ["secrets/password"]
    assert SECRET not in json.dumps(first) + "".join(machine.told())
    assert (machine.directory / "secrets" / "password").stat().st_mode & 0o777 == 0o400
    assert machine.directory.stat().st_mode & 0o777 == 0o700

    second = machine.run()
    assert (second["changed"], second["actions"]) == (False, [])
    assert [line.split()[0] for line in machine.told()] == ["ps"]
    assert machine.contents() == contents


def test_reload(machine: Machine) -> None:
    machine.run()
    assert machine.run(page="new")["actions"] == ["write conf/page", "reload"]
    assert machine.told()[-2] == "exec 4c01db0b339c77 web -s reload"
    assert not any(" up " in line for line in machine.told())
    assert not machine.run(page="new")["changed"]


def test_check_mode_writes_nothing(machine: Machine) -> None:
    result = machine.run(check_mode=True)
    assert result["changed"]
    assert result["actions"][-1] == "create"
    assert not machine.directory.exists()


@pytest.mark.parametrize("given", [{"page": "wrong"}, {"definition": {"image": "web:2"}}, {"secret": "another"}])
def test_refused_files_are_put_back(machine: Machine, given: dict[str, Any]) -> None:
    machine.run()
    before = machine.contents()
    machine.answer(run_code="1")
    result = machine.run(**given)
    assert result["failed"]
    assert result["msg"] == (
        'check_command: the new files are refused: `web -t` of the service "web" ended with 1: '
        "emerg: unknown directive. The files are as they were before."
    )
    assert machine.contents() == before
    assert not any(" up " in line or line.startswith("exec") for line in machine.told())
    machine.answer(run_code="0")
    assert machine.run(**given)["changed"]


def test_failing_migration_leaves_a_new_server_empty(machine: Machine) -> None:
    machine.answer(run_code="4")
    result = machine.run(check_command=None, before_start=[["flask", "db", "upgrade"]])
    assert result["msg"].startswith("before_start: a command failed: `flask db upgrade`")
    assert machine.contents() == {}


def test_image_that_cannot_be_pulled(machine: Machine) -> None:
    (machine.bin / "image").unlink()
    result = machine.run()
    assert result["msg"].startswith('The image "web:1" of the service "web" cannot be pulled (manifest unknown): check')
    assert not machine.directory.exists()


def test_unhealthy_service_says_why_and_is_finished_by_the_next_run(machine: Machine) -> None:
    machine.answer(up_code="1", containers="")
    machine.run()
    machine.answer(containers="4c01db0b339c77\trunning\tUp 1 second (unhealthy)\told\n")
    result = machine.run()
    assert result["msg"] == (
        'The service "web" did not become healthy within 120 s: it stopped and was restarted 2 times; it ran out of memory; it is exited with exit code 3.'
    )
    assert result["logs"] == ["the last words"]
    assert any("--force-recreate" in line for line in machine.told())
    machine.answer(up_code="0")
    assert machine.run()["actions"] == ["recreate"]
    assert not machine.run()["changed"]


def test_missing_file_made_by_something_else(machine: Machine) -> None:
    result = machine.run(files=[{"dest": "tls/certificate.pem"}])
    assert result["msg"].startswith("files: tls/certificate.pem has no content and does not exist in ")
    assert not machine.directory.exists()


def test_absent(machine: Machine) -> None:
    machine.run()
    result = machine.run(state="absent")
    assert result["actions"] == ["remove containers", f"remove {machine.directory}"]
    assert machine.told()[-1] == "rm --force 4c01db0b339c77"
    assert not machine.directory.exists()


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
