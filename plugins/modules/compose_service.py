#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Run one Docker Compose service, from description to healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_service
short_description: Run one Docker Compose service, from description to healthy
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Makes sure that a Compose service, with these files, secrets and networks, runs and is healthy.
  - Every service is a Compose project of its own, C(miniweb-<name>), in a directory of its own, so that it can be
    released, stopped or removed without touching another.
  - What runs is compared with what should run; an interrupted run is finished by the next one. A second run changes
    nothing and asks the engine one question.
  - Before anything is written the definition is validated and the image pulled or built. A failing O(check_command) or
    O(before_start) command restores the files as they were, and the old container never stops serving.
  - Every service gets C(restart=unless-stopped), C(cap_drop=[ALL]), C(security_opt=[no-new-privileges:true]),
    C(read_only=true) and bounded C(json-file) logs. O(definition) may override each of them.
requirements:
  - Docker Engine 25 or newer and the Compose v2 plugin on the server
options:
  name:
    description: Name of the service. Other services reach it by this name on their shared networks.
    type: str
    required: true
  state:
    description:
      - V(present) means the service runs and is healthy.
      - V(absent) removes its containers and its directory. Named volumes stay unless O(remove_volumes=true).
    type: str
    choices: [present, absent]
    default: present
  directory:
    description:
      - Directory of the service on the server, owned by root with mode 0700.
      - Defaults to V(/opt/miniweb/<name>).
    type: path
  definition:
    description:
      - The Compose service as a dictionary, see U(https://docs.docker.com/reference/compose-file/services/).
      - It is taken literally. A C($) is a C($), nothing is interpolated. Relative paths start at O(directory).
      - Required when O(state=present).
    type: dict
  files:
    description: Files the service reads. Files of an earlier run that are no longer listed are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: Path relative to O(directory). Mount its directory, not the file itself.
        type: str
        required: true
      content:
        description: Content. Without it the file is made by something else, and only its changes are noticed.
        type: str
      mode:
        description: Permissions as an octal number.
        type: str
        default: "0644"
      owner:
        description: Numeric user id of the owner.
        type: int
        default: 0
      group:
        description: Numeric group id.
        type: int
        default: 0
      reload:
        description: A change is served by O(reload_command) instead of a new container.
        type: bool
        default: false
  secrets:
    description:
      - Secrets, readable as C(/run/secrets/<name>) in the container, mode 0400.
      - Values appear in no output, label, hash or command line. A changed secret recreates the container.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the secret.
        type: str
        required: true
      content:
        description: Value of the secret.
        type: str
        required: true
      owner:
        description: Numeric user id of the program that reads it.
        type: int
        default: 0
  networks:
    description: Shared Docker networks the service is attached to. Missing ones are created.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the network.
        type: str
        required: true
      internal:
        description: Whether the network has no way out.
        type: bool
        default: false
  volumes:
    description: Named volumes of this service, as used in the C(volumes) of O(definition).
    type: list
    elements: str
    default: []
  check_command:
    description:
      - Command that proves the files are right. It runs in a one-off container of the new definition.
    type: list
    elements: str
  reload_command:
    description: Command that makes the running container read its files again. Required for files with C(reload).
    type: list
    elements: str
  before_start:
    description:
      - Commands, each a list of words, that run in one-off containers of the new definition before it replaces the
        old one, for example database migrations. They must be safe to repeat.
    type: list
    elements: list
    default: []
  build:
    description:
      - Builds the image of O(definition) on the server when it is not there yet, instead of pulling it.
      - Give the image a tag that changes with its content, for example a hash of the archive.
    type: dict
    suboptions:
      archive:
        description: Tar archive on the server that is the build context.
        type: path
        required: true
      dockerfile:
        description: Path of the Dockerfile in the archive.
        type: str
        default: Dockerfile
      keep:
        description: Number of images of the same repository that are kept after a successful start.
        type: int
        default: 3
  wait_timeout:
    description: Seconds within which the service must become healthy.
    type: int
    default: 120
  remove_volumes:
    description: With O(state=absent), delete the service's named volumes and the data in them too.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Predicts every change without making one. Commands are not run.
  diff_mode:
    support: full
    description: Shows the files that change. For secrets it says only that they change.
  idempotent:
    support: full
    description: A second run with the same input changes nothing.
"""

EXAMPLES = r"""
- name: Run nginx
  miniweb.stack.compose_service:
    name: nginx
    definition:
      image: nginx:1.30-alpine
      user: "101:101"
      ports: ["80:8080"]
      volumes: ["./conf.d:/etc/nginx/conf.d:ro"]
      tmpfs: ["/run:uid=101", "/var/cache/nginx:uid=101"]
      healthcheck:
        test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:8080/"]
        start_period: 30s
        start_interval: 1s
    files:
      - dest: conf.d/site.conf
        content: "{{ lookup('ansible.builtin.template', 'site.conf.j2') }}"
        reload: true
    check_command: [nginx, -t]
    reload_command: [nginx, -s, reload]
    networks:
      - name: miniweb-edge

- name: Remove a service and keep its data
  miniweb.stack.compose_service:
    name: nginx
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, in words and in order.
  returned: always
  type: list
  elements: str
  sample: ["write conf.d/site.conf", "reload"]
container_id:
  description: Id of the running container. Empty when there is none.
  returned: always
  type: str
  sample: 4c01db0b339c
project:
  description: Name of the Compose project.
  returned: always
  type: str
  sample: miniweb-nginx
logs:
  description: The service's last log lines.
  returned: when it did not become healthy
  type: list
  elements: str
  sample: ["nginx: [emerg] host not found in upstream"]
"""

import dataclasses
import hashlib
import json
import os
import re
import secrets as random_source
import shutil
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_text
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import (
    FileState,
    last_line,
    read_file,
    write_file,
)

PROJECT_PREFIX = "miniweb-"
BASE_DIRECTORY = "/opt/miniweb"
CONFIGURATION_LABEL = "miniweb.stack.configuration"
STATE_FILE = "state.json"
COMPOSE_FILE = "compose.yaml"
SECRETS_DIRECTORY = "secrets"
LOG_LINES = 30

SERVICE_DEFAULTS: dict[str, t.Any] = {
    "restart": "unless-stopped",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "read_only": True,
    "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
}


class ServiceError(Exception):
    """The service cannot be brought to the wanted state; the message says why in one sentence."""

    def __init__(self, message: str, **details: t.Any) -> None:
        super().__init__(message)
        self.details = details


@dataclasses.dataclass(frozen=True)
class File:
    """A file below the service's directory. Content None: it is made by something else."""

    dest: str
    content: bytes | None
    mode: int = 0o644
    owner: int = 0
    group: int = 0
    reload: bool = False
    secret: bool = False


@dataclasses.dataclass(frozen=True)
class Container:
    """A container of the service as the engine reports it."""

    id: str
    state: str
    status: str
    configuration: str

    @property
    def settled(self) -> bool:
        """Running, and healthy or without a health check."""
        return self.state == "running" and "(unhealthy)" not in self.status and "(health:" not in self.status


@dataclasses.dataclass(frozen=True)
class State:
    """What the last successful run applied."""

    reload: str = ""
    secrets: str = ""
    files: tuple[str, ...] = ()


@dataclasses.dataclass
class Plan:
    """The difference between what runs and what should run."""

    write: list[File] = dataclasses.field(default_factory=list)
    remove: list[str] = dataclasses.field(default_factory=list)
    recreate: bool = False
    force: bool = False
    start: bool = False
    wait: bool = False
    reload: bool = False
    secrets_mark: str = ""
    reload_hash: str = ""
    compose: File | None = None

    @property
    def actions(self) -> list[str]:
        """The plan in words."""
        words = [f"write {file.dest}" for file in self.write]
        words += [f"remove {dest}" for dest in self.remove]
        if self.recreate:
            words.append("recreate" if self.force else "create")
        elif self.start:
            words.append("start")
        elif self.reload:
            words.append("reload")
        return words


def literal(value: t.Any) -> t.Any:
    """Return the value with every ``$`` escaped, so that Compose interpolates nothing."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [literal(item) for item in value]
    return value


def digest(value: t.Any) -> str:
    """Return a short stable hash of a JSON-like value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]


def content_hash(content: bytes | None) -> str:
    """Return the hash of a file's content; empty for a file that does not exist."""
    return "" if content is None else hashlib.sha256(content).hexdigest()


def compose_document(
    name: str,
    definition: dict[str, t.Any],
    networks: list[dict[str, t.Any]],
    volumes: list[str],
    secret_names: list[str],
    configuration: str = "",
) -> dict[str, t.Any]:
    """Return the Compose file of the service.

    :param configuration: hash that is put into the service's label; empty while the hash itself is computed.
    """
    service = {**SERVICE_DEFAULTS, **literal(definition)}
    if networks and "networks" not in service:
        service["networks"] = [network["name"] for network in networks]
    if secret_names:
        service["secrets"] = secret_names
    if configuration:
        labels = service.get("labels") or {}
        if isinstance(labels, list):
            labels = dict(label.partition("=")[::2] for label in labels)
        service["labels"] = {**labels, CONFIGURATION_LABEL: configuration}
    document: dict[str, t.Any] = {"name": PROJECT_PREFIX + name, "services": {name: service}}
    if networks:
        document["networks"] = {n["name"]: {"name": n["name"], "external": True} for n in networks}
    if volumes:
        document["volumes"] = {volume: {} for volume in volumes}
    if secret_names:
        document["secrets"] = {secret: {"file": f"./{SECRETS_DIRECTORY}/{secret}"} for secret in secret_names}
    return document


def differs(file: File, found: FileState | None) -> bool:
    """Return whether the file on the server is not as described."""
    if file.content is None:
        return False
    return found is None or found != FileState(file.content, file.mode, file.owner, file.group)


def make_plan(
    params: dict[str, t.Any],
    files: list[File],
    found: dict[str, FileState],
    state: State,
    containers: list[Container],
) -> Plan:
    """Compare what should run with what runs.

    :param files: all files and secrets that are described.
    :param found: the files that exist on the server, by their path in the service's directory.
    :param containers: the service's containers, one-off ones excluded.
    """
    plan = Plan(secrets_mark=state.secrets)
    plan.write = [file for file in files if differs(file, found.get(file.dest))]
    described = {file.dest for file in files}
    plan.remove = sorted(dest for dest in state.files if dest not in described and dest in found)
    secret_names = sorted(os.path.basename(file.dest) for file in files if file.secret)
    # The mark is random so that no label carries anything derived from a secret.
    if secret_names and (not state.secrets or any(file.secret for file in plan.write)):
        plan.secrets_mark = random_source.token_hex(8)

    def hash_of(file: File) -> str:
        if file.content is not None:
            return content_hash(file.content)
        return content_hash(found[file.dest].content if file.dest in found else None)

    reloadable = {file.dest: hash_of(file) for file in files if file.reload and not file.secret}
    fixed = {file.dest: [hash_of(file), file.mode] for file in files if not file.reload and not file.secret}
    arguments = (params["name"], params["definition"], params["networks"], params["volumes"], secret_names)
    configuration = digest([compose_document(*arguments), fixed, plan.secrets_mark if secret_names else ""])
    plan.reload_hash = digest(reloadable)

    document = json.dumps(compose_document(*arguments, configuration), indent=2) + "\n"
    plan.compose = File(COMPOSE_FILE, document.encode(), 0o600)
    if differs(plan.compose, found.get(COMPOSE_FILE)):
        plan.write.append(plan.compose)

    plan.force = any("(unhealthy)" in container.status for container in containers)
    plan.recreate = plan.force or not containers or any(c.configuration != configuration for c in containers)
    plan.start = not plan.recreate and any(container.state != "running" for container in containers)
    plan.wait = not plan.recreate and not plan.start and not all(container.settled for container in containers)
    plan.reload = not plan.recreate and not plan.start and plan.reload_hash != state.reload
    if containers and plan.recreate:
        plan.force = True
    return plan


def text_diff(plan: Plan, found: dict[str, FileState], directory: str) -> list[dict[str, str]]:
    """Return Ansible's diff of the plan; secrets are only named."""

    def readable(content: bytes) -> str:
        return to_text(content, errors="surrogate_or_replace")

    result = []
    for file in plan.write:
        path, before = os.path.join(directory, file.dest), found.get(file.dest)
        if file.secret:
            old, new = ("(a secret)\n" if before else ""), "(another secret)\n"
        else:
            old, new = (readable(before.content) if before else ""), readable(file.content or b"")
        if old == new and before:
            old = f"mode {before.mode:04o}, owner {before.owner}, group {before.group}\n"
            new = f"mode {file.mode:04o}, owner {file.owner}, group {file.group}\n"
        result.append({"before_header": path, "after_header": path, "before": old, "after": new})
    for dest in plan.remove:
        path = os.path.join(directory, dest)
        secret = dest.startswith(SECRETS_DIRECTORY + "/")
        before = "(a secret)\n" if secret else readable(found[dest].content)
        result.append({"before_header": path, "after_header": path, "before": before, "after": ""})
    return result


class Directory:
    """The service's directory on the server."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, dest: str) -> FileState | None:
        """Return a file's content and permissions, or None when it does not exist."""
        return read_file(os.path.join(self.path, dest))

    def write(self, dest: str, wanted: FileState) -> None:
        """Write a file in one step, with the directories it needs."""
        self._make_parents(dest)
        write_file(os.path.join(self.path, dest), wanted)

    def remove(self, dest: str) -> None:
        """Remove a file."""
        os.unlink(os.path.join(self.path, dest))

    def _make_parents(self, dest: str) -> None:
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        os.chmod(self.path, 0o700)
        current = self.path
        for part in os.path.dirname(dest).split("/"):
            if part:
                current = os.path.join(current, part)
                os.makedirs(current, exist_ok=True)
                os.chmod(current, 0o700 if part == SECRETS_DIRECTORY else 0o755)

    def load_state(self) -> State:
        """Return what the last run applied; nothing when there was none or the file is not readable as JSON."""
        found = self.read(STATE_FILE)
        try:
            value = json.loads(found.content) if found else {}
            return State(value.get("reload", ""), value.get("secrets", ""), tuple(value.get("files", [])))
        except (ValueError, AttributeError):
            return State()

    def save_state(self, state: State) -> None:
        """Remember what was applied."""
        content = (json.dumps(dataclasses.asdict(state), indent=2) + "\n").encode()
        self.write(STATE_FILE, FileState(content, 0o600, 0, 0))


class Engine:
    """The ``docker`` program, for one Compose project."""

    def __init__(self, module: AnsibleModule, name: str, directory: str) -> None:
        self.module = module
        self.name = name
        self.project = PROJECT_PREFIX + name
        self.directory = directory
        self.program = module.get_bin_path("docker")

    def run(self, *words: str, data: str | None = None, check: bool = True) -> tuple[int, str, str]:
        """Run ``docker`` with these words.

        :raises ServiceError: it is not installed, or it failed and *check* is true.
        """
        if not self.program:
            raise ServiceError(
                "Docker is not installed on this server: apply the role miniweb.stack.docker before this service."
            )
        code, out, err = self.module.run_command([self.program, *words], data=data)
        if code and ("is not a docker command" in err or "unknown shorthand flag: 'f'" in err):
            raise ServiceError(
                "Docker's Compose v2 plugin is not installed on this server: apply the role miniweb.stack.docker."
            )
        if code and check:
            raise ServiceError(
                f"`docker {' '.join(words[:6])}` failed: {last_line(err or out)}", stdout=out, stderr=err
            )
        return code, out, err

    def compose(self, *words: str, data: str | None = None, check: bool = True) -> tuple[int, str, str]:
        """Run ``docker compose`` for this project, on its file or on a document given as *data*."""
        source = "-" if data is not None else os.path.join(self.directory, COMPOSE_FILE)
        prefix = ["compose", "--ansi", "never", "--progress", "quiet", "--project-directory", self.directory]
        return self.run(*prefix, "--file", source, *words, data=data, check=check)

    def containers(self) -> list[Container]:
        """Return the service's containers; none when Docker is not installed in check mode."""
        if not self.program and self.module.check_mode:
            return []
        labels = (
            f"com.docker.compose.project={self.project}",
            f"com.docker.compose.service={self.name}",
            "com.docker.compose.oneoff=False",
        )
        filters = [word for label in labels for word in ("--filter", f"label={label}")]
        columns = '{{.ID}}\t{{.State}}\t{{.Status}}\t{{.Label "' + CONFIGURATION_LABEL + '"}}'
        out = self.run("ps", "--all", "--no-trunc", *filters, "--format", columns)[1]
        rows = (line.split("\t") for line in out.splitlines() if line)
        return [Container(row[0], row[1], row[2], row[3] if len(row) > 3 else "") for row in rows]

    def provide_image(self, image: str, build: dict[str, t.Any] | None) -> None:
        """Make sure that the image is on the server.

        :raises ServiceError: the image cannot be pulled or built.
        """
        if self.run("image", "inspect", "--format", "{{.Id}}", image, check=False)[0] == 0:
            return
        if build:
            # The host's network, because a build has no user-defined network and so no working resolver of its own.
            words = [self.program, "build", "--network", "host", "--tag", image, "--file", build["dockerfile"], "-"]
            with open(build["archive"], "rb") as stream:
                code, out, err = self.module.run_command(words, data=stream.read(), binary_data=True)
            if code:
                raise ServiceError(
                    f'The image "{image}" of the service "{self.name}" cannot be built: {last_line(err or out)}.',
                    logs=(out + err).splitlines()[-LOG_LINES:],
                )
            return
        code, out, err = self.run("pull", "--quiet", image, check=False)
        if code:
            raise ServiceError(
                f'The image "{image}" of the service "{self.name}" cannot be pulled ({last_line(err or out)}): '
                "check its name and tag, and that this server reaches its registry."
            )

    def prune(self, image: str, keep: int) -> None:
        """Remove all but the newest images of a repository, and old build cache; images in use stay."""
        repository = image.rsplit(":", 1)[0]
        tags = self.run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository)[1].split()
        for old in [tag for tag in tags if tag != image][max(keep - 1, 0) :]:
            self.run("image", "rm", old, check=False)
        self.run("image", "prune", "--force")
        self.run("builder", "prune", "--force", "--filter", "until=168h")

    def make_network(self, name: str, internal: bool) -> bool:
        """Make sure that a network exists and return whether it was created.

        :raises ServiceError: it exists and is internal where it should not be, or the other way round.
        """
        code, out, err = self.run("network", "inspect", "--format", "{{.Internal}}", name, check=False)
        if code:
            options = ["--internal"] if internal else []
            self.run("network", "create", *options, name)
            return True
        if (out.strip() == "true") != internal:
            raise ServiceError(
                f'The network "{name}" exists with internal={out.strip()}, but the service "{self.name}" wants '
                f"internal={str(internal).lower()}: make both sides equal, or stop its services and remove the network."
            )
        return False

    def one_off(self, command: list[str]) -> tuple[int, str]:
        """Run a command in a one-off container of the service; return its exit code and output."""
        first, *rest = command
        code, out, err = self.compose(
            "run", "--rm", "--no-deps", "--no-TTY", "--entrypoint", first, self.name, *rest, check=False
        )
        return code, (out + err).strip()

    def diagnosis(self) -> dict[str, t.Any]:
        """Return why the service is not healthy, as far as the engine knows, and its last log lines."""
        reasons = []
        for container in self.containers():
            out = self.run("inspect", "--format", "{{json .}}", container.id, check=False)[1]
            found = json.loads(out) if out.strip() else {}
            state = found.get("State") or {}
            if found.get("RestartCount"):
                reasons.append(f"it stopped and was restarted {found['RestartCount']} times")
            if state.get("OOMKilled"):
                reasons.append("it ran out of memory")
            if state.get("Status") != "running":
                reasons.append(f"it is {state.get('Status')} with exit code {state.get('ExitCode')}")
            if state.get("Error"):
                reasons.append(state["Error"])
            probes = (state.get("Health") or {}).get("Log") or []
            if probes and probes[-1].get("ExitCode"):
                reasons.append(f"its health check says: {probes[-1].get('Output', '').strip() or 'nothing'}")
        out = self.compose("logs", "--no-color", "--no-log-prefix", "--tail", str(LOG_LINES), check=False)[1]
        return {"reason": "; ".join(reasons), "logs": out.splitlines()}


def described_files(params: dict[str, t.Any]) -> list[File]:
    """Return the files and secrets of the module's parameters.

    :raises ServiceError: a path, mode or name cannot be used.
    """
    files = []
    for item in params["files"]:
        dest = item["dest"]
        reserved = dest in (COMPOSE_FILE, STATE_FILE) or dest.split("/")[0] == SECRETS_DIRECTORY
        if dest.startswith("/") or os.path.normpath(dest) != dest or dest.startswith("..") or reserved:
            raise ServiceError(
                f'files: "{dest}" cannot be used as dest; give a plain path relative to the service\'s directory, '
                f"other than {COMPOSE_FILE}, {STATE_FILE} and {SECRETS_DIRECTORY}/."
            )
        if not re.fullmatch(r"0?[0-7]{3}", item["mode"]):
            raise ServiceError(f'files: mode "{item["mode"]}" of {dest} is not an octal number such as "0644".')
        if item["reload"] and not params["reload_command"]:
            raise ServiceError(f"files: {dest} has reload: true, but reload_command is not set.")
        content = None if item["content"] is None else item["content"].encode()
        files.append(File(dest, content, int(item["mode"], 8), item["owner"], item["group"], item["reload"]))
    for item in params["secrets"]:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", item["name"]):
            raise ServiceError(f'secrets: name "{item["name"]}" may only have letters, digits, ".", "_" and "-".')
        dest = f"{SECRETS_DIRECTORY}/{item['name']}"
        files.append(File(dest, item["content"].encode(), 0o400, item["owner"], item["owner"], secret=True))
    names = [file.dest for file in files]
    for name in names:
        if names.count(name) > 1:
            raise ServiceError(f'files: "{name}" is described twice.')
    return files


class Applier:
    """Carries out a plan and puts the files back when the new ones prove wrong."""

    def __init__(self, params: dict[str, t.Any], directory: Directory, engine: Engine) -> None:
        self.params = params
        self.directory = directory
        self.engine = engine
        self.originals: dict[str, FileState | None] = {}

    def apply(self, plan: Plan, files: list[File], state: State) -> None:
        """Bring the service to the wanted state.

        :raises ServiceError: it cannot be done; the sentence says why.
        """
        for file in files:
            if file.content is None and self.directory.read(file.dest) is None:
                raise ServiceError(
                    f"files: {file.dest} has no content and does not exist in {self.directory.path}: "
                    "make it before the service, or give its content."
                )
        if plan.recreate:
            document = plan.compose.content if plan.compose else None
            code, dummy, err = self.engine.compose("config", "--quiet", data=(document or b"").decode(), check=False)
            if code:
                raise ServiceError(f"definition: Compose refuses it: {last_line(err)}.")
            self.engine.provide_image(self.params["definition"]["image"], self.params["build"])
            for network in self.params["networks"]:
                self.engine.make_network(network["name"], network["internal"])
        try:
            self._write(plan, state)
            if self.params["check_command"] and (plan.recreate or plan.reload):
                self._one_off(self.params["check_command"], "check_command: the new files are refused")
            if plan.recreate:
                for command in self.params["before_start"]:
                    self._one_off([str(word) for word in command], "before_start: a command failed")
        except BaseException:
            self._restore()
            raise
        if plan.recreate or plan.start or plan.wait:
            self._up(plan)
        if plan.reload:
            self._reload()
        if plan.recreate and self.params["build"]:
            self.engine.prune(self.params["definition"]["image"], self.params["build"]["keep"])
        self.directory.save_state(
            State(plan.reload_hash, plan.secrets_mark, tuple(sorted(f.dest for f in files if f.content is not None)))
        )

    def _write(self, plan: Plan, state: State) -> None:
        paths = [STATE_FILE] + [file.dest for file in plan.write] + plan.remove
        self.originals = {dest: self.directory.read(dest) for dest in paths}
        # Saved before the secrets are: an interruption in between costs a recreation, never a secret that is not used.
        known = tuple(sorted({*state.files, *(f.dest for f in plan.write if f.dest != COMPOSE_FILE)}))
        self.directory.save_state(State(state.reload, plan.secrets_mark, known))
        for file in plan.write:
            self.directory.write(file.dest, FileState(file.content or b"", file.mode, file.owner, file.group))
        for dest in plan.remove:
            self.directory.remove(dest)

    def _restore(self) -> None:
        for dest, original in self.originals.items():
            if original is not None:
                self.directory.write(dest, original)
            elif self.directory.read(dest) is not None:
                self.directory.remove(dest)

    def _one_off(self, command: list[str], meaning: str) -> None:
        code, output = self.engine.one_off(command)
        if code:
            raise ServiceError(
                f'{meaning}: `{" ".join(command)}` of the service "{self.params["name"]}" ended with {code}: '
                f"{last_line(output)}. The files are as they were before.",
                logs=output.splitlines()[-LOG_LINES:],
            )

    def _up(self, plan: Plan) -> None:
        timeout = self.params["wait_timeout"]
        force = ["--force-recreate"] if plan.recreate and plan.force else []
        words = ["--detach", "--no-build", "--remove-orphans", "--wait", "--wait-timeout", str(timeout)]
        code, dummy, err = self.engine.compose("up", *words, *force, check=False)
        if code:
            found = self.engine.diagnosis()
            raise ServiceError(
                f'The service "{self.params["name"]}" did not become healthy within {timeout} s: '
                f"{found['reason'] or last_line(err)}.",
                logs=found["logs"],
                stderr=err,
            )

    def _reload(self) -> None:
        for container in self.engine.containers():
            code, out, err = self.engine.run("exec", container.id, *self.params["reload_command"], check=False)
            if code:
                raise ServiceError(
                    f"reload_command: `{' '.join(self.params['reload_command'])}` of the service "
                    f'"{self.params["name"]}" ended with {code}: {last_line(err or out)}.'
                )


def ensure_present(module: AnsibleModule, directory: Directory, engine: Engine) -> dict[str, t.Any]:
    """Bring the service up; return the module's result."""
    params = module.params
    definition = params["definition"]
    if not definition.get("image"):
        raise ServiceError(f'definition: the service "{params["name"]}" names no image.')
    files = described_files(params)
    state = directory.load_state()
    paths = {file.dest for file in files} | set(state.files) | {COMPOSE_FILE}
    found = {dest: status for dest in paths if (status := directory.read(dest)) is not None}
    containers = engine.containers()
    plan = make_plan(params, files, found, state, containers)
    result: dict[str, t.Any] = {"changed": bool(plan.actions), "actions": plan.actions}
    if module._diff:
        result["diff"] = text_diff(plan, found, directory.path)
    if not module.check_mode and (plan.actions or plan.wait):
        Applier(params, directory, engine).apply(plan, files, state)
        before, containers = containers, engine.containers()
        result["changed"] = result["changed"] or {c.id for c in before} != {c.id for c in containers}
    result["container_id"] = containers[0].id[:12] if containers else ""
    return result


def ensure_absent(module: AnsibleModule, directory: Directory, engine: Engine) -> dict[str, t.Any]:
    """Remove the service; return the module's result."""
    containers = engine.containers() if engine.program else []
    exists = os.path.isdir(directory.path)
    actions = (["remove containers"] if containers else []) + ([f"remove {directory.path}"] if exists else [])
    volumes: list[str] = []
    if module.params["remove_volumes"] and engine.program:
        label = f"label=com.docker.compose.project={engine.project}"
        volumes = engine.run("volume", "ls", "--quiet", "--filter", label)[1].split()
        actions += [f"remove volume {volume}" for volume in volumes]
    if not module.check_mode:
        if containers:
            engine.run("rm", "--force", *(container.id for container in containers))
        if volumes:
            engine.run("volume", "rm", *volumes)
        if exists:
            shutil.rmtree(directory.path)
    return {"changed": bool(actions), "actions": actions, "container_id": ""}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "directory": {"type": "path"},
            "definition": {"type": "dict"},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "dest": {"type": "str", "required": True},
                    "content": {"type": "str"},
                    "mode": {"type": "str", "default": "0644"},
                    "owner": {"type": "int", "default": 0},
                    "group": {"type": "int", "default": 0},
                    "reload": {"type": "bool", "default": False},
                },
            },
            "secrets": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "no_log": False,
                "options": {
                    "name": {"type": "str", "required": True},
                    "content": {"type": "str", "required": True, "no_log": True},
                    "owner": {"type": "int", "default": 0},
                },
            },
            "networks": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "internal": {"type": "bool", "default": False},
                },
            },
            "volumes": {"type": "list", "elements": "str", "default": []},
            "check_command": {"type": "list", "elements": "str"},
            "reload_command": {"type": "list", "elements": "str"},
            "before_start": {"type": "list", "elements": "list", "default": []},
            "build": {
                "type": "dict",
                "options": {
                    "archive": {"type": "path", "required": True},
                    "dockerfile": {"type": "str", "default": "Dockerfile"},
                    "keep": {"type": "int", "default": 3},
                },
            },
            "wait_timeout": {"type": "int", "default": 120},
            "remove_volumes": {"type": "bool", "default": False},
        },
        required_if=[("state", "present", ["definition"])],
        supports_check_mode=True,
    )
    name = module.params["name"]
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        module.fail_json(msg=f'name: "{name}" may only have small letters, digits, "_" and "-".')
    path = module.params["directory"] or os.path.join(BASE_DIRECTORY, name)
    directory, engine = Directory(path), Engine(module, name, path)
    ensure = ensure_present if module.params["state"] == "present" else ensure_absent
    try:
        result = ensure(module, directory, engine)
    except ServiceError as error:
        module.fail_json(msg=str(error), project=engine.project, **error.details)
    module.exit_json(project=engine.project, **result)


if __name__ == "__main__":
    main()
