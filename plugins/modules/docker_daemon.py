#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configure the Docker engine and verify that its containers and volumes are still there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_daemon
short_description: Configure the Docker engine and verify that its containers and volumes are still there
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Makes sure that C(daemon.json) has the given options, and that the engine is running with them.
  - Options in the file that this module did not write stay as they are. One that the file and O(configuration) set differently
    is an error, unless the module wrote it. What it wrote is recorded in O(state_file); a file without a record counts as
    written by it if it has only options of O(variables), in the form in which the module writes them.
  - The new file is validated with C(dockerd --validate) before anything changes. The engine is restarted by systemd,
    or by its init script where systemd does not run.
  - Options that decide which containers, images and volumes the engine lists are not changed if it has any, see
    O(hide_existing).
  - If containers run, and O(configuration) turns C(live-restore) on, it is turned on before the restart, which they survive.
  - After the restart the engine must have the same containers and volumes, and the containers that were running must be
    running, except those that were removed or exited meanwhile. Otherwise the old file is restored, the engine is restarted
    with it, and the module fails and reports both.
  - Until the restart is verified, the old file and the list of running containers are kept next to the new one, in
    C(.daemon.json.previous). The next run completes one that was interrupted.
  - An engine that is stopped, has failed or is older than its configuration is restarted. Under systemd it is enabled, too,
    so that it starts on boot.
  - Under systemd, a unit in O(unit_directory) starts an engine again that has given up, which it does after a few failed
    starts, so that one without room on its disk comes back after room has been made. Adding it restarts nothing.
requirements:
  - Docker Engine 25 or newer on the server
options:
  configuration:
    description:
      - The options that C(daemon.json) must have, see
        U(https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file).
    type: dict
    required: true
  variables:
    description: The variable that sets each option, by the option's name, for messages. They may include options that
      O(configuration) does not have now.
    type: dict
    default: {}
  hide_existing:
    description: Whether the engine may end up without containers, volumes and images that it lists now, as with another
      C(data-root).
    type: bool
    default: false
  state_file:
    description: Where the module records what it wrote. Its directory is created when it does not exist.
    type: path
    default: /opt/miniweb/docker.json
  path:
    description: The engine's configuration file. Its directory is created when it does not exist.
    type: path
    default: /etc/docker/daemon.json
  unit_directory:
    description:
      - Directory of systemd's units, for C(docker.service.d/00-miniweb.conf) and C(miniweb-docker-retry.service). Files that
        others added to the engine's unit stay as they are. A symbolic link in place of one of the two, with which users
        of systemd turn off a unit, stays, too. It is not used without systemd.
    type: path
    default: /etc/systemd/system
  service_manager:
    description: Program that starts and stops the engine. V(auto) uses systemd if it is running.
    type: str
    choices: [auto, systemd, init]
    default: auto
  wait_timeout:
    description: Seconds within which the engine must answer after a restart.
    type: int
    default: 120
  note:
    description:
      - Records on the server that the tasks of a role up to this one are done. As long as what is named here stays
        unchanged, and the variables and the code of the role stay the same, the lookup P(miniweb.stack.settled#lookup) is
        true in a run of the whole system, and the tasks can be skipped.
    type: dict
    suboptions:
      name:
        description: Name of the note, the same as in the lookup.
        type: str
        required: true
      of:
        description: The variables on which the tasks depend, the same as in the lookup. They are not sent to the server.
        type: dict
        default: {}
      files:
        description: Paths of files and directories that must stay as they are, or stay missing.
        type: list
        elements: path
        default: []
      packages:
        description: Names of Debian packages that must stay installed.
        type: list
        elements: str
        default: []
      units:
        description: Names of systemd units that must stay in their state, and of services that must not be restarted.
        type: list
        elements: str
        default: []
      answer:
        description: A program with its arguments that changes nothing, and must keep printing the same.
        type: list
        elements: str
        default: []
extends_documentation_fragment:
  - miniweb.stack.attributes
  - miniweb.stack.settled
attributes:
  check_mode:
    details: The configuration is validated.
"""

EXAMPLES = r"""
- name: Configure the engine
  miniweb.stack.docker_daemon:
    configuration:
      live-restore: true
      log-driver: json-file
      log-opts:
        max-size: 10m
        max-file: "3"
"""

RETURN = r"""
actions:
  description:
    - Descriptions of what was done, or would be done in check mode, in order.
    - C(prove) means that the result of an interrupted run was verified, C(never give up) that the
      units in O(unit_directory) were.
  returned: success
  type: list
  elements: str
  sample: ["write /etc/docker/daemon.json", "restart"]
backup_file:
  description: Copy of the old C(daemon.json).
  returned: when there was one and it was replaced
  type: str
  sample: /etc/docker/daemon.json.4711.2026-01-31@12:00:00~
logs:
  description: Last log lines of the engine.
  returned: when it did not start with its new options
  type: list
  elements: str
  sample: ["failed to start daemon: error initializing graphdriver: driver not supported: zfs"]
"""

import dataclasses
import json
import os
import signal
import tempfile
import time
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.docker_configuration import (
    CONFIGURATION_FILE,
    STATE_FILE,
    Examined,
    Options,
    examine,
    journal_of,
    parsed,
    same,
    text_of,
)
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import (
    FileState,
    cause,
    read_file,
    readable,
    write_file,
)
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule
from ansible_collections.miniweb.stack.plugins.module_utils.settled import (
    SETTLED_SPEC,
    UNITS_DIRECTORY,
    Notes,
    answer,
    files,
    packages,
    unit_conditions,
)
from ansible_collections.miniweb.stack.plugins.module_utils.waiting import PAUSE_SECONDS, until

DEFAULT_PID_FILE = "/run/docker.pid"
INIT_LOG = "/var/log/docker.log"
# Stricter permissions were set on purpose and are kept.
WIDEST_MODE = 0o644
LOG_LINES = 30
QUESTION_SECONDS = 30
# An engine that gives up, for example because its disk is full, is started again. Its own unit could do that (with
# StartLimitIntervalSec=0), but it would never have failed then: every question to the engine would wait at its socket.
UNITS = {
    "docker.service.d/00-miniweb.conf": b"""\
# Written by miniweb.stack.
[Unit]
OnFailure=miniweb-docker-retry.service
""",
    "miniweb-docker-retry.service": b"""\
# Written by miniweb.stack.
[Unit]
Description=Start a Docker engine again that gave up, for example because its disk is full
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/bin/sleep 20
# Unless somebody else has started it, or reset its failure, in the meantime
ExecStart=/bin/sh -c 'if systemctl is-failed --quiet docker.service; then \
    systemctl reset-failed docker.service docker.socket; systemctl --no-block start docker.service; fi'
""",
}
SETTLE_SECONDS = 30
RELOAD_SECONDS = 5

INSPECTED = (
    '{"id":{{json .Id}},"name":{{json .Name}},"status":{{json .State.Status}},"exit_code":{{.State.ExitCode}},'
    '"policy":{{json .HostConfig.RestartPolicy.Name}}}'
)


class DaemonError(Exception):
    """The engine cannot be brought to the desired state; the message says why in one sentence."""

    def __init__(self, message: str, logs: list[str] | None = None) -> None:
        super().__init__(message)
        self.details = {"logs": logs} if logs else {}


class NotAnswering(Exception):
    """The engine does not answer; the message is the client's error."""


@dataclasses.dataclass(frozen=True)
class Container:
    """A container as the engine reports it; *policy* is its restart policy."""

    id: str
    name: str
    status: str
    exit_code: int = 0
    policy: str = "no"

    @property
    def runs(self) -> bool:
        """Paused counts as running, because a restart of the engine preserves it; a restart loop does not."""
        return self.status in ("running", "paused")


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What the engine lists; *root* is its data directory, volumes are pairs of driver and name."""

    root: str
    live_restore: bool
    containers: tuple[Container, ...] = ()
    volumes: tuple[tuple[str, str], ...] = ()
    images: tuple[str, ...] = ()

    @property
    def running(self) -> int:
        """Number of running containers."""
        return sum(container.runs for container in self.containers)


@dataclasses.dataclass(frozen=True)
class Journal:
    """What is needed to roll back an unverified change: the previous file, and what the engine listed with it.

    *written* are the options of the previous file that this module wrote.
    """

    previous: FileState | None
    before: Snapshot | None
    written: Options = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a run finds on the server."""

    file: FileState | None
    active: bool
    outdated: bool
    journal: Journal | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The difference between the actual and the desired state."""

    write: bool = False
    permissions: bool = False
    restart: bool = False
    start: bool = False
    prove: bool = False

    def actions(self, path: str) -> list[str]:
        """Descriptions of the plan."""
        words = {
            f"write {path}": self.write,
            f"change the permissions of {path}": self.permissions,
            "restart": self.restart,
            "start": self.start,
            "prove": self.prove,
        }
        return [word for word, wanted in words.items() if wanted]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a restart: what is wrong, in words (empty if nothing is), and what the engine lists if it is running.

    *ended* are the containers that should be running but are not.
    """

    fault: str
    after: Snapshot | None = None
    ended: tuple[Container, ...] = ()


# -- comparison -------------------------------------------------------------------------------------------------------


def says(file: FileState | None, configuration: Options) -> bool:
    """Return whether the file exists and contains this configuration, regardless of formatting."""
    try:
        return file is not None and same(parsed(file), configuration)
    except ValueError:
        return False


def options_of(file: FileState | None) -> Options:
    """Return the options in a file; none if it contains no valid ones."""
    try:
        return parsed(file)
    except ValueError:
        return {}


def changed_options(old: Options, new: Options) -> list[str]:
    """Return the names of the options that are added, changed or removed."""
    return sorted(name for name in {*old, *new} if name not in old or name not in new or not same(old[name], new[name]))


def make_plan(found: Found, configuration: dict[str, t.Any], owner: int, group: int) -> Plan:
    """Compare the actual state with the desired one."""
    write = not says(found.file, configuration)
    permissions = False
    if found.file and not write:
        wider = found.file.mode & ~WIDEST_MODE
        permissions = bool(wider) or (found.file.owner, found.file.group) != (owner, group)
    restart = found.active and (write or found.outdated)
    start = not found.active
    return Plan(write, permissions, restart, start, found.journal is not None and not (restart or start))


def left_on_disk(root: str, path: str) -> bool:
    """Return whether a path below a data directory exists, or cannot be ruled out because its directory is missing."""
    return os.path.lexists(os.path.join(root, path)) or not os.path.isdir(os.path.join(root, os.path.dirname(path)))


def hidden(before: Snapshot, after: Snapshot) -> list[str]:
    """Return the containers and volumes that the engine listed before and no longer lists.

    What is gone from the old data directory was removed, or was a container with ``--rm`` that exited; the engine's
    options did not hide it.
    """
    ids = {container.id for container in after.containers}
    containers = [container for container in before.containers if container.id not in ids]
    volumes = [volume for volume in before.volumes if volume not in after.volumes]
    gone = [f"container {c.name}" for c in containers if left_on_disk(before.root, f"containers/{c.id}")]
    return gone + [
        f"volume {name}"
        for driver, name in volumes
        if driver != "local" or left_on_disk(before.root, f"volumes/{name}")
    ]


def stopped(before: Snapshot, after: Snapshot, kept: bool) -> list[Container]:
    """Return, as they are now, the containers that were running, still exist and should be running, but are not.

    :param kept: whether live-restore kept containers running; without it, those with a restart policy are restarted.
    """
    now = {container.id: container for container in after.containers}
    found = []
    for container in before.containers:
        current = now.get(container.id)
        if not container.runs or current is None or current.runs:
            continue
        # A container without a policy that exited with 0 had finished its work.
        if container.policy in ("always", "unless-stopped") or (kept and current.exit_code != 0):
            found.append(current)
    return found


def reason_in(lines: list[str]) -> str:
    """Return the line of the engine's log that says why it exited: the last above the level of a warning."""
    levels = ("level=debug", "level=info", "level=warning")
    telling = [line for line in lines if line.strip() and not any(level in line for level in levels)]
    return cause("\n".join(telling or lines)) if lines else "it logged nothing"


def enumerated(items: list[str]) -> str:
    """Return items as an enumeration in a sentence, at most three by name."""
    shown = items[:3] + ([f"{len(items) - 3} more"] if len(items) > 3 else [])
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, for example ``1 container``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def missing_words(gone: list[str], ended: list[Container]) -> str:
    """Return what is wrong with an engine that answers, in words; empty if nothing is."""
    words = [f"no longer lists the {enumerated(gone)}"] if gone else []
    names = [f"container {item.name} ({item.status}, exit code {item.exit_code})" for item in ended]
    words += [f"no longer runs the {enumerated(names)}"] if ended else []
    return " and ".join(words)


def failure(changed: list[str], fault: str, path: str, existed: bool, back: Outcome, look: str) -> str:
    """Return the error message: what the new options caused, and which configuration the engine runs with now.

    :param existed: whether the file existed before.
    :param back: the result of the restart with the old file.
    """
    cause = f"with a changed {enumerated(changed)}" if changed else "with the changed file"
    file = f"the old {path} is back" if existed else f"{path}, which did not exist before, has been removed again"
    if back.after is None:
        return f"configuration: {cause} the engine {fault}; {file}, but the engine {back.fault}: look at {look}."
    state = f"but the engine {back.fault}" if back.fault else "and the engine runs as before"
    running = counted(back.after.running, "container")
    return f"configuration: {cause} the engine {fault}; {file}, {state}, with {running} running: correct what changed."


# -- the journal ------------------------------------------------------------------------------------------------------


def journal_text(journal: Journal) -> str:
    """Return a journal as it is written to its file."""
    value: dict[str, t.Any] = {"previous": None, "before": None, "written": journal.written}
    if journal.previous:
        content = journal.previous.content.decode("utf-8", "surrogateescape")
        value["previous"] = {**dataclasses.asdict(journal.previous), "content": content}
    if journal.before:
        value["before"] = dataclasses.asdict(journal.before)
    return json.dumps(value, indent=2) + "\n"


def journal_from(text: bytes) -> Journal:
    """Return the journal in a file.

    :raises ValueError: it contains no valid one.
    """
    value = json.loads(text)
    try:
        previous, before = value["previous"], value["before"]
        if previous is not None:
            previous = FileState(**{**previous, "content": previous["content"].encode("utf-8", "surrogateescape")})
        if before is not None:
            before = Snapshot(
                before["root"],
                before["live_restore"],
                tuple(Container(**item) for item in before["containers"]),
                tuple((driver, name) for driver, name in before["volumes"]),
                tuple(before["images"]),
            )
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from error
    return Journal(previous, before, value.get("written") or {})


# -- the programs on the server ---------------------------------------------------------------------------------------


class Client:
    """The ``docker`` program."""

    def __init__(self, module: ServerModule) -> None:
        self.module = module
        # A hanging engine must not block the run.
        self.words = [module.get_bin_path("timeout", required=True), str(QUESTION_SECONDS)]
        self.words.append(module.get_bin_path("docker", required=True))

    def _ask(self, *words: str, partial: bool = False) -> str:
        code, out, err = self.module.run_command([*self.words, *words])
        if code and not partial:
            raise NotAnswering(cause(err or out))
        return out

    def lines(self, *words: str) -> list[str] | None:
        """Return the lines that the program prints; None if it fails."""
        try:
            return self._ask(*words).splitlines()
        except NotAnswering:
            return None

    def answers(self) -> bool:
        """Return whether the engine answers."""
        try:
            return bool(self._ask("version", "--format", "{{.Server.Version}}").strip())
        except NotAnswering:
            return False

    def start(self, ids: t.Iterable[str]) -> None:
        """Start containers; the next snapshot shows whether they are running."""
        self.module.run_command([*self.words, "start", *ids])

    def snapshot(self) -> Snapshot:
        """Return what the engine lists.

        :raises NotAnswering: it does not answer.
        """
        try:
            information = json.loads(self._ask("info", "--format", "[{{json .DockerRootDir}},{{.LiveRestoreEnabled}}]"))
        except ValueError as error:
            raise NotAnswering(str(error)) from error
        ids = self._ask("ps", "--all", "--quiet", "--no-trunc").split()
        # If a container disappears between the two commands, the second one fails but still prints the others.
        lines = self._ask("inspect", "--type", "container", "--format", INSPECTED, *ids, partial=True) if ids else ""
        containers = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
        volumes = self._ask("volume", "ls", "--format", "{{.Driver}}\t{{.Name}}").splitlines()
        return Snapshot(
            information[0],
            information[1],
            tuple(Container(**{**item, "name": item["name"].lstrip("/")}) for item in containers),
            tuple((driver, name) for driver, dummy, name in (line.partition("\t") for line in volumes if line)),
            tuple(sorted(set(self._ask("image", "ls", "--quiet", "--no-trunc").split()))),
        )


class Systemd:
    """The engine as a systemd unit."""

    units: t.ClassVar[tuple[str, ...]] = ("docker.service", "docker.socket")
    look = "journalctl --unit docker"

    def __init__(self, module: ServerModule, timeout: int) -> None:
        self.module = module
        self.program = module.get_bin_path("systemctl", required=True)
        # The unit has no start timeout. `timeout` ends only systemctl; the next job replaces the one it started.
        self.limit = [module.get_bin_path("timeout", required=True), str(timeout)]
        self.since = 0.0

    def active(self) -> bool:
        """Return whether the engine is running; one that systemd is about to restart is not."""
        out = self.module.run_command([self.program, "is-active", "docker.service"])[1]
        return out.strip() == "active"

    def disabled(self) -> bool:
        """Return whether the engine does not start on boot."""
        return self.module.run_command([self.program, "is-enabled", "docker.service"])[1].strip() == "disabled"

    def enable(self) -> None:
        """Let the engine start on boot."""
        self.module.run_command([self.program, "enable", "docker.service"], check_rc=True)

    def _differing(self, directory: str) -> list[str]:
        """Return which of the units are not as they should be; a link was set by somebody else."""
        paths = {name: os.path.join(directory, name) for name in UNITS}
        found = {name: read_file(path) for name, path in paths.items() if not os.path.islink(path)}
        return [name for name, file in found.items() if file is None or file.content != UNITS[name]]

    def gives_up(self, directory: str) -> bool:
        """Return whether nothing starts an engine again that has given up."""
        # systemd has not read what an interrupted run wrote.
        words = [self.program, "show", "--property=NeedDaemonReload", "docker.service"]
        return bool(self._differing(directory)) or "=yes" in self.module.run_command(words)[1]

    def never_give_up(self, directory: str) -> None:
        """Have systemd start an engine again that has given up."""
        for name in self._differing(directory):
            path = os.path.join(directory, name)
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            write_file(path, FileState(UNITS[name], WIDEST_MODE, os.geteuid(), os.getegid()))
        self.module.run_command([self.program, "daemon-reload"], check_rc=True)

    def restart(self) -> bool:
        """Restart the engine; return whether it came up."""
        self.since = time.time()
        # Each failure counts towards the unit's start limit, which could prevent a start with the old configuration.
        self.module.run_command([self.program, "reset-failed", *self.units])
        return self.module.run_command([*self.limit, self.program, "restart", "docker.service"])[0] == 0

    def reload(self) -> bool:
        """Have the engine read the options that it can change while it runs; return whether it was told."""
        return self.module.run_command([self.program, "reload", "docker.service"])[0] == 0

    def log(self) -> list[str]:
        """Return what the engine has logged since the restart."""
        program = self.module.get_bin_path("journalctl")
        if not program:
            return []
        self.module.run_command([program, "--sync"])
        words = ["--identifier", "dockerd", "--since", f"@{self.since:.6f}", "--output", "cat", "--no-pager", "--quiet"]
        return self.module.run_command([program, *words, "--lines", str(LOG_LINES)])[1].splitlines()


class InitScript:
    """The engine as started by its init script."""

    look = INIT_LOG

    def __init__(self, module: ServerModule, timeout: int) -> None:
        self.module = module
        self.program = module.get_bin_path("service", required=True)
        self.timeout = timeout
        self.offset = 0

    def disabled(self) -> bool:
        """Return whether the engine does not start on boot; that depends on the init system's own tools."""
        return False

    def enable(self) -> None:
        """Do nothing, as it is never found disabled."""

    def gives_up(self, directory: str) -> bool:
        """Return false, as an init script has no unit that could start it again."""
        return False

    def never_give_up(self, directory: str) -> None:
        """Do nothing, as it never gives up."""

    def active(self) -> bool:
        """Return whether the engine's process exists."""
        return self.module.run_command([self.program, "docker", "status"])[0] == 0

    def restart(self) -> bool:
        """Stop and start the engine; return whether its process came up."""
        self.offset = os.path.getsize(INIT_LOG) if os.path.exists(INIT_LOG) else 0
        # The script's own restart does not wait for an engine that is still stopping containers, and then starts none.
        self.module.run_command([self.program, "docker", "stop"])
        if not until(lambda: not self.active(), self.timeout):
            return False
        return self.module.run_command([self.program, "docker", "start"])[0] == 0

    def reload(self) -> bool:
        """Have the engine read the options that it can change while it runs; return whether it was told."""
        try:
            with open(DEFAULT_PID_FILE, encoding="ascii") as stream:
                process = int(stream.read())
            with open(f"/proc/{process}/comm", encoding="utf-8") as stream:
                if stream.read().strip() != "dockerd":
                    return False
            os.kill(process, signal.SIGHUP)
        except (OSError, ValueError):
            return False
        return True

    def log(self) -> list[str]:
        """Return what the engine has logged since the restart."""
        try:
            with open(INIT_LOG, "rb") as stream:
                stream.seek(self.offset)
                return stream.read().decode("utf-8", "replace").splitlines()[-LOG_LINES:]
        except OSError:
            return []


class Daemon:
    """The engine, its configuration and its journal."""

    def __init__(self, module: ServerModule, client: Client, manager: Systemd | InitScript) -> None:
        self.module = module
        self.client = client
        self.manager = manager
        self.configuration: Options = module.params["configuration"]
        self.path: str = module.params["path"]
        self.timeout: int = module.params["wait_timeout"]
        self.journal_path = journal_of(self.path)
        self.state_file: str = module.params["state_file"]
        self.last: Options = {}
        self.written: Options = {}
        self.owner, self.group = os.geteuid(), os.getegid()
        self.backup = ""

    def find(self) -> Found:
        """Determine the state of the server, and complete the configuration by what others set in its file.

        :raises DaemonError: the journal of an interrupted run cannot be read, or the configuration cannot be used here.
        """
        file = read_file(self.path)
        written = read_file(self.journal_path)
        try:
            journal = journal_from(written.content) if written else None
        except ValueError as error:
            raise DaemonError(
                f"{self.journal_path}, which an interrupted run left, cannot be read ({error}): check that the engine "
                "lists its containers and volumes, then remove the file."
            ) from error
        active = self.manager.active()
        outdated = active and file is not None and self._outdated(file)
        examined = self._examine(active, outdated)
        if examined.problems:
            raise DaemonError(" ".join(examined.problems))
        self.configuration, self.written, self.last = examined.merged.options, examined.merged.written, examined.last
        return Found(file, active, outdated, journal)

    def _examine(self, active: bool, outdated: bool) -> Examined:
        # Through socket activation, a request would make systemd start a stopped engine.
        return examine(
            self.path,
            self.configuration,
            self.module.params["variables"],
            self.client.lines if active else lambda *words: None,
            self.module.params["hide_existing"],
            outdated,
            self.state_file,
        )

    def record(self, written: Options) -> None:
        """Record what this module wrote into the file."""
        if not says(read_file(self.state_file), written):
            os.makedirs(os.path.dirname(self.state_file), mode=0o755, exist_ok=True)
            self._write(self.state_file, FileState(text_of(written).encode(), 0o600))

    def _outdated(self, file: FileState | None) -> bool:
        pid_file = options_of(file).get("pidfile") or DEFAULT_PID_FILE
        try:
            return os.stat(self.path).st_mtime > os.stat(pid_file).st_mtime
        except OSError:
            return False

    def validate(self) -> None:
        """Have dockerd validate the desired configuration.

        :raises DaemonError: dockerd rejects it.
        """
        program = self.module.get_bin_path("dockerd", required=True)
        with tempfile.NamedTemporaryFile(dir=self.module.tmpdir, suffix=".json") as stream:
            stream.write(text_of(self.configuration).encode())
            stream.flush()
            code, out, err = self.module.run_command([program, "--validate", "--config-file", stream.name])
        if code:
            said = cause(err or out).replace(stream.name, self.path)
            raise DaemonError(f"configuration: the engine rejects it: {said}; nothing was changed: correct it.")

    def apply(self, plan: Plan, found: Found) -> None:
        """Execute the plan, and restore the old file if the engine does not run with the new one as it did before.

        :raises DaemonError: the engine does not run as desired; the message says what it runs with now.
        """
        mode = found.file.mode & WIDEST_MODE if found.file else WIDEST_MODE
        if plan.permissions:
            os.chmod(self.path, mode)
            os.chown(self.path, self.owner, self.group)
        journal = found.journal
        if plan.write:
            os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
            if journal is None:
                journal = Journal(found.file, self._before(start=True), self.last)
                self._write(self.journal_path, FileState(journal_text(journal).encode(), 0o600))
            self.record(self.written)
            if found.file:
                self.backup = self.module.backup_local(self.path)
            self._write(self.path, FileState(text_of(self.configuration).encode(), mode))
        if not (plan.restart or plan.start or plan.prove):
            return
        before = journal.before if journal else self._before(start=False)
        if plan.restart:
            before = self._keep_running(before)
        outcome = self._run(before, self.configuration, restart=not plan.prove or not self.client.answers())
        if outcome.fault:
            self._give_way(journal, outcome)
        if before and outcome.after:
            lost = set(before.images) - set(outcome.after.images)
            if lost:
                self.module.warn(f"The engine no longer lists {counted(len(lost), 'image')} that it had before.")
        if journal:
            os.unlink(self.journal_path)

    def _give_way(self, journal: Journal | None, outcome: Outcome) -> t.NoReturn:
        """Restore the old file and restart the engine with it.

        :raises DaemonError: always; the message says how that ended.
        """
        logs = self.manager.log()
        if journal is None or says(journal.previous, self.configuration):
            # If the engine is running, the next run has to compare with what it lists now.
            if journal and outcome.after:
                os.unlink(self.journal_path)
            raise DaemonError(
                f"configuration: the engine {outcome.fault}; {self.path} is the one it had before, so there is no "
                f"earlier file to go back to: look at {self.manager.look}.",
                logs,
            )
        if journal.previous:
            write_file(self.path, journal.previous)
        else:
            os.unlink(self.path)
        self.record(journal.written)
        old = options_of(journal.previous)
        back = self._run(journal.before, old, restart=True, kept=True)
        if back.after is None:
            back = self._run(journal.before, old, restart=True, kept=True)
        if back.ended:
            # A restart policy may not restart containers that the new options ended.
            self.client.start(container.id for container in back.ended)
            back = self._run(journal.before, old, restart=False, kept=True)
        if back.after:
            os.unlink(self.journal_path)
        if self.backup:
            os.unlink(self.backup)
        changed = changed_options(old, self.configuration)
        existed = journal.previous is not None
        raise DaemonError(failure(changed, outcome.fault, self.path, existed, back, self.manager.look), logs)

    def _write(self, path: str, wanted: FileState) -> None:
        write_file(path, dataclasses.replace(wanted, owner=self.owner, group=self.group))

    def _before(self, start: bool) -> Snapshot | None:
        """Return what the engine lists, starting it first if requested; None if it does not answer."""
        if start and not (self.manager.active() and self.client.answers()):
            self._restart()
        try:
            # Through socket activation, a request would make systemd start a stopped engine.
            return self.client.snapshot() if self.manager.active() else None
        except NotAnswering:
            return None

    def _keep_running(self, before: Snapshot | None) -> Snapshot | None:
        """Turn live-restore on while the engine still runs, so that its containers survive the restart."""
        if before is None or before.live_restore or not before.running or not self.configuration.get("live-restore"):
            return before

        def on() -> bool:
            return self.client.lines("info", "--format", "{{.LiveRestoreEnabled}}") == ["true"]

        kept = self.manager.reload() and until(on, RELOAD_SECONDS)
        return dataclasses.replace(before, live_restore=True) if kept else before

    def _restart(self) -> bool:
        """Restart the engine; return whether it answers."""
        if not self.manager.restart():
            return False
        absences = 0

        def settled() -> bool:
            nonlocal absences
            if self.client.answers():
                return True
            # The process that an init script starts may not exist yet at the first check.
            absences = 0 if self.manager.active() else absences + 1
            return absences > 1

        return until(settled, self.timeout) and absences < 2

    def _silent(self) -> Outcome:
        verb = "does not answer" if self.manager.active() else "does not run"
        return Outcome(f"{verb}: {reason_in(self.manager.log())}")

    def _run(self, before: Snapshot | None, configuration: Options, restart: bool, kept: bool = False) -> Outcome:
        """Restart the engine with this configuration if requested, and compare what it lists with the state before.

        :param kept: whether all containers that were running have to run, even if nothing has kept or restarted them.
        """
        if restart and not self._restart():
            return self._silent()
        deadline = time.monotonic() + min(SETTLE_SECONDS, self.timeout)
        kept = kept or (before is not None and before.live_restore and bool(configuration.get("live-restore")))
        while True:
            try:
                after = self.client.snapshot()
            except NotAnswering:
                return self._silent()
            if before is None:
                return Outcome("", after)
            gone = [] if self.module.params["hide_existing"] else hidden(before, after)
            ended = stopped(before, after, kept)
            # Containers with a restart policy may need a moment; hidden ones remain hidden.
            if gone or not ended or time.monotonic() > deadline:
                return Outcome(missing_words(gone, ended), after, tuple(ended))
            time.sleep(PAUSE_SECONDS)


def text_diff(plan: Plan, found: Found, configuration: dict[str, t.Any], path: str) -> dict[str, str]:
    """Return the file before and after."""
    before = readable(found.file.content) if found.file else ""
    after = readable(text_of(configuration).encode()) if plan.write else before
    return {"before": before, "after": after, "before_header": path, "after_header": path}


def record(module: ServerModule, note: dict[str, t.Any]) -> None:
    """Record that the role's tasks are done, for as long as what they depend on stays as it is now."""
    units = [os.path.join(module.params["unit_directory"], name) for name in UNITS]
    conditions = [*files(*note["files"], *units), *unit_conditions(module, note["units"])]
    if note["packages"]:
        conditions.append(packages(*note["packages"]))
    if note["answer"]:
        conditions.append(answer(module, *note["answer"]))
    Notes(module).write(f"settled/{note['name']}", module.params["settled"], conditions, {})


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "configuration": {"type": "dict", "required": True},
            "variables": {"type": "dict", "default": {}},
            "hide_existing": {"type": "bool", "default": False},
            "path": {"type": "path", "default": CONFIGURATION_FILE},
            "state_file": {"type": "path", "default": STATE_FILE},
            "unit_directory": {"type": "path", "default": UNITS_DIRECTORY},
            "service_manager": {"type": "str", "choices": ["auto", "systemd", "init"], "default": "auto"},
            "wait_timeout": {"type": "int", "default": 120},
            "note": {
                "type": "dict",
                "options": {
                    "name": {"type": "str", "required": True},
                    "of": {"type": "dict", "default": {}},
                    "files": {"type": "list", "elements": "path", "default": []},
                    "packages": {"type": "list", "elements": "str", "default": []},
                    "units": {"type": "list", "elements": "str", "default": []},
                    "answer": {"type": "list", "elements": "str", "default": []},
                },
            },
            **SETTLED_SPEC,
        },
        supports_check_mode=True,
    )
    name = module.params["service_manager"]
    if name == "auto":
        name = "systemd" if os.path.isdir("/run/systemd/system") else "init"
    manager = (Systemd if name == "systemd" else InitScript)(module, module.params["wait_timeout"])
    daemon = Daemon(module, Client(module), manager)
    try:
        found = daemon.find()
        plan = make_plan(found, daemon.configuration, daemon.owner, daemon.group)
        disabled, gives_up = manager.disabled(), manager.gives_up(module.params["unit_directory"])
        actions = [*(["never give up"] if gives_up else []), *plan.actions(daemon.path)]
        actions += ["start on boot"] if disabled else []
        result: dict[str, t.Any] = {"changed": bool(actions), "actions": actions}
        if module._diff:
            result["diff"] = text_diff(plan, found, daemon.configuration, daemon.path)
        if plan.write:
            daemon.validate()
        if not module.check_mode:
            # First, because an engine that does not start now may do so later.
            if gives_up:
                manager.never_give_up(module.params["unit_directory"])
            daemon.apply(plan, found)
            daemon.record(daemon.written)
            if disabled:
                manager.enable()
            if module.params["note"]:
                record(module, module.params["note"])
    except DaemonError as error:
        module.fail_json(msg=str(error), **error.details)
    except OSError as error:
        module.fail_json(msg=f"path: {error.filename or daemon.path} cannot be read or written: {error.strerror}.")
    if daemon.backup:
        result["backup_file"] = daemon.backup
    module.exit_json(**result)


if __name__ == "__main__":
    main()
