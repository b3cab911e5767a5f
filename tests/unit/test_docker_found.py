"""The Docker engine that a server has already: from which packaging, whether it can be used, and apt's sources for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.miniweb.stack.plugins.module_utils import docker_found as df

ADDRESS = "https://apt.example.com/linux/debian"
OURS = f"Types: deb\nURIs: {ADDRESS}\nSuites: trixie\nComponents: stable\nSigned-By: /etc/apt/keyrings/docker.asc\n"
DEBIAN = ["docker.io", "docker-compose"]
DOCKER = ["docker-ce", "docker-compose-plugin"]
HERE = {"distribution": DEBIAN, "docker": DOCKER}
UNAVAILABLE = "docker_source: there is none."


class Machine:
    """A server with these programs and packages, by name with their version; what an AnsibleModule offers.

    A version may begin with dpkg's status of the package.
    """

    def __init__(self, packages: dict[str, str], programs: dict[str, str], service: bool = True) -> None:
        self.packages, self.programs, self.service = packages, programs, service

    def get_bin_path(self, name: str) -> str | None:
        if name in self.programs or name in ("dpkg-query", "systemctl"):
            return f"/opt/bin/{name}"
        return None

    def run_command(self, words: list[str], **given: Any) -> tuple[int, str, str]:
        name = Path(words[0]).name
        if name == "dpkg-query":
            there = {one: self.packages[one] for one in words if one in self.packages}
            return 1, "".join(f"{one} {'' if ' ' in it else 'installed '}{it}\n" for one, it in there.items()), ""
        if name == "systemctl":
            return (0 if self.service else 1), "", ""
        said = self.programs.get("compose" if "compose" in words else name, "")
        return (0 if said else 1), said, ""


ENGINE = {"dockerd": "Docker version 28.1.1, build 1", "docker": "Docker version 28.1.1", "compose": "2.26.1"}
CE, IO = {"docker-ce": "5:28.1.1-1~debian.13~trixie"}, {"docker.io": "26.1.5+dfsg1-9+b1"}
ALL_CE, ALL_IO = {**CE, "docker-compose-plugin": "2.35"}, {**IO, "docker-compose": "2.26.1-4"}


def find(machine: Machine, source: str = "auto", replace: bool = False, **given: Any) -> df.Found:
    wanted = {
        "source": source,
        "replace": replace,
        "packages": HERE,
        "unavailable": "",
        "repository": {"address": ADDRESS, "suite": "trixie", "file": "/nowhere", "key": "/nowhere"},
        **given,
    }
    return df.Finder(machine, wanted).find()  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(df, "SNAP", str(tmp_path / "snap"))
    monkeypatch.setattr(df, "APT", str(tmp_path))
    monkeypatch.setattr(df.os.path, "isdir", lambda path: True)


@pytest.mark.parametrize(
    ("packages", "programs", "given", "source", "missing"),
    [
        # No engine
        ({}, {}, {}, "", DEBIAN),
        ({}, {}, {"source": "docker"}, "", DOCKER),
        ({}, {"docker": "Docker version 28.1.1"}, {}, "", DEBIAN),
        # Packages of a source: what is missing is added, nothing is replaced.
        (ALL_CE, ENGINE, {}, "docker", []),
        (CE, ENGINE, {}, "docker", ["docker-compose-plugin"]),
        (ALL_CE, ENGINE, {"source": "docker"}, "docker", []),
        (ALL_IO, ENGINE, {}, "distribution", []),
        (IO, ENGINE, {}, "distribution", ["docker-compose"]),
        (IO, ENGINE, {"source": "distribution"}, "distribution", ["docker-compose"]),
        # Replaced only if told
        (ALL_CE, ENGINE, {"source": "distribution", "replace": True}, "", DEBIAN),
        (ALL_IO, ENGINE, {"source": "docker", "replace": True}, "", DOCKER),
        ({"docker.io": "20.10.24"}, ENGINE, {"source": "docker", "replace": True}, "", DOCKER),
        # An installation that was cut short is completed.
        ({"docker.io": "unpacked 26.1.5"}, {"dockerd": ENGINE["dockerd"]}, {}, "distribution", DEBIAN),
        ({"docker.io": "half-installed "}, {}, {}, "distribution", DEBIAN),
        ({"docker.io": "half-configured 26.1.5", "docker-compose": "2.26"}, ENGINE, {}, "distribution", ["docker.io"]),
        ({"docker-ce": "unpacked 5:28.1.1"}, ENGINE, {"source": "docker"}, "docker", DOCKER),
        ({"docker-ce": "unpacked 5:28.1.1"}, ENGINE, {"source": "distribution", "replace": True}, "", DEBIAN),
        ({"docker.io": "config-files 26.1.5"}, {}, {}, "", DEBIAN),
        ({"docker-ce": "unpacked 1"}, ENGINE, {"packages": {"distribution": DEBIAN}}, "other", []),
        # Packages of a source that has none for this release, static programs, other packages
        (CE, ENGINE, {"packages": {"distribution": DEBIAN}}, "other", []),
        (ALL_CE, ENGINE, {"packages": {}, "unavailable": UNAVAILABLE}, "other", []),
        ({}, ENGINE, {}, "other", []),
        ({}, ENGINE, {"packages": {}, "unavailable": UNAVAILABLE}, "other", []),
    ],
)
def test_an_engine_that_works_is_used(
    packages: dict[str, str], programs: dict[str, str], given: dict[str, Any], source: str, missing: list[str]
) -> None:
    found = find(Machine(packages, programs), **given)
    assert (found.source, list(found.missing)) == (source, missing)


@pytest.mark.parametrize(
    ("packages", "programs", "given", "words"),
    [
        ({}, {}, {"packages": {}, "unavailable": UNAVAILABLE}, [UNAVAILABLE]),
        (ALL_CE, ENGINE, {"source": "distribution"}, ["has docker-ce 28.1.1", "docker_source to auto", "docker_replace_engine"]),
        ({"docker-ce": "unpacked 1"}, ENGINE, {"source": "distribution"}, ["of docker-ce was cut short", "docker_source to auto"]),
        (ALL_IO, ENGINE, {"source": "docker"}, ["has docker.io 26.1.5", "docker_source to auto", "docker_replace_engine"]),
        ({"docker.io": "20.10.24"}, ENGINE, {}, ["docker.io 20.10.24", "25 or newer", "docker_replace_engine"]),
        ({"docker-ce": "5:24.0.9-1"}, ENGINE, {}, ["docker-ce 24.0.9", "upgrade it"]),
        ({}, ENGINE, {"source": "docker"}, ["has /opt/bin/dockerd", "docker_source to auto", "remove it"]),
        ({}, {**ENGINE, "dockerd": "Docker version 24.0.9"}, {}, ["/opt/bin/dockerd", "24.0.9", "upgrade or remove it"]),
        ({}, {**ENGINE, "dockerd": ""}, {}, ["without a version", "upgrade or remove it"]),
        ({}, {**ENGINE, "compose": ""}, {}, ["Compose v2", "install them"]),
        ({}, {**ENGINE, "compose": "v1.29.2"}, {}, ["Compose v2", "install them"]),
        ({}, {"dockerd": ENGINE["dockerd"]}, {}, ["without the program docker"]),
        ({"podman-docker": "5.4"}, {"docker": "podman version 5.4"}, {}, ["Podman", "remove the package podman-docker"]),
        ({}, {"docker": "podman version 5.4"}, {}, ["Podman", "remove the package podman-docker"]),
    ],
)  # fmt: skip
def test_an_engine_that_cannot_be_used_is_refused_with_the_way_out(
    packages: dict[str, str], programs: dict[str, str], given: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(df.Refused) as refused:
        find(Machine(packages, programs), **given)
    said = str(refused.value)
    assert said.startswith("docker_source: ")
    assert said.endswith(".")
    for word in words:
        assert word in said


def test_an_engine_that_nothing_starts_is_refused() -> None:
    with pytest.raises(df.Refused, match="no service named docker starts it"):
        find(Machine({}, ENGINE, service=False))


def test_a_snap_is_refused(tmp_path: Path) -> None:
    (tmp_path / "snap").write_text("")
    with pytest.raises(df.Refused, match=r"as a snap, .* \(\"snap remove docker\"\)\.$"):
        find(Machine({}, {"docker": "Docker version 28.1.1"}))


@pytest.mark.parametrize(
    ("version", "number"),
    [("5:28.1.1-1~debian", 28), ("26.1.5+dfsg1", 26), ("v2.26.1", 2), (" 24.0.9, build 1", 24), ("", 0), ("none", 0)],
)
def test_major(version: str, number: int) -> None:
    assert df.major(version) == number


ELSEWHERE = "# a comment\ndeb http://deb.example.com/debian trixie main\n"


@pytest.mark.parametrize(
    ("files", "repository", "obsolete"),
    [
        ({}, "", False),
        ({"debian.list": ELSEWHERE}, "", False),
        ({"docker.sources": OURS}, "", False),
        # Other names, other keys, both formats
        ({"docker.list": f"deb {ADDRESS} trixie stable\n"}, "docker.list", False),
        ({"d.list": f"deb [arch=amd64 signed-by=/x.gpg] {ADDRESS}/ trixie stable\n"}, "d.list", False),
        ({"d.sources": OURS.replace("docker.asc", "other.gpg")}, "d.sources", False),
        ({"docker.sources": OURS.replace("docker.asc", "other.gpg")}, "docker.sources", False),
        ({"d.sources": "Enabled: yes\n" + OURS}, "d.sources", False),
        ({"d.sources": ELSEWHERE.replace("deb ", "#") + "\n\n" + OURS}, "d.sources", False),
        ({"d.sources": OURS.replace("Suites: trixie", "Suites:\n bookworm\n trixie")}, "d.sources", False),
        ({"d.list": "deb https://mirror.example.com/docker-ce/linux/debian trixie stable\n"}, "d.list", False),
        # Ours beside another
        ({"docker.sources": OURS, "d.list": f"deb {ADDRESS} trixie stable\n"}, "d.list", True),
        # Not in use, for another release or distribution, of sources, of something else
        ({"d.list": f"# deb {ADDRESS} trixie stable\n"}, "", False),
        ({"d.sources": "Enabled: no\n" + OURS}, "", False),
        ({"d.sources.save": OURS}, "", False),
        ({"d.list": f"deb {ADDRESS} bookworm stable\n"}, "", False),
        ({"d.list": f"deb {ADDRESS.replace('debian', 'ubuntu')} trixie stable\n"}, "", False),
        ({"d.list": f"deb-src {ADDRESS} trixie stable\n"}, "", False),
        ({"d.list": "deb https://other.example.com/linux/debian trixie stable\n"}, "", False),
    ],
)  # fmt: skip
def test_sources_of_apt_are_reused(tmp_path: Path, files: dict[str, str], repository: str, obsolete: bool) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    for name, text in files.items():
        (parts / name).write_text(text)
    ours = {
        "address": ADDRESS,
        "suite": "trixie",
        "file": str(parts / "docker.sources"),
        "key": "/etc/apt/keyrings/docker.asc",
    }
    found = find(Machine({}, {}), source="docker", repository=ours)
    assert (found.repository, found.obsolete) == (str(parts / repository) if repository else "", obsolete)


def test_the_list_in_one_file_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(f"{ELSEWHERE}deb {ADDRESS} trixie stable\n")
    assert find(Machine({}, {})).repository == str(tmp_path / "sources.list")


@pytest.mark.parametrize(
    ("packages", "source", "obsolete"),
    [
        (ALL_IO, "auto", True),
        ({}, "auto", True),
        ({}, "docker", False),
        (ALL_CE, "auto", False),
        (ALL_CE, "docker", False),
    ],
)
@pytest.mark.parametrize("address", [ADDRESS, "https://mistyped.example.com/linux/debian"])
def test_our_source_is_obsolete_where_its_packages_are_not_used(
    tmp_path: Path, address: str, packages: dict[str, str], source: str, obsolete: bool
) -> None:
    (tmp_path / "sources.list.d").mkdir()
    file, key = tmp_path / "sources.list.d" / "docker.sources", "/etc/apt/keyrings/docker.asc"
    file.write_text(OURS.replace(ADDRESS, address))
    ours = {"address": ADDRESS, "suite": "trixie", "file": str(file), "key": key}
    assert find(Machine(packages, ENGINE if packages else {}), source=source, repository=ours).obsolete == obsolete
