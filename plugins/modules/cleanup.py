#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what takes room on a server, and remove what is the collection's own and not needed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cleanup
short_description: Show what takes room on a server, and remove what is the collection's own and not needed
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Lists images, Docker's build cache, the logs of containers, volumes, the server's own logs and its downloaded packages, each with
    its size, whose it is, and what happens to it.
  - With O(remove), it removes what this collection has made and does not need - images that it pulled or built and that
    neither a container, a deployed version nor a way back uses; the build cache, if this collection has built an image here;
    rotated logs of its containers; MySQL's slow query log, and binary logs that are older than MySQL keeps them.
  - What others made is left alone, and so are all data.
  - It also works without any room, and without a running engine or MySQL; then it says what it could not look at.
options:
  remove:
    description: Whether to remove what can be removed. Without it, nothing changes.
    type: bool
    default: false
  directory:
    description: Parent directory of the services' directories.
    type: path
    default: /opt/miniweb
  engine_directory:
    description: The engine's data directory. By default it is taken from the engine's configuration file.
    type: path
  mysql_service:
    description: The Compose service of MySQL, whose logs are in its volume C(data).
    type: str
    default: mysql
  others:
    description: Directories of this server that others fill and whose size is shown, with what empties each.
    type: dict
    default:
      /var/log/journal: journalctl --vacuum-size=200M shortens it
      /var/cache/apt: apt-get clean empties it
extends_documentation_fragment:
  - miniweb.stack.attributes
attributes:
  check_mode:
    details: Says what O(remove) would remove.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Show what takes room
  miniweb.stack.cleanup:
  become: true

- name: Make room
  miniweb.stack.cleanup:
    remove: true
  become: true
"""

RETURN = r"""
found:
  description: What takes room, the largest first.
  returned: always
  type: list
  elements: dict
  contains:
    what:
      description: What it is.
      type: str
      sample: image mysql:8.4.6
    bytes:
      description: Its size. Images share layers, so that removing one may free less.
      type: int
      sample: 612368384
    owner:
      description: Whether this collection made it, V(miniweb), or others did, V(others).
      type: str
      sample: miniweb
    state:
      description:
        - V(kept), V(removable), which is what O(remove) removes, V(removed), or V(failed), in which case RV(found[].reason) is
          the error.
      type: str
      sample: removable
    reason:
      description: Why it is kept, or what it is.
      type: str
      sample: nothing uses it
table:
  description: The same as a table, for people, with RV(faults), what is free, and what to do.
  returned: always
  type: list
  elements: str
faults:
  description: What could not be looked at, and why, one sentence each.
  returned: always
  type: list
  elements: str
free:
  description: Megabytes that are free, by directory, after the removal.
  returned: always
  type: dict
  sample: {"/": 5120, "/var/lib/docker": 812}
"""

import contextlib
import dataclasses
import glob
import json
import os
import re
import time
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import Engine
from ansible_collections.miniweb.stack.plugins.module_utils.compose.files import directories_with, load
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    BASE_DIRECTORY,
    COMPOSE_FILE,
    CONFIGURATION_LABEL,
    PREVIOUS_FILE,
    PROJECT_PREFIX,
    STATE_FILE,
)
from ansible_collections.miniweb.stack.plugins.module_utils.docker_configuration import data_root
from ansible_collections.miniweb.stack.plugins.module_utils.removal import Removable, Remover, aligned, deleted
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import (
    cause,
    free_megabytes,
    locked,
    read_file,
)
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule

OURS = "miniweb"
OTHERS = "others"
MEASURE_SECONDS = "300"
UNITS = {"B": 1, "kB": 1_000, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000, "TB": 1_000_000_000_000}
EXPIRY = "SELECT @@GLOBAL.binlog_expire_logs_seconds"
PURGE = "PURGE BINARY LOGS BEFORE NOW() - INTERVAL @@GLOBAL.binlog_expire_logs_seconds SECOND"
TAG_BEFORE_DIGEST = re.compile(r":[^:/@]+@")
BINARY_LOG = re.compile(r"\.\d{6,}$")
# Smaller ones are not worth a line.
LEAST_BYTES = 100_000


@dataclasses.dataclass
class Item(Removable):
    """Something that takes room."""

    what: str
    size: int
    owner: str
    reason: str
    remover: Remover | None = None
    state: str = "kept"

    def shown(self) -> dict[str, t.Any]:
        """Return it as the module does."""
        return {
            "what": self.what,
            "bytes": self.size,
            "owner": self.owner,
            "state": self.state,
            "reason": self.reason,
        }


def size_of(text: str) -> int:
    """Return the bytes of a size as the ``docker`` program writes it, such as ``1.5GB``; 0 if it is none."""
    match = re.fullmatch(r"([\d.]+)\s*([kKMGT]?B)", text.strip())
    return int(float(match[1]) * UNITS[match[2]]) if match else 0


def closing(items: list[Item], free: dict[str, int]) -> list[str]:
    """Return what follows the table: what is free, and what to do."""
    lines = [f"Free: {', '.join(f'{size:,} MB in {path}' for path, size in free.items())}."]
    size = sum(one.size for one in items if one.state == "removable")
    if size:
        lines.append(f"Up to {size / 1e6:,.1f} MB can be removed: -e cleanup_remove=true does that.")
    return lines


def table(items: list[Item]) -> list[str]:
    """Return the items as lines of a table with a title; those of less than 100 kB are left out."""
    rows = [("MB", "owner", "state", "what", "reason")]
    rows += [
        (f"{one.size / 1e6:,.1f}", one.owner, one.state, one.what, one.reason)
        for one in items
        if one.size >= LEAST_BYTES or one.state == "failed"
    ]
    return aligned(rows, numbers=1)


def emptied(path: str) -> str:
    """Empty a file that a program goes on writing to; return the error."""
    try:
        os.truncate(path, 0)
    except OSError as error:
        return f"{path} cannot be emptied: {error.strerror}"
    return ""


def sizes(paths: t.Iterable[str]) -> int:
    """Return what files take on the disk, those that exist."""
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):
            total += os.lstat(path).st_blocks * 512
    return total


def written_before(path: str, moment: float) -> bool:
    """Return whether a file was last written to before a moment; a file that has just been removed was not."""
    try:
        return os.path.getmtime(path) < moment
    except FileNotFoundError:
        return False


class Cleanup:
    """What takes room on this server."""

    def __init__(self, module: ServerModule) -> None:
        self.module = module
        self.base: str = module.params["directory"]
        self.root: str = module.params["engine_directory"] or data_root()
        self.mysql = Engine(module, module.params["mysql_service"], os.path.join(self.base, "mysql"), "")
        self.engine = Engine(module, "cleanup", self.base, os.path.join(self.base, "images.json"))
        self.faults: list[str] = []
        self.answers = self._engine_answers()

    def items(self) -> list[Item]:
        """Return everything, the largest first."""
        found = [*self._logs(), *self._volumes(), *self._of_others()]
        found += [*self._images(), *self._build_cache()] if self.answers else self._unknown()
        return sorted((one for one in found if one.size or one.remover), key=lambda one: -one.size)

    # -- the engine ---------------------------------------------------------------------------------------------------

    def _engine_answers(self) -> bool:
        if not self.engine.program:
            self.faults.append("Docker is not installed on this server.")
            return False
        code, out, err = self.engine.ask("version", "--format", "{{.Server.Version}}")
        if code or not out.strip():
            self.faults.append(
                f"The Docker engine does not answer ({cause(err) if err.strip() else 'no answer'}), so its images and build "
                "cache are not examined: look at journalctl --unit docker. It starts again by itself once there is room."
            )
            return False
        return True

    def _unknown(self) -> list[Item]:
        directories = [os.path.join(self.root, name) for name in ("overlay2", "containerd", "image", "buildkit")]
        size = sum(self._measured([one for one in directories if os.path.isdir(one)]).values())
        return [Item("images and containers", size, OTHERS, "the engine does not run, so whose they are is unknown")]

    def _images(self) -> list[Item]:
        ids = sorted(set(self.engine.ask("image", "ls", "--quiet", "--no-trunc")[1].split()))
        inspected = json.loads(self.engine.ask("image", "inspect", *ids)[1] or "[]") if ids else []
        recorded = self.engine.recorded_images()
        used, needed = self._images_of_containers(), self._images_needed()
        items = []
        for image in inspected:
            identity = image["Id"]
            names = [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or []), identity[:19]]
            ours = identity in recorded
            owner, reason, remover = OURS if ours else OTHERS, "nothing uses it", None
            if identity in used:
                reason = "a container uses it"
            elif needed.intersection({identity, *names}):
                owner, reason = OURS, "a deployed version or a way back needs it"
            elif ours:
                remover = self._image_remover(identity, recorded[identity]["service"])
            else:
                reason = "this collection has not pulled or built it"
            items.append(Item(f"image {names[0]}", int(image.get("Size") or 0), owner, reason, remover))
        return items

    def _images_of_containers(self) -> set[str]:
        ids = self.engine.ask("ps", "--all", "--quiet", "--no-trunc")[1].split()
        if not ids:
            return set()
        return set(self.engine.ask("inspect", "--type", "container", "--format", "{{.Image}}", *ids)[1].split())

    def _images_needed(self) -> set[str]:
        """Return the images that are not in use but that a run would miss, by name or ID."""
        found = set()
        for name in directories_with(self.base, COMPOSE_FILE):
            definition = load(read_file(os.path.join(self.base, name, COMPOSE_FILE)))
            found.update(one.get("image", "") for one in (definition.get("services") or {}).values())
        for name in directories_with(self.base, PREVIOUS_FILE):
            found.add(str(load(read_file(os.path.join(self.base, name, PREVIOUS_FILE))).get("image", "")))
        # The engine knows an image of a digest without the tag that may stand before it.
        return {TAG_BEFORE_DIGEST.sub("@", name) for name in found} - {""}

    def _image_remover(self, identity: str, service: str) -> Remover:
        lock = os.path.join(self.base, f".{service}.lock")

        def remove() -> str:
            try:
                with locked(lock, wait=False), locked(f"{self.engine.images_file}.lock"):
                    error = self.engine.remove_image(identity)
            except BlockingIOError:
                return f'a run is working on the service "{service}": try again later'
            except OSError as fault:
                return f"{fault.filename} cannot be locked: {fault.strerror}"
            return f"it cannot be removed: {cause(error)}" if error else ""

        return remove

    def _build_cache(self) -> list[Item]:
        lines = self.engine.ask("system", "df", "--format", "{{.Type}}\t{{.Size}}")[1].splitlines()
        size = sum(size_of(line.partition("\t")[2]) for line in lines if line.startswith("Build"))
        if size < LEAST_BYTES:
            return []
        # What was built has no digest of a registry.
        ids = list(self.engine.recorded_images())
        said = self.engine.ask("image", "inspect", "--format", "{{len .RepoDigests}}", *ids)[1].split() if ids else []
        if "0" not in said:
            return [Item("Docker's build cache", size, OTHERS, "this collection has built nothing here")]
        return [Item("Docker's build cache", size, OURS, "the next build is slower without it", self._cache_remover)]

    def _cache_remover(self) -> str:
        code, out, err = self.engine.ask("builder", "prune", "--all", "--force", seconds=MEASURE_SECONDS)
        return cause(err or out) if code else ""

    # -- files --------------------------------------------------------------------------------------------------------

    def _measured(self, paths: list[str]) -> dict[str, int]:
        """Return what directories take on the disk, by path."""
        if not paths:
            return {}
        timeout = self.module.get_bin_path("timeout", required=True)
        words = [timeout, MEASURE_SECONDS, "du", "--summarize", "--block-size=1", "--one-file-system", "--", *paths]
        # It fails if a file disappears meanwhile, but still prints the rest.
        lines = self.module.run_command(words)[1].splitlines()
        return {path: int(size) for size, dummy, path in (line.partition("\t") for line in lines) if size.isdigit()}

    def _logs(self) -> list[Item]:
        """Return the logs of containers; the engine need not run."""
        items = []
        for directory in sorted(glob.glob(f"{glob.escape(self.root)}/containers/*/")):
            settings = load(read_file(os.path.join(directory, "config.v2.json")))
            name = str(settings.get("Name") or os.path.basename(directory.rstrip("/"))[:12]).lstrip("/")
            ours = CONFIGURATION_LABEL in ((settings.get("Config") or {}).get("Labels") or {})
            logs = glob.glob(f"{glob.escape(directory)}*-json.log*")
            rotated = [path for path in logs if not path.endswith("-json.log")]
            current = [path for path in logs if path not in rotated]
            owner = OURS if ours else OTHERS
            if ours and rotated:
                items.append(
                    Item(
                        f"rotated logs of the container {name}",
                        sizes(rotated),
                        owner,
                        "they are only read by docker logs",
                        lambda rotated=rotated: deleted(*rotated),  # type: ignore[misc]
                    )
                )
            kept = current if ours else logs
            items.append(Item(f"log of the container {name}", sizes(kept), owner, "the engine limits its size"))
        return items

    def _volumes(self) -> list[Item]:
        data = f"{self.mysql.project}_data"
        paths = {os.path.basename(path): path for path in glob.glob(f"{glob.escape(self.root)}/volumes/*")}
        measured = self._measured([path for path in paths.values() if os.path.isdir(path)])
        items = self._mysql_logs(os.path.join(paths[data], "_data")) if data in paths else []
        special = sum(one.size for one in items)
        deployed = {PROJECT_PREFIX + name for name in directories_with(self.base, STATE_FILE)}
        for name, path in paths.items():
            if path not in measured:
                continue
            ours, size = name.startswith(PROJECT_PREFIX), measured[path] - (special if name == data else 0)
            reason = "data" if ours else "this collection has not made it"
            if name == f"{PROJECT_PREFIX}prometheus_data":
                reason = "measurements; prometheus_retention_size and prometheus_retention_time limit them"
            elif ours and name.rpartition("_")[0] not in deployed:
                reason = "data of a service that is not deployed; only <role>_remove_data removes them"
            items.append(Item(f"volume {name}", max(size, 0), OURS if ours else OTHERS, reason))
        return items

    def _mysql_logs(self, directory: str) -> list[Item]:
        slow = os.path.join(directory, "slow.log")
        # The one before, which mysql_logs.py has set aside
        older = f"{slow}.1"
        items = []
        # MySQL writes a title into an empty one.
        if sizes([slow, older]) >= LEAST_BYTES:

            def remove() -> str:
                return deleted(older) or (emptied(slow) if os.path.exists(slow) else "")

            size = sizes([slow, older])
            items.append(Item("MySQL's slow query log", size, OURS, "it is only read by people", remove))
        binary = sorted(path for path in glob.glob(f"{glob.escape(directory)}/*") if BINARY_LOG.search(path))
        if not binary:
            return items
        seconds, error = self._asked_mysql(EXPIRY)
        if error:
            self.faults.append(
                f"MySQL does not answer ({error}), so its binary logs stay: it removes those that are too old when it starts."
            )
            return [*items, Item("MySQL's binary logs", sizes(binary), OURS, "MySQL does not answer")]
        expired = self._expired(binary, int(seconds or 0))
        kept = [path for path in binary if path not in expired]
        items.append(
            Item("MySQL's binary logs", sizes(kept), OURS, "mysql_binlog_expire_days and mysql_binlog_mb limit them")
        )
        if expired:
            reason = "they are older than mysql_binlog_expire_days"
            items.append(Item("expired binary logs of MySQL", sizes(expired), OURS, reason, self._purge))
        return items

    def _purge(self) -> str:
        return self._asked_mysql(PURGE)[1]

    @staticmethod
    def _expired(paths: list[str], seconds: int) -> list[str]:
        """Return the binary logs that were last written to before that many seconds; never those that MySQL writes to."""
        before = time.time() - seconds
        return [path for path in paths[:-1] if seconds and written_before(path, before)]

    def _asked_mysql(self, statement: str) -> tuple[str, str]:
        """Return MySQL's answer and the error, one of which is empty."""
        if not self.answers:
            return "", "the Docker engine does not answer"
        labels = (f"com.docker.compose.project={self.mysql.project}", "com.docker.compose.oneoff=False")
        filters = [word for label in labels for word in ("--filter", f"label={label}")]
        ids = self.engine.ask(
            "ps", "--quiet", *filters, "--filter", f"label=com.docker.compose.service={self.mysql.name}"
        )
        if not ids[1].split():
            return "", "it does not run"
        words = ["mysql", "--defaults-file=/run/secrets/root.cnf", "--skip-column-names", "--batch"]
        code, out, err = self.engine.ask("exec", ids[1].split()[0], *words, f"--execute={statement}")
        return (out.strip(), "") if code == 0 else ("", cause(err or out) if (err or out).strip() else "no answer")

    def _of_others(self) -> list[Item]:
        known: dict[str, str] = self.module.params["others"]
        measured = self._measured([path for path in known if os.path.isdir(path)])
        return [Item(path, size, OTHERS, str(known[path])) for path, size in measured.items() if path in known]


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "remove": {"type": "bool", "default": False},
            "directory": {"type": "path", "default": BASE_DIRECTORY},
            "engine_directory": {"type": "path"},
            "mysql_service": {"type": "str", "default": "mysql"},
            "others": {
                "type": "dict",
                "default": {
                    "/var/log/journal": "journalctl --vacuum-size=200M shortens it",
                    "/var/cache/apt": "apt-get clean empties it",
                },
            },
        },
        supports_check_mode=True,
    )
    cleanup = Cleanup(module)
    try:
        items = cleanup.items()
        removable = [one for one in items if one.remover]
        if module.params["remove"] and not module.check_mode:
            for item in removable:
                item.remove()
        free = {path: free_megabytes(path) for path in ("/", cleanup.root)}
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'A file'} cannot be read or written: {error.strerror}.")
    failed = [f"{one.what}: {one.reason}." for one in items if one.state == "failed"]
    faults = [*cleanup.faults, *failed]
    done = "removable" if module.check_mode else "removed"
    module.exit_json(
        changed=module.params["remove"] and any(one.state == done for one in items),
        found=[one.shown() for one in items],
        table=[*table(items), *faults, *closing(items, free)],
        faults=faults,
        free=free,
    )


if __name__ == "__main__":
    main()
