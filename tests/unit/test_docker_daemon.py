"""docker_daemon: what is compared, and the whole module with programs that act as an engine and its service manager."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.miniweb.stack.plugins.module_utils import docker_configuration as dc
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
        (dd.Found(FileState(b"", 0o644), True, False), ["write d.json", "restart"]),
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


@pytest.mark.parametrize("written", [{}, OPTIONS])
@pytest.mark.parametrize("previous", [None, FileState(b"\xff{}", 0o600, 1, 2)])
@pytest.mark.parametrize(
    "before", [None, dd.Snapshot("/var/lib/docker", True, (container("a"),), (("local", "data"),), ("sha256:1",))]
)
def test_journal_is_read_as_it_was_written(
    previous: FileState | None, before: dd.Snapshot | None, written: dict[str, Any]
) -> None:
    journal = dd.Journal(previous, before, written)
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
    if state["swarm"] and options.get("live-restore"):
        state["log"] = ["failed to start daemon: --live-restore daemon configuration is incompatible with swarm mode"]
        save()
        return 1
    if "conflict" in options or state["broken"]:
        state["log"] = ["level=info msg=Starting", "failed to start daemon: it is a conflict."]
        save()
        return 1
    kept = state["running"].get("live-restore", False)
    state.update(active=True, running=options)
    for container in state["containers"]:
        if not kept and container["status"] == "running":
            container.update(status="exited", exit_code=137)
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
    elif words[0] == "show":
        print(f"NeedDaemonReload={'yes' if state['unread'] else 'no'}")
    elif words[0] == "daemon-reload":
        state["unread"] = False
        told("daemon-reload", os.getppid())
    elif words[0] == "reload":
        state["running"] = {**state["running"], "live-restore": json.loads(config.read_text()).get("live-restore", False)}
        told("reload", os.getppid())
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
    root = state["running"].get("data-root", str(here / "root"))
    shown = [] if root != str(here / "root") or "hides" in state["running"] else state["containers"]
    if words[0] == "version":
        print("26.1.5")
    elif words[0] == "info":
        live = state["running"].get("live-restore", False)
        if "Driver" in words[-1]:
            print(json.dumps([root, "overlay2", [["Backing Filesystem", "extfs"]], len(shown), len(shown)]))
        else:
            print(json.dumps([root, live]) if words[-1].startswith("[") else json.dumps(live))
    elif words[0] == "ps":
        print("\n".join(container["id"] for container in shown))
    elif words[0] == "inspect":
        print("\n".join(json.dumps({**c, "name": "/" + c["name"]}) for c in shown if c["id"] in words))
    elif words[0] == "start":
        for container in shown:
            container.update(status="running", exit_code=0)
        save()
    elif words[0] == "volume":
        prefix = "" if "--quiet" in words else "local\t"
        print("\n".join(f"{prefix}{volume}" for volume in state["volumes"] if shown))
    elif words[0] == "image" and shown:
        print("sha256:1")
'''

CODE = compile(PROGRAM, "program", "exec")
RUN_COMMAND = AnsibleModule.run_command


class Server:
    """A server with an engine that runs with daemon.json, one container and one volume."""

    def __init__(self, path: Path, run_module: Any, run_module_alone: Any) -> None:
        self.path, self.run_module, self.run_module_alone = path, run_module, run_module_alone
        self.config, self.journal = path / "daemon.json", path / ".daemon.json.previous"
        self.record = path / "docker.json"
        self.units = {path / "units" / name: text for name, text in dd.UNITS.items()}
        self.good = {**OPTIONS, "pidfile": str(path / "docker.pid")}
        for name in ("docker", "dockerd", "systemctl", "service", "journalctl"):
            (path / name).write_text(f"#!{sys.executable} -IS\n{PROGRAM}")
            (path / name).chmod(0o755)
        for name in ("containers/id-web", "volumes/data"):
            (path / "root" / name).mkdir(parents=True)
        self.write(self.good)
        for unit, text in self.units.items():
            unit.parent.mkdir(parents=True, exist_ok=True)
            unit.write_bytes(text)
        self.set(
            active=True,
            broken=False,
            swarm=False,
            unread=False,
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

    def run(
        self, manager: str = "systemd", check_mode: bool = False, hide_existing: bool = False, **options: Any
    ) -> dict[str, Any]:
        """Run the module; options that are None are taken out of its configuration."""
        self.set(told=[])
        run = self.run_module_alone if self.state["kill_at"] else self.run_module
        return run(
            "docker_daemon",
            programs=self.path,
            check_mode=check_mode,
            path=str(self.config),
            unit_directory=str(self.path / "units"),
            service_manager=manager,
            state_file=str(self.record),
            wait_timeout=1,
            variables={name: f"docker_{name}" for name in [*self.good, "conflict"]},
            hide_existing=hide_existing,
            configuration={name: value for name, value in {**self.good, **options}.items() if value is not None},
        )

    def run_command(self, module: AnsibleModule, words: list[str], **given: Any) -> tuple[int, str, str]:
        """Answer as the programs do, without a process for each call."""
        command = words[3:] if Path(words[0]).name == "timeout" else words
        if Path(command[0]).parent != self.path:
            return RUN_COMMAND(module, words, **given)
        out, code, said = io.StringIO(), 0, ""
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
            patch.setattr(sys, "argv", command)
            try:
                exec(CODE, {"__file__": command[0], "__name__": "__main__"})
            except SystemExit as ended:
                code, said = (ended.code, "") if isinstance(ended.code, int) else (1, str(ended.code))
        return code, out.getvalue(), said

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
def server(tmp_path: Path, run_module: Any, run_module_alone: Any, monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(tmp_path, run_module, run_module_alone)
    monkeypatch.setattr(AnsibleModule, "run_command", lambda *given, **named: found.run_command(*given, **named))
    return found


def test_without_a_change_only_the_service_manager_is_asked(server: Server) -> None:
    result = server.run()
    assert (result["changed"], result["actions"]) == (False, [])
    assert server.state["told"] == []


def test_an_engine_that_does_not_start_on_boot_is_enabled(server: Server) -> None:
    server.set(enabled=False)
    assert server.run()["actions"] == ["start on boot"]
    assert server.state["enabled"]
    assert not server.run()["changed"]


@pytest.mark.parametrize("text", [None, b"", b"[Unit]\nDescription=Earlier\n"], ids=["missing", "empty", "earlier"])
@pytest.mark.parametrize("unit", dd.UNITS)
@pytest.mark.parametrize("manager", ["systemd", "init"])
def test_an_engine_that_gives_up_is_told_not_to_and_is_not_restarted(
    server: Server, manager: str, unit: str, text: bytes | None
) -> None:
    path = server.path / "units" / unit
    path.unlink()
    if text is not None:
        path.write_bytes(text)
    ours = manager == "systemd"
    for check_mode in (True, False):
        assert server.run(manager, check_mode)["actions"] == (["never give up"] if ours else [])
        assert (path.exists() and path.read_bytes() == dd.UNITS[unit]) == (ours and not check_mode)
    assert server.state["told"] == (["daemon-reload"] if ours else [])
    assert server.run(manager)["actions"] == []


def test_what_systemd_has_not_read_is_read(server: Server) -> None:
    server.set(unread=True)
    server.run()
    assert server.state["told"] == ["daemon-reload"]
    assert not server.run()["changed"]


@pytest.mark.parametrize("unit", dd.UNITS)
def test_what_others_made_of_the_units_stays(server: Server, unit: str) -> None:
    theirs = server.path / "units" / "docker.service.d" / "override.conf"
    theirs.write_text("[Service]\nRestartSec=1\n")
    masked = server.path / "units" / unit
    masked.unlink()
    masked.symlink_to("/dev/null")
    assert server.run()["actions"] == []
    assert theirs.read_text() == "[Service]\nRestartSec=1\n"
    assert masked.is_symlink()


def test_an_engine_that_does_not_start_will_be_started_again(server: Server) -> None:
    for unit in server.units:
        unit.unlink()
    server.set(active=False, broken=True)
    assert "the engine does not run: " in server.run()["msg"]
    assert all(unit.read_bytes() == text for unit, text in server.units.items())


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
HIDDEN = "with a changed hides the engine no longer lists the container web and volume data;"
ENDED = "with a changed ends the engine no longer runs the container web (exited, exit code 137);"


@pytest.mark.parametrize(
    ("manager", "options", "policy", "fault"),
    [
        ("systemd", {"conflict": 1}, "no", CONFLICT),
        ("init", {"conflict": 1}, "no", SILENT_CONFLICT),
        ("systemd", {"hides": "all"}, "no", HIDDEN),
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
    assert server.run(ends="web", **{"live-restore": False})["changed"]


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
    assert "no longer lists the container web and volume data" in server.run(hides="all")["msg"]
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


@pytest.mark.parametrize("options", [{"conflict": 1}, {"hides": "all"}], ids=str)
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
    server.interrupt(word, time, hides="all")
    assert server.run()["changed"]
    assert server.state["running"] == server.good
    assert not server.journal.exists()


def test_an_unreadable_journal_is_named(server: Server) -> None:
    server.journal.write_text("{}")
    assert server.run()["msg"].startswith(f"{server.journal}, which an interrupted run left, cannot be read")


# -- what others set --------------------------------------------------------------------------------------------------

NOT_OURS = "which this collection did not write"


@pytest.mark.parametrize(
    ("found", "last", "wanted", "options", "written"),
    [
        # What others set stays; what this collection wrote is changed and removed.
        ({"dns": ["a"]}, {}, {"debug": True}, {"dns": ["a"], "debug": True}, {"debug": True}),
        ({"dns": ["a"], "debug": True}, {"debug": True}, {"debug": False}, {"dns": ["a"], "debug": False}, {"debug": False}),
        ({"dns": ["a"], "debug": True}, {"debug": True}, {}, {"dns": ["a"]}, {}),
        # Both want the same; it is still theirs.
        ({"debug": True}, {}, {"debug": True}, {"debug": True}, {}),
        # Changed by hand: wanted back, and left where nothing is wanted any more
        ({"debug": False}, {"debug": True}, {"debug": True}, {"debug": True}, {"debug": True}),
        ({"debug": False}, {"debug": True}, {}, {"debug": False}, {}),
        ({}, {"debug": True}, {"debug": True}, {"debug": True}, {"debug": True}),
        # Nested options
        (
            {"log-opts": {"tag": "x"}},
            {},
            {"log-opts": {"max-file": "3"}},
            {"log-opts": {"tag": "x", "max-file": "3"}},
            {"log-opts": {"max-file": "3"}},
        ),
        ({"log-opts": {"tag": "x", "max-file": "3"}}, {"log-opts": {"max-file": "3"}}, {}, {"log-opts": {"tag": "x"}}, {}),
        ({"log-opts": {"max-file": "3"}}, {"log-opts": {"max-file": "3"}}, {}, {}, {}),
    ],
)  # fmt: skip
def test_merge(
    found: dict[str, Any],
    last: dict[str, Any],
    wanted: dict[str, Any],
    options: dict[str, Any],
    written: dict[str, Any],
) -> None:
    assert dc.merge(found, wanted, last) == dc.Merged(options, written)


@pytest.mark.parametrize(
    ("found", "wanted", "words"),
    [
        ({"debug": True}, {"debug": False}, ("debug", True, False)),
        ({"live-restore": 1}, {"live-restore": True}, ("live-restore", 1, True)),
        ({"dns": ["a"]}, {"dns": ["b"]}, ("dns", ["a"], ["b"])),
        ({"log-opts": {"max-file": "5"}}, {"log-opts": {"max-file": "3"}}, ("log-opts.max-file", "5", "3")),
        ({"log-opts": "none"}, {"log-opts": {"max-file": "3"}}, ("log-opts", "none", {"max-file": "3"})),
    ],
)
def test_what_both_set_differently_is_a_conflict(
    found: dict[str, Any], wanted: dict[str, Any], words: tuple[Any, ...]
) -> None:
    merged = dc.merge(found, wanted, {})
    assert merged.conflicts == (dc.Conflict(*words),)
    assert merged.options == found


def test_what_others_set_stays_through_changes_of_ours(server: Server) -> None:
    server.config.write_text(json.dumps({**server.good, "dns": ["192.0.2.1"]}))
    assert server.run(debug=True)["changed"]
    assert server.state["running"] == {**server.good, "dns": ["192.0.2.1"], "debug": True}
    assert server.run(debug=False)["changed"]
    assert server.run(debug=None)["changed"]
    assert server.state["running"] == {**server.good, "dns": ["192.0.2.1"]}
    assert not server.run()["changed"]


@pytest.mark.parametrize(
    ("theirs", "option", "shown"),
    [
        ({"live-restore": False}, "live-restore", ("false", "true")),
        ({"log-opts": {"max-file": "9"}}, "log-opts.max-file", ('"9"', '"3"')),
    ],
)
def test_what_others_set_differently_is_refused_with_both_values(
    server: Server, theirs: dict[str, Any], option: str, shown: tuple[str, str]
) -> None:
    text = json.dumps({**server.good, **theirs})
    server.config.write_text(text)
    variable = f"docker_{option.partition('.')[0]}"
    assert server.run()["msg"] == (
        f"{variable}: {option} is {shown[0]} in {server.config} of this server, {NOT_OURS}, and {shown[1]} here; set the "
        "variable to what the file has, or take it out of the file."
    )
    assert server.config.read_text() == text
    assert server.state["told"] == []
    assert not server.record.exists()


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        (dd.text_of({"live-restore": False, "log-opts": {"max-file": "5"}}), True),
        # In a form in which this module does not write, or with an option that it does not set
        (json.dumps({"live-restore": False}), False),
        (dd.text_of({"live-restore": False, "dns": ["192.0.2.1"]}), False),
    ],
)
def test_a_file_from_before_is_ours_if_it_has_only_our_options(server: Server, text: str, ours: bool) -> None:
    server.config.write_text(text)
    result = server.run()
    assert bool(result.get("failed")) != ours
    if not ours:
        assert NOT_OURS in result["msg"]
        return
    assert server.state["running"] == server.good
    assert server.run(**{"live-restore": False})["changed"]


@pytest.mark.parametrize("text", ["{ torn", "[]", '{"debug": tru}'])
def test_a_file_that_is_no_configuration_is_refused(server: Server, text: str) -> None:
    server.config.write_text(text)
    said = server.run()["msg"]
    assert said.startswith(f"{server.config} of this server cannot be read (")
    assert said.endswith("): correct or remove it.")
    assert server.config.read_text() == text


@pytest.mark.parametrize(("word", "time"), [("reset-failed", 1), ("restart", 1), ("docker ps", 2)])
def test_an_interrupted_change_of_ours_does_not_become_theirs(server: Server, word: str, time: int) -> None:
    assert server.run(debug=True)["changed"]
    server.interrupt(word, time, debug=None, **{"max-concurrent-downloads": 2})
    assert server.run(**{"max-concurrent-downloads": 5})["changed"]
    assert server.state["running"] == {**server.good, "max-concurrent-downloads": 5}
    assert json.loads(server.record.read_text()) == server.state["running"]


def test_a_rollback_forgets_what_it_took_back(server: Server) -> None:
    server.run()
    before = server.record.read_text()
    assert server.run(conflict=1)["failed"]
    assert server.record.read_text() == before


# -- what would be hidden ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ({}, {"debug": True, "log-driver": "local"}, []),
        ({}, {"data-root": "/srv/docker"}, ["data-root"]),
        ({"data-root": "/srv/docker"}, {}, ["data-root"]),
        ({"data-root": "/srv/docker"}, {"data-root": "/srv/docker/"}, []),
        ({}, {"data-root": dc.DATA_ROOT}, []),
        ({}, {"exec-root": "/run/other"}, ["exec-root"]),
        ({}, {"storage-driver": "overlay2"}, []),
        ({}, {"storage-driver": "vfs"}, ["storage-driver"]),
        ({"storage-driver": "overlay2"}, {}, []),
        ({"storage-driver": "vfs"}, {}, ["storage-driver"]),
        ({}, {"userns-remap": "default"}, ["userns-remap"]),
        ({"userns-remap": "default"}, {"userns-remap": ""}, ["userns-remap"]),
        ({}, {"containerd-namespace": "other"}, ["containerd-namespace"]),
        ({}, {"containerd-namespace": "moby"}, []),
        ({}, {"containerd": "/run/other.sock"}, ["containerd"]),
        ({}, {"features": {"containerd-snapshotter": True}}, ["features.containerd-snapshotter"]),
        ({}, {"features": {"containerd-snapshotter": False, "cdi": True}}, []),
    ],
)
def test_options_that_decide_what_the_engine_lists(old: dict[str, Any], new: dict[str, Any], names: list[str]) -> None:
    has = dc.Existing(dc.DATA_ROOT, "overlay2")
    assert [name for name, *values in dc.changed_view(old, new, has)] == names


@pytest.mark.parametrize("active", [True, False])
def test_an_option_that_hides_what_the_engine_has_is_refused(server: Server, tmp_path: Path, active: bool) -> None:
    own = {**server.good, "data-root": str(server.path / "root")}
    server.write(own)
    server.record.write_text(dd.text_of(own))
    server.set(active=active)
    said = server.run(**{"data-root": "/x"})["msg"]
    assert said.startswith(
        f'configuration: data-root would change from "{tmp_path}/root" to "/x", and the engine would no '
    )
    assert "1 container" in said
    assert "1 volume" in said
    assert said.endswith("keep the old value, or set docker_hide_existing to true.")
    assert json.loads(server.config.read_text()) == own
    assert "restart" not in server.state["told"]


def test_an_option_that_hides_something_may_change_if_told_or_if_there_is_nothing(server: Server) -> None:
    server.write({**server.good, "data-root": "/x"})
    server.set(running={**server.good, "data-root": "/x"})
    server.record.write_text(dd.text_of({**server.good, "data-root": "/x"}))
    assert server.run(**{"data-root": "/y"})["changed"]
    server.set(containers=[{**server.state["containers"][0]}])
    assert server.run(hide_existing=True, **{"data-root": "/z"})["changed"]
    assert server.state["running"]["data-root"] == "/z"


@pytest.mark.parametrize("userns", [False, True])
def test_what_a_stopped_engine_has_is_counted_on_its_disk(tmp_path: Path, userns: bool) -> None:
    root = tmp_path / "100000.100000" if userns else tmp_path
    for name in ("containers/a", "containers/b", "volumes/data", "image/overlay2/imagedb/content/sha256/c"):
        (root / name).mkdir(parents=True)
    (root / "volumes" / "metadata.db").write_text("")
    options = {"data-root": str(tmp_path), **({"userns-remap": "default"} if userns else {})}
    has = dc.existing(options, lambda *words: None)
    assert (has.root, has.driver, str(has)) == (str(tmp_path), "overlay2", "2 containers, 1 volume and 1 image")


def test_containers_survive_the_restart_that_turns_live_restore_on(server: Server) -> None:
    server.config.unlink()
    server.set(running={})
    assert server.run()["changed"]
    assert server.state["told"].index("reload") < server.state["told"].index("restart")
    assert [(one["status"], one["exit_code"]) for one in server.state["containers"]] == [("running", 0)]


def test_in_a_swarm_live_restore_is_refused(server: Server) -> None:
    (server.path / "root" / "swarm").mkdir()
    (server.path / "root" / "swarm" / "docker-state.json").write_text("{}")
    server.set(swarm=True)
    own = {"live-restore": False, "data-root": str(server.path / "root")}
    server.write({**server.good, **own})
    server.record.write_text(dd.text_of(server.good))
    said = server.run()["msg"]
    assert said.startswith(
        "docker_live-restore: this server is part of a swarm, with which the engine does not start when"
    )
    assert "restart" not in server.state["told"]
    assert server.run(**{"live-restore": False}).get("failed") is None
