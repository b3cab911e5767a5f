"""docker_daemon: what is compared, and the whole module with programs that act as an engine and its service manager."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import FileState
from ansible_collections.miniweb.stack.plugins.modules import docker_daemon as dd

OPTIONS: dict[str, Any] = {"live-restore": True, "log-opts": {"max-file": "3"}}


def file_of(configuration: dict[str, Any], mode: int = 0o644) -> FileState:
    return FileState(dd.text_of(configuration).encode(), mode)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (dd.Found(file_of(OPTIONS), True, False), []),
        (dd.Found(FileState(json.dumps(OPTIONS).encode(), 0o644), True, False), []),
        (dd.Found(file_of(OPTIONS, 0o600), True, False), []),
        (dd.Found(file_of(OPTIONS, 0o664), True, False), ["change the permissions of d.json"]),
        (
            dd.Found(FileState(dd.text_of(OPTIONS).encode(), 0o644, 1), True, False),
            ["change the permissions of d.json"],
        ),
        (dd.Found(None, True, False), ["write d.json", "restart"]),
        (dd.Found(FileState(b"{ torn", 0o644), True, False), ["write d.json", "restart"]),
        (dd.Found(FileState(b"[]", 0o644), True, False), ["write d.json", "restart"]),
        (dd.Found(file_of({**OPTIONS, "live-restore": 1}), True, False), ["write d.json", "restart"]),
        (dd.Found(file_of(OPTIONS), True, True), ["restart"]),
        (dd.Found(file_of(OPTIONS), False, False), ["start"]),
        (dd.Found(file_of({}), False, False), ["write d.json", "start"]),
        (dd.Found(file_of(OPTIONS), True, False, dd.Journal(None, None)), ["prove"]),
        (dd.Found(file_of(OPTIONS), True, True, dd.Journal(None, None)), ["restart"]),
    ],
)
def test_plan(found: dd.Found, wanted: list[str]) -> None:
    assert dd.make_plan(found, OPTIONS, 0, 0).actions("d.json") == wanted


def container(name: str, status: str = "running", exit_code: int = 0, policy: str = "no") -> dd.Container:
    return dd.Container(f"id-{name}", name, status, exit_code, policy)


@pytest.mark.parametrize(
    ("before", "after", "kept", "found"),
    [
        (container("a"), container("a"), True, []),
        (container("a"), container("a", "paused"), True, []),
        (container("a"), container("a", "exited"), True, []),
        (container("a"), container("a", "exited", 137), True, ["a"]),
        (container("a"), container("a", "exited", 137), False, []),
        (container("a", "exited"), container("a", "exited", 1), True, []),
        (container("a", policy="always"), container("a", "exited"), False, ["a"]),
        (container("a", policy="unless-stopped"), container("a", "restarting", 1), False, ["a"]),
        (container("a", policy="always"), container("b"), True, []),
    ],
)
def test_stopped(before: dd.Container, after: dd.Container, kept: bool, found: list[str]) -> None:
    ended = dd.stopped(dd.Snapshot("/", True, (before,)), dd.Snapshot("/", True, (after,)), kept)
    assert [item.name for item in ended] == found
    assert set(ended) <= {after}


def test_hidden_is_what_the_engine_no_longer_shows_and_the_disk_still_has(tmp_path: Path) -> None:
    for name in ("containers/id-a", "volumes/data"):
        (tmp_path / name).mkdir(parents=True)
    volumes = (("local", "data"), ("local", "removed"), ("nfs", "share"))
    before = dd.Snapshot(str(tmp_path), True, (container("a"), container("removed")), volumes)
    after = dd.Snapshot("/elsewhere", True)
    assert dd.hidden(before, after) == ["container a", "volume data", "volume share"]
    assert dd.hidden(before, before) == []
    away = dd.Snapshot(str(tmp_path / "not-mounted"), True, (container("removed"),))
    assert dd.hidden(away, after) == ["container removed"]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "it logged nothing"),
        (["level=info msg=Starting", "failed to start daemon: no.", "level=info msg=stopped"], "failed to start daemon: no"),
        (["level=info msg=Starting"], "level=info msg=Starting"),
    ],
)  # fmt: skip
def test_reason_in(lines: list[str], reason: str) -> None:
    assert dd.reason_in(lines) == reason


@pytest.mark.parametrize(
    ("items", "words"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (list("abcde"), "a, b, c and 2 more")],
)
def test_enumerated(items: list[str], words: str) -> None:
    assert dd.enumerated(items) == words


@pytest.mark.parametrize("previous", [None, FileState(b"\xff{}", 0o600, 1, 2)])
@pytest.mark.parametrize(
    "before", [None, dd.Snapshot("/var/lib/docker", True, (container("a"),), (("local", "data"),), ("sha256:1",))]
)
def test_journal_is_read_as_it_was_written(previous: FileState | None, before: dd.Snapshot | None) -> None:
    journal = dd.Journal(previous, before)
    assert dd.journal_from(dd.journal_text(journal).encode()) == journal


# -- the whole module -------------------------------------------------------------------------------------------------

PROGRAM = r'''
import json, os, signal, sys
from pathlib import Path

here, name, words = Path(__file__).parent, Path(sys.argv[0]).name, sys.argv[1:]
state = json.loads((here / "state.json").read_text())
config = here / "daemon.json"


def save():
    (here / "state.json").write_text(json.dumps(state))


def told(word, process):
    """Note what was asked for; where the test wants it, end the module there as kill does."""
    state["told"].append(word)
    if state["kill_at"] == [word, state["told"].count(word)]:
        state["kill_at"] = []
        save()
        os.kill(process, signal.SIGKILL)
        sys.exit(1)
    save()


def start():
    options = json.loads(config.read_text()) if config.exists() else {}
    state["active"] = False
    if "conflict" in options or state["broken"]:
        state["log"] = ["level=info msg=Starting", "failed to start daemon: it is a conflict."]
        save()
        return 1
    state.update(active=True, running=options)
    for container in state["containers"]:
        if container["name"] == options.get("ends"):
            container.update(status="exited", exit_code=137)
        elif container["policy"] == "always":
            container.update(status="running")
    save()
    (here / "docker.pid").write_text("1")
    return 0


# The module runs docker and systemctl's restart through `timeout`.
grandparent = int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])
if name == "dockerd":
    if "unknown" in Path(words[-1]).read_text():
        sys.exit(f"unable to configure: {words[-1]}: directives don't match any configuration option: unknown")
elif name == "systemctl":
    if words[0] == "is-active":
        print("active" if state["active"] else "failed")
    elif words[0] == "is-enabled":
        print("enabled" if state.get("enabled", True) else "disabled")
    elif words[0] == "enable":
        state["enabled"] = True
        save()
    elif words[0] == "reset-failed":
        state["starts"] = 0
        told("reset-failed", os.getppid())
    else:
        told("restart", grandparent)
        state["starts"] += 1
        state["active"] = False
        save()
        sys.exit(start() if state["starts"] == 1 else "start request repeated too quickly")
elif name == "service":
    if words[1] == "status":
        sys.exit(0 if state["active"] else 3)
    if words[1] == "stop":
        state["active"] = False
        save()
    else:
        told("restart", 0)
        start()
elif name == "journalctl":
    print("\n".join(state["log"]))
elif name == "docker":
    if not state["active"]:
        sys.exit("Cannot connect to the Docker daemon.")
    told(f"docker {words[0]}", grandparent)
    shown = [] if "data-root" in state["running"] else state["containers"]
    if words[0] == "version":
        print("26.1.5")
    elif words[0] == "info":
        print(json.dumps([str(here / "root"), state["running"].get("live-restore", False)]))
    elif words[0] == "ps":
        print("\n".join(container["id"] for container in shown))
    elif words[0] == "inspect":
        print("\n".join(json.dumps({**c, "name": "/" + c["name"]}) for c in shown if c["id"] in words))
    elif words[0] == "start":
        for container in shown:
            container.update(status="running", exit_code=0)
        save()
    elif words[0] == "volume":
        print("\n".join(f"local\t{volume}" for volume in state["volumes"] if shown))
    elif words[0] == "image" and shown:
        print("sha256:1")
'''


class Server:
    """A server with an engine that runs with daemon.json, one container and one volume."""

    def __init__(self, path: Path, run_module: Any) -> None:
        self.path, self.run_module = path, run_module
        self.config, self.journal = path / "daemon.json", path / ".daemon.json.previous"
        self.good = {**OPTIONS, "pidfile": str(path / "docker.pid")}
        for name in ("docker", "dockerd", "systemctl", "service", "journalctl"):
            (path / name).write_text(f"#!{sys.executable} -IS\n{PROGRAM}")
            (path / name).chmod(0o755)
        for name in ("containers/id-web", "volumes/data"):
            (path / "root" / name).mkdir(parents=True)
        self.write(self.good)
        self.set(
            active=True,
            broken=False,
            running=self.good,
            containers=[{"id": "id-web", "name": "web", "status": "running", "exit_code": 0, "policy": "no"}],
            volumes=["data"],
            starts=0,
            log=[],
            told=[],
            kill_at=[],
        )
        (path / "docker.pid").write_text("1")

    @property
    def state(self) -> dict[str, Any]:
        return json.loads((self.path / "state.json").read_text())

    def set(self, **changed: Any) -> None:
        file = self.path / "state.json"
        file.write_text(json.dumps({**(self.state if file.exists() else {}), **changed}))

    def write(self, configuration: dict[str, Any]) -> None:
        self.config.write_text(dd.text_of(configuration))
        self.config.chmod(0o644)

    def run(self, manager: str = "systemd", check_mode: bool = False, **options: Any) -> dict[str, Any]:
        self.set(told=[])
        return self.run_module(
            "docker_daemon",
            programs=self.path,
            check_mode=check_mode,
            path=str(self.config),
            service_manager=manager,
            wait_timeout=1,
            configuration={**self.good, **options},
        )

    def interrupt(self, word: str, time: int, **options: Any) -> None:
        """Run the module and kill it when it runs this command for the nth time."""
        self.set(kill_at=[word, time])
        with pytest.raises(AssertionError):
            self.run(**options)
        assert self.state["kill_at"] == []

    def is_as_before(self) -> bool:
        found = self.state
        return (
            self.config.read_text() == dd.text_of(self.good)
            and not self.journal.exists()
            and not list(self.path.glob("daemon.json.*"))
            and (found["active"], found["running"]) == (True, self.good)
        )


@pytest.fixture
def server(tmp_path: Path, run_module_alone: Any) -> Server:
    return Server(tmp_path, run_module_alone)


def test_without_a_change_only_the_service_manager_is_asked(server: Server) -> None:
    result = server.run()
    assert (result["changed"], result["actions"]) == (False, [])
    assert server.state["told"] == []


def test_an_engine_that_does_not_start_on_boot_is_enabled(server: Server) -> None:
    server.set(enabled=False)
    assert server.run()["actions"] == ["start on boot"]
    assert server.state["enabled"]
    assert not server.run()["changed"]


@pytest.mark.parametrize("manager", ["systemd", "init"])
def test_changed_option_is_what_the_engine_runs_with(server: Server, manager: str) -> None:
    before = server.config.read_text()
    result = server.run(manager, debug=True)
    assert result["actions"] == [f"write {server.config}", "restart"]
    assert (result["diff"]["before"], result["diff"]["after"]) == (before, server.config.read_text())
    assert Path(result["backup_file"]).read_text() == before
    assert server.state["running"]["debug"] is True
    assert not server.journal.exists()
    assert not server.run(manager, debug=True)["changed"]


@pytest.mark.parametrize(("mode", "becomes"), [(0o600, 0o600), (0o664, 0o644)])
@pytest.mark.parametrize("given", [{}, {"debug": True}])
def test_a_narrow_mode_stays_and_a_wide_one_does_not(
    server: Server, mode: int, becomes: int, given: dict[str, Any]
) -> None:
    server.run(**given)
    server.config.chmod(mode)
    assert not server.run(**({} if given else {"debug": True})).get("failed")
    assert server.config.stat().st_mode & 0o777 == becomes


def test_check_mode_validates_and_changes_nothing(server: Server) -> None:
    assert server.run(check_mode=True, debug=True)["actions"] == [f"write {server.config}", "restart"]
    assert server.is_as_before()
    assert server.run(check_mode=True, unknown=True)["failed"]
    assert server.state["told"] == []


def test_refused_option_is_never_written(server: Server) -> None:
    result = server.run(unknown=True)
    assert result["msg"] == (
        f"configuration: the engine rejects it: unable to configure: {server.config}: directives don't match any "
        "configuration option: unknown; nothing was changed: correct it."
    )
    assert server.is_as_before()
    assert server.state["told"] == []


CONFLICT = "with a changed conflict the engine does not run: failed to start daemon: it is a conflict;"
# With an init script the engine's log has a fixed path.
SILENT_CONFLICT = "with a changed conflict the engine does not run: it logged nothing;"
HIDDEN = "with a changed data-root the engine no longer lists the container web and volume data;"
ENDED = "with a changed ends the engine no longer runs the container web (exited, exit code 137);"


@pytest.mark.parametrize(
    ("manager", "options", "policy", "fault"),
    [
        ("systemd", {"conflict": 1}, "no", CONFLICT),
        ("init", {"conflict": 1}, "no", SILENT_CONFLICT),
        ("systemd", {"data-root": "/x"}, "no", HIDDEN),
        ("systemd", {"ends": "web"}, "no", ENDED),
        ("init", {"ends": "web", "live-restore": False}, "always", ENDED.replace("ends", "ends and live-restore", 1)),
    ],
)
def test_options_that_fail_are_rolled_back(
    server: Server, manager: str, options: dict[str, Any], policy: str, fault: str
) -> None:
    server.set(containers=[{**server.state["containers"][0], "policy": policy}])
    assert server.run(manager, **options)["msg"] == (
        f"configuration: {fault} the old {server.config} is back, and the engine runs as before, with 1 container "
        "running: correct what changed."
    )
    assert server.is_as_before()
    assert server.run(manager, debug=True)["changed"]
    assert server.state["running"]["debug"] is True


def test_without_an_old_file_there_is_none_again(server: Server) -> None:
    server.config.unlink()
    server.set(running={})
    result = server.run(conflict=1)
    gone = f"{server.config}, which did not exist before, has been removed again"
    assert f"{gone}, and the engine runs as before" in result["msg"]
    assert not server.config.exists()
    assert (server.state["active"], server.state["running"]) == (True, {})


def test_without_live_restore_only_a_policy_brings_a_container_back(server: Server) -> None:
    server.set(running={})
    assert server.run(ends="web")["changed"]


def test_an_old_file_that_fails_too_is_reported(server: Server) -> None:
    server.write({**server.good, "conflict": 1})
    result = server.run(conflict=2)
    assert result["msg"].endswith(
        f"the old {server.config} is back, but the engine does not run: failed to start daemon: it is a conflict: "
        "look at journalctl --unit docker."
    )
    assert json.loads(server.config.read_text())["conflict"] == 1
    assert server.journal.stat().st_mode & 0o777 == 0o600
    assert server.run()["actions"] == [f"write {server.config}", "start"]
    assert server.state["running"] == server.good
    assert not server.journal.exists()


def test_a_stopped_engine_is_started_after_its_failures_are_reset(server: Server) -> None:
    server.set(active=False, starts=3)
    assert server.run()["actions"] == ["start"]
    assert server.is_as_before()


def test_a_stopped_engine_that_does_not_start_is_reported(server: Server) -> None:
    server.set(active=False, broken=True)
    assert server.run()["msg"] == (
        f"configuration: the engine does not run: failed to start daemon: it is a conflict; {server.config} is the one "
        "it had before, so there is no earlier file to go back to: look at journalctl --unit docker."
    )


def test_what_a_stopped_engine_has_is_known_before_its_options_change(server: Server) -> None:
    server.set(active=False)
    assert "no longer lists the container web and volume data" in server.run(**{"data-root": "/x"})["msg"]
    assert server.is_as_before()


def test_the_engine_is_restarted_if_its_file_is_newer(server: Server) -> None:
    server.write(server.good)
    assert server.run()["actions"] == ["restart"]
    assert server.run()["actions"] == []


@pytest.mark.parametrize(
    ("word", "time"),
    [("docker image", 1), ("reset-failed", 1), ("restart", 1), ("docker version", 2), ("docker ps", 2)],
)
def test_an_interrupted_run_is_finished_by_the_next(server: Server, word: str, time: int) -> None:
    before = server.config.read_text()
    server.interrupt(word, time, debug=True)
    assert server.journal.exists() == (server.config.read_text() != before)
    assert server.run(debug=True)["changed"]
    assert server.state["running"]["debug"] is True
    assert not server.journal.exists()


@pytest.mark.parametrize("options", [{"conflict": 1}, {"data-root": "/x"}], ids=str)
@pytest.mark.parametrize(("word", "time"), [("reset-failed", 1), ("restart", 1), ("restart", 2)])
def test_a_rollback_survives_an_interruption(server: Server, options: dict[str, Any], word: str, time: int) -> None:
    server.interrupt(word, time, **options)
    result = server.run(**options)
    assert "the engine runs as before, with 1 container running" in result["msg"]
    for backup in server.path.glob("daemon.json.*"):
        backup.unlink()
    assert server.is_as_before()


@pytest.mark.parametrize(("word", "time"), [("restart", 1), ("docker ps", 2), ("restart", 2)])
def test_what_an_interrupted_run_has_hidden_is_found_by_the_next(server: Server, word: str, time: int) -> None:
    server.interrupt(word, time, **{"data-root": "/x"})
    assert server.run()["changed"]
    assert server.state["running"] == server.good
    assert not server.journal.exists()


def test_an_unreadable_journal_is_named(server: Server) -> None:
    server.journal.write_text("{}")
    assert server.run()["msg"].startswith(f"{server.journal}, which an interrupted run left, cannot be read")
