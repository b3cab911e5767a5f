# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""The ``docker`` program, for one Compose project."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import os
import stat
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.miniweb.stack.plugins.module_utils.compose.files import dump, load
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    COMPOSE_FILE,
    CONFIGURATION_LABEL,
    LOG_LINES,
    PROJECT_PREFIX,
    ArchiveNeeded,
    Container,
    ServiceError,
    volume_name,
)
from ansible_collections.miniweb.stack.plugins.module_utils.compose.plan import digest
from ansible_collections.miniweb.stack.plugins.module_utils.docker_configuration import data_root
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import (
    FileState,
    cause,
    free_megabytes,
    locked,
    read_file,
    write_file,
)

PROJECT_LABEL = "com.docker.compose.project"
ONE_OFF_LABEL = "com.docker.compose.oneoff"
VOLUME_LABEL = "com.docker.compose.volume"
# How long a command in a running container may take, and the exit code of `timeout` when it took longer
EXECUTE_SECONDS = 60
QUESTION_SECONDS = "30"
HEALTH_CHECK_SECONDS = 5
# What the largest image of the roles' defaults needs; a full disk would stop the services that run.
IMAGE_MEGABYTES = 1000
# How far back in a log the cause of a failure is looked for
SEARCHED_LINES = 300
TIMED_OUT = 124
# The proxies of the engine, by the variable that a build gets, and how it prints one with a login
PROXIES = {"HTTP_PROXY": "{{.HTTPProxy}}", "HTTPS_PROXY": "{{.HTTPSProxy}}", "NO_PROXY": "{{.NoProxy}}"}
MASKED = "xxxxx:xxxxx@"
# What can be changed on a container, or on its Compose file, without this collection
HOST_SETTINGS = {
    "limits": ("Memory", "MemoryReservation", "MemorySwap", "NanoCpus", "CpuShares", "CpuQuota", "PidsLimit"),
    "restart policy": ("RestartPolicy",),
    "ports": ("PortBindings",),
    "mounts": ("Binds", "Mounts", "Tmpfs", "ReadonlyRootfs"),
    "rights": ("CapAdd", "CapDrop", "SecurityOpt", "Privileged", "PidMode"),
}
PROGRAM_SETTINGS = {
    "user": ("User",),
    "program": ("Entrypoint", "Cmd", "Env", "WorkingDir", "Healthcheck"),
}


# Prints whether the engine translates IPv6 addresses: it makes this chain when it starts. Without it, what is published is
# passed on by a program, and all visitors have the bridge's address.
TRANSLATES_IPV6 = (
    "sh",
    "-c",
    "ip6tables --wait --table nat --numeric --list DOCKER > /dev/null 2>&1 && echo yes || echo no",
)


PROC = "/proc"
# The kernel's mark of such a route, RTF_ADDRCONF
BY_ADVERTISEMENT = 0x40000


def unique_local_subnet() -> str:
    """Return a network of IPv6 addresses for this server alone, as RFC 4193 has it."""
    return str(ipaddress.IPv6Network((b"\xfd" + os.urandom(5) + bytes(10), 64)))


def routes_by_advertisement() -> bool:
    """Return whether the kernel has its IPv6 default route from a router's advertisements.

    It would lose it: with a network that has IPv6 the engine makes the server forward, and the kernel of a server that forwards
    ignores advertisements.
    """
    try:
        with open(os.path.join(PROC, "net/ipv6_route"), encoding="ascii") as stream:
            routes = [line.split() for line in stream]
    except FileNotFoundError:
        return False
    default = ["0" * 32, "00"]
    devices = {route[9] for route in routes if route[:2] == default and int(route[8], 16) & BY_ADVERTISEMENT}
    # 2 means that it takes them all the same; the routes of programs such as systemd-networkd have no such mark.
    settings = (read_file(os.path.join(PROC, f"sys/net/ipv6/conf/{device}/accept_ra")) for device in devices)
    return any(setting is None or setting.content.strip() != b"2" for setting in settings)


def registry_of(image: str) -> str:
    """Return the registry in the name of an image, as the engine finds it; empty for its default one."""
    first, slash, dummy = image.partition("/")
    return first if slash and (first == "localhost" or "." in first or ":" in first) else ""


def lack_of_room() -> str:
    """Return why there is no room for another image on the engine's disk; empty if there is."""
    root = data_root()
    free = free_megabytes(root)
    if free >= IMAGE_MEGABYTES:
        return ""
    return f"only {free} MB are free in {root}, and an image may need {IMAGE_MEGABYTES} MB: make room there"


def container_of(found: dict[str, t.Any]) -> Container:
    """Return the relevant part of the engine's information on a container."""
    state = found.get("State") or {}
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    check = (found.get("Config") or {}).get("Healthcheck") or {}
    probes = check.get("Retries", 0) * (check.get("Interval", 0) + check.get("Timeout", 0))
    return Container(
        id=found["Id"],
        state=state.get("Status", ""),
        health=(state.get("Health") or {}).get("Status", ""),
        configuration=((found.get("Config") or {}).get("Labels") or {}).get(CONFIGURATION_LABEL, ""),
        image=found.get("Image", ""),
        restarts=found.get("RestartCount", 0),
        settings=settings_in(found),
        addresses=tuple(one["IPAddress"] for one in networks.values() if one.get("IPAddress")),
        verdict_seconds=(check.get("StartPeriod", 0) + probes) / 1e9,
        check=health_check(check.get("Test") or []),
        started=state.get("StartedAt", ""),
        detached=any(is_detached(state.get("Pid", 0), mount) for mount in found.get("Mounts") or []),
    )


def is_detached(process: int, mount: dict[str, t.Any]) -> bool:
    """Return whether a directory that a container's process has mounted is no longer the one at its place on the server."""
    if not process or mount.get("Type") != "bind":
        return False
    seen = f"{PROC}/{process}/root"
    for part in mount["Destination"].strip("/").split("/"):
        seen = f"{seen}/{part}"
        # An absolute link would lead out of the container.
        if os.path.islink(seen):
            return False
    found = directory_at(seen)
    return found is not None and found != directory_at(mount["Source"])


def directory_at(path: str) -> tuple[int, int] | None:
    """Return the device and the inode of a directory; None if there is none, such as one of a process that has just ended."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def settings_in(found: dict[str, t.Any]) -> dict[str, str]:
    """Return the hash of each group of a container's settings."""
    host, program = found.get("HostConfig") or {}, found.get("Config") or {}
    # The engine adds the container's own ID to its names in a network.
    networks = {
        name: sorted(set(one.get("Aliases") or []) - {found["Id"][:12]})
        for name, one in ((found.get("NetworkSettings") or {}).get("Networks") or {}).items()
    }
    groups = {"name": found.get("Name"), "networks": networks}
    groups.update({group: [ordered(host.get(name)) for name in names] for group, names in HOST_SETTINGS.items()})
    groups.update({group: [program.get(name) for name in names] for group, names in PROGRAM_SETTINGS.items()})
    return {group: digest(value) for group, value in groups.items()}


def ordered(value: t.Any) -> t.Any:
    """Return a setting with its list, if it is one, in a fixed order: Compose hands mounts over in any order."""
    return sorted(value, key=digest) if isinstance(value, list) else value


def health_check(test: list[str]) -> tuple[str, ...]:
    """Return the command of a health check in the engine's notation; empty if there is none."""
    kind, *words = test or ["NONE"]
    if kind == "CMD-SHELL":
        return ("/bin/sh", "-c", *words)
    return tuple(words) if kind == "CMD" else ()


@dataclasses.dataclass(frozen=True)
class Listed:
    """A container created by Compose, of any project."""

    container: Container
    project: str
    one_off: bool
    labels: tuple[str, ...]


def listed_containers(module: AnsibleModule) -> list[Listed] | None:
    """Return all containers created by Compose; None if the engine does not answer."""
    program = module.get_bin_path("docker")
    if not program:
        return []
    words = [program, "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={PROJECT_LABEL}"]
    code, out, dummy = module.run_command(words)
    if code:
        return None
    ids = out.split()
    if not ids:
        return []
    # If a container has been removed in the meantime, the command fails but still prints the others.
    answer = module.run_command([program, "inspect", "--type", "container", *ids])[1]
    result = []
    for found in json.loads(answer or "[]"):
        labels = (found.get("Config") or {}).get("Labels") or {}
        one_off = labels.get(ONE_OFF_LABEL) == "True"
        result.append(Listed(container_of(found), labels.get(PROJECT_LABEL, ""), one_off, tuple(labels)))
    return result


class Engine:
    """The ``docker`` program, for one Compose project.

    :param images_file: records the images that this collection pulled or built, so that only they are removed.
    """

    def __init__(self, module: AnsibleModule, name: str, directory: str, images_file: str) -> None:
        self.module = module
        self.name = name
        self.project = PROJECT_PREFIX + name
        self.directory = directory
        self.images_file = images_file
        self.program = module.get_bin_path("docker")

    def run(self, *words: str, data: str | None = None, check: bool = True) -> tuple[int, str, str]:
        """Run ``docker`` with these arguments.

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
            raise ServiceError(f"`docker {' '.join(words[:6])}` failed: {cause(err or out)}", stdout=out, stderr=err)
        return code, out, err

    def compose(self, *words: str, data: str | None = None, check: bool = True) -> tuple[int, str, str]:
        """Run ``docker compose`` for this project, on its file or on a document given as *data*."""
        source = "-" if data is not None else os.path.join(self.directory, COMPOSE_FILE)
        prefix = ["compose", "--ansi", "never", "--progress", "quiet", "--project-directory", self.directory]
        return self.run(*prefix, "--file", source, *words, data=data, check=check)

    def found(self) -> list[dict[str, t.Any]]:
        """Return the engine's information on the service's containers, without one-off ones."""
        if not self.program and self.module.check_mode:
            return []
        labels = (
            f"{PROJECT_LABEL}={self.project}",
            f"com.docker.compose.service={self.name}",
            f"{ONE_OFF_LABEL}=False",
        )
        filters = [word for label in labels for word in ("--filter", f"label={label}")]
        ids = self.run("ps", "--all", "--quiet", "--no-trunc", *filters)[1].split()
        if not ids:
            return []
        # If a container has been removed in the meantime, the command fails but still prints the others.
        return json.loads(self.run("inspect", "--type", "container", *ids, check=False)[1] or "[]")

    def containers(self) -> list[Container]:
        """Return the service's containers; none when Docker is not installed in check mode."""
        return [container_of(found) for found in self.found()]

    def project_containers(self) -> list[str]:
        """Return the IDs of all containers of the project, including one-off ones left by an interrupted run."""
        label = f"label={PROJECT_LABEL}={self.project}"
        return self.run("ps", "--all", "--quiet", "--no-trunc", "--filter", label)[1].split()

    def image_id(self, image: str) -> str:
        """Return the ID of an image on this server; empty if it does not exist, or without Docker in check mode."""
        if not self.program and self.module.check_mode:
            return ""
        return self.run("image", "inspect", "--format", "{{.Id}}", image, check=False)[1].strip()

    def provide_image(self, image: str, build: dict[str, t.Any] | None, archive: str | None) -> None:
        """Make sure that the image is on the server, and record it if it had to be built or pulled.

        :param archive: what it is built from, on this server.
        :raises ArchiveNeeded: it has to be built, and the archive is not on this server yet.
        :raises ServiceError: the image cannot be pulled or built.
        """
        if self.image_id(image):
            return
        if build and not archive:
            raise ArchiveNeeded
        reason = lack_of_room()
        if reason:
            raise ServiceError(f'The image "{image}" of the service "{self.name}" is missing, but {reason}.')
        if build and build["base"] and self.module.params.get("login") and not self.image_id(build["base"]):
            # A build would have to reach the registry itself.
            self.provide_image(build["base"], None, None)
        if build:
            # The host's network, because a build has no user-defined network and hence no working DNS resolver.
            words = [self.program, "build", "--network", "host", *self._proxies()]
            words += ["--tag", image, "--file", build["dockerfile"], "-"]
            with open(archive, "rb") as stream:
                code, out, err = self.module.run_command(words, data=stream.read(), binary_data=True)
            if code:
                raise ServiceError(
                    f'The image "{image}" of the service "{self.name}" cannot be built: {cause(err or out)}.',
                    logs=(out + err).splitlines()[-LOG_LINES:],
                )
        else:
            fault = self._pull(image)
            if fault:
                raise ServiceError(fault)
        self._note_image(image)

    def _proxies(self) -> list[str]:
        """Return what gives a build the proxies through which the engine pulls; it leaves no trace in the image."""
        values = self.run("info", "--format", "\n".join(PROXIES.values()))[1].split("\n")
        given = {name: value for name, value in zip(PROXIES, values) if value and MASKED not in value}
        pairs = [f"{spelled}={value}" for name, value in given.items() for spelled in (name, name.lower())]
        return [word for pair in pairs for word in ("--build-arg", pair)]

    def renew_image(self, image: str) -> None:
        """Pull an image whose tag may have moved. If that fails and the image is on the server, only warn.

        :raises ServiceError: it cannot be pulled and is not on the server.
        """
        before = self.image_id(image)
        if not before:
            self.provide_image(image, None, None)
            return
        reason = lack_of_room()
        fault = self._not_pulled(image, reason) if reason else self._pull(image)
        if fault:
            self.module.warn(f"{fault} Until then, the one on this server is used.")
        elif self.image_id(image) != before:
            self._note_image(image)

    def _pull(self, image: str) -> str:
        """Pull an image; return why that failed, as a sentence, empty on success."""
        with tempfile.TemporaryDirectory(dir=self.module.tmpdir) as directory:
            login = self.module.params.get("login")
            options = ["--config", directory] if login else []
            if login:
                registry = registry_of(image)
                words = [*options, "login", "--username", login["user"], "--password-stdin"]
                words += [registry] if registry else []
                code, out, err = self.run(*words, data=login["password"], check=False)
                if code:
                    return (
                        f'The image "{image}" of the service "{self.name}" cannot be pulled, because its registry does not let '
                        f'"{login["user"]}" log in ({cause(err or out)}): correct the user or the password.'
                    )
            code, out, err = self.run(*options, "pull", "--quiet", image, check=False)
        return self._not_pulled(image, cause(err or out) or f"exit code {code}") if code else ""

    def _not_pulled(self, image: str, reason: str) -> str:
        return (
            f'The image "{image}" of the service "{self.name}" cannot be pulled ({reason}): '
            "check its name and tag, and that this server reaches its registry."
        )

    def recorded_images(self) -> dict[str, dict[str, str]]:
        """Return the reference and the service of each image that this collection pulled or built here, by ID."""
        return load(read_file(self.images_file)).get("images", {})

    def _save_images(self, images: dict[str, dict[str, str]]) -> None:
        # Readable by other programs that may remove some of the images; it contains no secret.
        write_file(self.images_file, FileState(dump({"images": images}), 0o644))

    def _note_image(self, image: str) -> None:
        identity = self.image_id(image)
        with locked(f"{self.images_file}.lock"):
            images = self.recorded_images()
            images.pop(identity, None)
            self._save_images({**images, identity: {"reference": image, "service": self.name}})

    def prune(self, image: str, keep: int, built: bool) -> None:
        """Remove all but the newest images that this collection pulled or built for the service; those in use are kept.

        :param image: the reference of the running image.
        :param keep: how many are kept, including that one.
        :param built: the image was built here, and so were all images of its repository.
        """
        current = self.image_id(image)
        with locked(f"{self.images_file}.lock"):
            images = self.recorded_images()
            if built:
                repository = image.rpartition(":")[0]
                columns = "{{.ID}} {{.Repository}}:{{.Tag}}"
                rows = self.run("image", "ls", "--no-trunc", "--format", columns, repository)[1].split()
                found = dict(zip(rows[::2], rows[1::2]))
                older = {
                    one: {"reference": tag, "service": self.name} for one, tag in found.items() if one not in images
                }
                images = {**older, **images}
            own = [identity for identity, item in images.items() if item["service"] == self.name]
            for identity in [one for one in own if one != current][: max(len(own) - keep, 0)]:
                if not self._removal_error(identity, images[identity]["reference"]):
                    del images[identity]
            if images != self.recorded_images():
                self._save_images(images)
        if built:
            self.run("builder", "prune", "--force", "--filter", "until=168h", check=False)

    def remove_image(self, identity: str) -> str:
        """Remove an image that this collection pulled or built; return the error, empty on success.

        The caller holds the lock of the file that records them.
        """
        images = self.recorded_images()
        error = self._removal_error(identity, images[identity]["reference"]) if identity in images else ""
        if not error and images.pop(identity, None):
            # On a full disk, the record stays until the next one is written; it says nothing about other images.
            with contextlib.suppress(OSError):
                self._save_images(images)
        return error

    def _removal_error(self, identity: str, reference: str) -> str:
        """Remove an image; return the error. The engine refuses to remove one that is in use."""
        # A tag that has moved belongs to a newer image by now.
        target = reference if self.image_id(reference) == identity else identity
        code, out, err = self.run("image", "rm", target, check=False)
        return (err or out) if code and "No such image" not in err else ""

    def translates_ipv6(self) -> bool:
        """Return whether visitors of a network with IPv6 keep their addresses, and the server its own route."""
        translates = self.module.run_command(list(TRANSLATES_IPV6))[1].strip() == "yes"
        return translates and not routes_by_advertisement()

    def make_network(self, name: str, internal: bool, ipv6: bool = False) -> bool:
        """Make sure that a network exists and return whether it was created.

        :raises ServiceError: it exists but is internal, or has no IPv6, when it should not be so, or vice versa.
        """
        code, out, dummy = self.run(
            "network", "inspect", "--format", "{{.Internal}} {{.EnableIPv6}}", name, check=False
        )
        if code:
            options = ["--internal"] if internal else []
            # Before version 27 the engine has no IPv6 addresses of its own to give.
            options += ["--ipv6", "--subnet", unique_local_subnet()] if ipv6 else []
            self.run("network", "create", *options, name)
            return True
        found_internal, dummy, found_ipv6 = out.strip().partition(" ")
        if (found_internal == "true") != internal:
            raise ServiceError(
                f'The network "{name}" exists with internal={found_internal}, but the service "{self.name}" wants '
                f"internal={str(internal).lower()}: make both sides equal, or stop its services and remove the network."
            )
        if ipv6 and found_ipv6 != "true":
            raise ServiceError(
                f'The network "{name}" exists without IPv6, but the service "{self.name}" wants it with IPv6: stop its '
                "services and remove the network, or use another one."
            )
        return False

    def make_volume(self, service: str, volume: str, owner: int | None) -> None:
        """Make sure that a volume exists and belongs to a user.

        :param service: the service that it is removed with, and *volume* its name there.
        :param owner: the user's number; None if the owner does not matter.
        :raises ServiceError: the engine cannot create it.
        """
        name = volume_name(service, volume)
        words = ["volume", "inspect", "--format", "{{.Mountpoint}}", name]
        code, out, dummy = self.run(*words, check=False)
        if code:
            labels = (f"{PROJECT_LABEL}={PROJECT_PREFIX}{service}", f"{VOLUME_LABEL}={volume}")
            self.run("volume", "create", *(word for label in labels for word in ("--label", label)), name)
            out = self.run(*words)[1]
        place = out.strip()
        # One of another driver may be mounted only while it is used.
        if owner is not None and os.path.isdir(place) and os.stat(place).st_uid != owner:
            os.chown(place, owner, owner)

    def remove_volume(self, name: str) -> bool:
        """Remove a volume; if another service's container has mounted it, only warn.

        :return: whether it is gone.
        :raises ServiceError: the engine refuses for another reason.
        """
        code, dummy, err = self.run("volume", "rm", name, check=False)
        if code and "volume is in use" in err:
            self.module.warn(
                f"The volume {name} is kept as long as a container of another service has mounted it: once none has, the next run removes it."
            )
        elif code:
            raise ServiceError(f"The volume {name} cannot be removed ({cause(err)}): look at journalctl --unit docker.")
        return not code

    def one_off(self, command: list[str], document: str | None = None) -> tuple[int, str]:
        """Run a command in a one-off container of the service; return its exit code and output.

        :param document: a Compose file to use instead of the service's own.
        """
        first, *rest = command
        words = ["run", "--rm", "--no-deps", "--no-TTY", "--entrypoint", first, self.name, *rest]
        code, out, err = self.compose(*words, data=document, check=False)
        return code, (out + err).strip()

    def execute(self, container: str, command: list[str], seconds: int = EXECUTE_SECONDS) -> tuple[int, str]:
        """Run a command in a running container with a timeout in seconds; return its exit code and output."""
        return self.limited([self.program, "exec", container, *command], seconds)

    def passes_health_check(self, container: Container) -> bool:
        """Return whether the container's own health check succeeds now, which the engine would find out a second later."""
        return bool(container.check) and self.execute(container.id, [*container.check], HEALTH_CHECK_SECONDS)[0] == 0

    def ask(self, *words: str, seconds: str = QUESTION_SECONDS) -> tuple[int, str, str]:
        """Run ``docker`` with a timeout in seconds; return its exit code, output and errors.

        Through its socket, systemd lets a question to an engine that does not start wait.
        """
        timeout = self.module.get_bin_path("timeout", required=True)
        return self.module.run_command([timeout, seconds, self.program, *words])

    def limited(self, words: list[str], seconds: int) -> tuple[int, str]:
        """Run a command in the service's directory with a timeout in seconds; return its exit code and output."""
        timeout = self.module.get_bin_path("timeout", required=True)
        words = [timeout, "--kill-after=5", str(seconds), *words]
        code, out, err = self.module.run_command(words, cwd=self.directory)
        output = (out + err).strip()
        if code == TIMED_OUT:
            output = f"{output}\nit did not finish within {seconds} s".strip()
        return code, output

    def stop(self, containers: list[Container], check: bool = True) -> None:
        """Stop the containers, if any, with their own stop signal and grace period.

        :raises ServiceError: one cannot be stopped and *check* is true.
        """
        if containers:
            self.run("stop", *(container.id for container in containers), check=check)

    def volumes(self) -> list[str]:
        """Return the names of the project's named volumes."""
        return self.run("volume", "ls", "--quiet", "--filter", f"label={PROJECT_LABEL}={self.project}")[1].split()

    def all_volumes(self) -> list[str]:
        """Return the names of all named volumes, of whatever project."""
        return self.run("volume", "ls", "--quiet")[1].split()

    def data_seen(self) -> str:
        """Return a hash of the names, sizes and times of all files in the project's volumes.

        A different hash means that a program has had the data open for writing in between.
        """
        names = self.volumes()
        if not names:
            return ""
        seen = []
        for root in self.run("volume", "inspect", "--format", "{{.Mountpoint}}", *names)[1].splitlines():
            for directory, _directories, files in os.walk(root):
                for path in (os.path.join(directory, file) for file in files):
                    with contextlib.suppress(FileNotFoundError):
                        status = os.lstat(path)
                        seen.append((path, status.st_size, status.st_mtime_ns))
        return digest(sorted(seen))

    def diagnosis(self) -> dict[str, t.Any]:
        """Return why the service is not healthy, as far as the engine can tell, and its last log lines."""
        reasons, logs = [], []
        for found in self.found():
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
                said = probes[-1].get("Output", "")
                reasons.append(f"its health check says: {cause(said) if said.strip() else 'nothing'}")
            # `docker compose logs` prints cursor control sequences.
            dummy, out, err = self.run("logs", "--tail", str(SEARCHED_LINES), found["Id"], check=False)
            logs += [line for line in (out + err).splitlines() if line.strip()]
        if reasons and logs:
            said = cause("\n".join(logs))
            reasons.append(f"its log says: {said}")
        return {"reason": "; ".join(reasons), "logs": logs[-LOG_LINES:]}
