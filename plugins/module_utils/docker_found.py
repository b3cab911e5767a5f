# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""The Docker engine that a server has already, from whatever packaging, and the apt sources that offer one."""

from __future__ import annotations

import glob
import os
import re
import typing as t
import urllib.parse

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import read_file
from ansible_collections.miniweb.stack.plugins.module_utils.settled import package_states

# The package of the engine itself in each source that the role docker installs from
ENGINES = {"distribution": "docker.io", "docker": "docker-ce"}
OLDEST = 25
# Podman's stand-in for the program docker
STAND_IN = "podman-docker"
# dpkg's states of a package whose installation was cut short
BEGUN = ("half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending")
SNAP = "/snap/bin/docker"
APT = "/etc/apt"


class Refused(Exception):
    """The engine of this server cannot be used; the message says why and what to do, in one sentence."""


class Found(t.NamedTuple):
    """The engine of a server.

    *source* is that of its packages, ``other`` for one that none of them brought, or empty without an engine; *missing*
    are the packages that have to be installed; *repository* is the file of the apt source for Docker's packages that others
    added; *obsolete* is whether ours is there without being used.
    """

    source: str = ""
    missing: tuple[str, ...] = ()
    repository: str = ""
    obsolete: bool = False


class Source(t.NamedTuple):
    """An enabled apt source of binary packages."""

    path: str
    uri: str
    suite: str


# -- apt's sources ----------------------------------------------------------------------------------------------------


def one_line_sources(path: str, text: str) -> t.Iterator[Source]:
    """Yield the sources in a file of the format with one line each."""
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)", line)
        if found:
            yield Source(path, found[1], found[2])


def deb822_sources(path: str, text: str) -> t.Iterator[Source]:
    """Yield the sources in a file of paragraphs with fields."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for paragraph in re.split(r"\n\s*\n", lines):
        pairs = re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", paragraph, re.MULTILINE)
        fields = {name.lower(): value.split() for name, value in pairs}
        if "deb" not in fields.get("types", []) or fields.get("enabled", ["yes"])[0].lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", []):
            for suite in fields.get("suites", []):
                yield Source(path, uri, suite)


def apt_sources() -> list[Source]:
    """Return all enabled sources of binary packages."""
    found: list[Source] = []
    parts = os.path.join(APT, "sources.list.d")
    for path in [os.path.join(APT, "sources.list"), *sorted(glob.glob(f"{parts}/*.list"))]:
        found += one_line_sources(path, _text(path))
    for path in sorted(glob.glob(f"{parts}/*.sources")):
        found += deb822_sources(path, _text(path))
    return found


def _text(path: str) -> str:
    file = read_file(path)
    return file.content.decode("utf-8", "replace") if file else ""


def offers_docker(source: Source, address: str, suite: str) -> bool:
    """Return whether a source is Docker's repository, or a mirror with its layout, for this release.

    :param address: the repository's URL for this distribution, which ends in the distribution's name.
    """
    own, wanted = (urllib.parse.urlsplit(url.rstrip("/").lower()) for url in (source.uri, address))
    distribution = wanted.path.rpartition("/")[2]
    same = own[1:3] == wanted[1:3] or (
        "docker" in own.netloc + own.path and own.path.endswith(f"/linux/{distribution}")
    )
    return same and source.suite.rstrip("/") == suite


# -- the engine -------------------------------------------------------------------------------------------------------


def major(version: str) -> int:
    """Return the first number of a version, without a Debian package's epoch; 0 if there is none."""
    found = re.search(r"(?:^|\s)(?:\d+:)?v?(\d+)\.", version)
    return int(found[1]) if found else 0


class Finder:
    """Looks for the engine of a server; *wanted* are the options of the role docker."""

    def __init__(self, module: AnsibleModule, wanted: dict[str, t.Any]) -> None:
        self.module = module
        self.packages: dict[str, list[str]] = wanted["packages"]
        self.source: str = wanted["source"]
        self.replace: bool = wanted["replace"]
        self.unavailable: str = wanted["unavailable"]
        self.repository: dict[str, str] = wanted["repository"]

    def find(self) -> Found:
        """Return the engine that this server has, and what is missing.

        :raises Refused: it cannot be used.
        """
        names = {name for packages in self.packages.values() for name in packages}
        states = package_states(self.module, sorted({*names, *ENGINES.values(), STAND_IN}))
        versions = {name: version for name, (status, version) in states.items() if status == "installed"}
        begun = [source for source in self.packages if states.get(ENGINES[source], ("",))[0] in BEGUN]
        chosen = self._begun(begun[0]) if begun else self._chosen(versions)
        if not chosen and self.unavailable:
            raise Refused(self.unavailable)
        source = chosen or ("distribution" if self.source == "auto" else self.source)
        missing = tuple(name for name in self.packages.get(source, []) if name not in versions)
        repository = self._repository()
        obsolete = self._is_ours(self.repository["file"]) and (bool(repository) or source != "docker")
        return Found(chosen, missing, repository, obsolete)

    def _begun(self, source: str) -> str:
        """Return the source of an engine whose installation was cut short, to be completed; empty to replace it.

        :raises Refused: another source is wanted.
        """
        if self.source in ("auto", source):
            return source
        if self.replace:
            return ""
        raise Refused(
            f"docker_source: {self.source}, but on this server an installation of {ENGINES[source]} was cut short; set docker_source "
            "to auto to complete it, or docker_replace_engine to true to replace it."
        )

    def _chosen(self, versions: dict[str, str]) -> str:
        """Return the source of the engine to use; empty if one is to be installed."""
        there = [(source, name) for source, name in ENGINES.items() if name in versions]
        if not there:
            return self._other(versions)
        source, name = there[0]
        what = f"{name} {versions[name].partition(':')[2] or versions[name]}"
        if self.source not in ("auto", source):
            if self.replace:
                return ""
            raise Refused(
                f"docker_source: {self.source}, but this server has {what}; set docker_source to auto to use it, or "
                "docker_replace_engine to true to replace it, which may stop its containers."
            )
        if major(versions[name]) < OLDEST:
            raise Refused(
                f"docker_source: this server has {what}, and Docker Engine {OLDEST} or newer is needed; upgrade it, or set "
                f"docker_replace_engine to true and docker_source to another one than {source}."
            )
        return source if source in self.packages else self._usable(what)

    def _other(self, versions: dict[str, str]) -> str:
        """Return whether there is an engine that none of our packages brought."""
        program = self.module.get_bin_path("docker") or ""
        if os.path.exists(SNAP) or os.path.realpath(program) == "/usr/bin/snap":
            raise Refused(
                "docker_source: this server has Docker as a snap, whose program cannot read /opt/miniweb; save its data and "
                'remove it ("snap remove docker").'
            )
        if STAND_IN in versions or (program and "podman" in self._said(program, "--version").lower()):
            raise Refused(
                f"docker_source: {program or 'docker'} of this server is Podman's stand-in, not Docker; remove the package "
                f"{STAND_IN} (Podman itself may stay)."
            )
        engine = self.module.get_bin_path("dockerd") or ""
        if not engine:
            # The client alone, for an engine elsewhere
            return ""
        what = f"{engine}, of neither {' nor '.join(ENGINES.values())}"
        if self.source != "auto":
            raise Refused(
                f"docker_source: {self.source}, but this server has {what}; set docker_source to auto to use it, or remove it."
            )
        return self._usable(what)

    def _usable(self, what: str) -> str:
        """Return ``other`` for an engine that works although none of our packages brought it.

        :raises Refused: it does not; the message says what is missing.
        """
        engine, program = (self.module.get_bin_path(name) or "" for name in ("dockerd", "docker"))
        said = self._said(engine, "--version") if engine else ""
        if major(said.partition("version")[2]) < OLDEST:
            raise Refused(
                f"docker_source: this server has {what} ({said or 'without a version'}), and Docker Engine {OLDEST} or newer is "
                "needed; upgrade or remove it."
            )
        if not program or major(self._said(program, "compose", "version", "--short")) < 2:
            raise Refused(
                f"docker_source: this server has {what}, without the program docker and its plugin Compose v2; install them, "
                "or remove the engine."
            )
        if not self._is_service():
            raise Refused(
                f"docker_source: this server has {what}, and no service named docker starts it; make one, or remove the engine."
            )
        return "other"

    def _said(self, *words: str) -> str:
        code, out, dummy = self.module.run_command(list(words))
        return out.strip() if code == 0 else ""

    def _is_service(self) -> bool:
        program = self.module.get_bin_path("systemctl")
        if program and os.path.isdir("/run/systemd/system"):
            return self.module.run_command([program, "cat", "docker.service"])[0] == 0
        return os.path.exists("/etc/init.d/docker")

    def _repository(self) -> str:
        """Return the file of a source for Docker's packages that is not ours; empty without one."""
        address, suite = self.repository["address"], self.repository["suite"]
        paths = [source.path for source in apt_sources() if offers_docker(source, address, suite)]
        return next((path for path in paths if not self._is_ours(path)), "")

    def _is_ours(self, path: str) -> bool:
        return path == self.repository["file"] and f"Signed-By: {self.repository['key']}\n" in _text(path)
