"""cleanup: what takes room, whose it is, what is removed, and what cannot be looked at."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

import engine_in_a_file
import pytest
from ansible_collections.miniweb.stack.plugins.modules import cleanup

# It answers as the engine does, and notes what is removed.
DOCKER = r"""
if words[0] == "version":
    print("26.1.5")
elif kind == "image ls":
    print("\n".join(image["Id"] for image in state["images"]))
elif kind == "image inspect":
    found = [image for image in state["images"] if {image["Id"], *image["RepoTags"]} & set(words)]
    if "{{len .RepoDigests}}" in words:
        print("\n".join(str(len(image["RepoDigests"])) for image in found))
    elif "{{.Id}}" in words:
        print("\n".join(image["Id"] for image in found))
    else:
        print(json.dumps(found))
    sys.exit(0 if found else "Error: No such image")
elif kind == "image rm":
    if words[2] == state["refuses"]:
        sys.exit("Error response from daemon: conflict: unable to delete it")
    state["images"] = [one for one in state["images"] if words[2] not in (one["Id"], *one["RepoTags"])]
    state["removed"].append(words[2])
    file.write_text(json.dumps(state))
elif words[0] == "ps":
    label = next((word for word in words if "project=miniweb-mysql" in word), "")
    print("mysql" if label and state["mysql"] else "" if label else "container")
elif words[0] == "inspect":
    print("\n".join(state["used"]))
elif kind == "system df":
    print(f"Images\t1GB\nBuild Cache\t{state['cache']}")
elif kind == "builder prune":
    state["removed"].append("cache")
    state["cache"] = "0B"
    file.write_text(json.dumps(state))
elif words[0] == "exec":
    if state["mysql"] != "answers":
        sys.exit("ERROR 2002 (HY000): Can't connect to local MySQL server")
    if "PURGE" in words[-1]:
        for path in state["expired"]:
            Path(path).unlink()
        state["removed"].append("binary logs")
        file.write_text(json.dumps(state))
    else:
        print(3 * 86400)
"""
DAY = 86400
OURS, THEIRS = "ours/app:1", "theirs/tool:9"


def image(name: str, digests: tuple[str, ...] = ("digest",)) -> dict[str, Any]:
    return {"Id": f"sha256:{name}", "RepoTags": [name], "RepoDigests": list(digests), "Size": 500_000_000}


class Server:
    """A server with images, containers, volumes and logs of this collection and of others."""

    def __init__(self, path: Path, run_module: Any) -> None:
        self.path, self.run_module = path, run_module
        self.base, self.root = path / "miniweb", path / "docker"
        for directory in (self.base / "app", self.base / "mysql", path / "journal"):
            directory.mkdir(parents=True)
        engine_in_a_file.install(path, DOCKER)
        self.data = self.root / "volumes" / "miniweb-mysql_data" / "_data"
        for volume in (self.data, self.root / "volumes" / "theirs" / "_data"):
            self.fill(volume / "rows", 0)
        for name, days in (("binlog.000001", 9), ("binlog.000002", 5), ("binlog.000003", 1), ("binlog.000004", 8)):
            self.fill(self.data / name, days)
        self.fill(self.data / "slow.log", 0)
        self.container("ours", {cleanup.CONFIGURATION_LABEL: "1"})
        self.container("theirs", {})
        self.fill(path / "journal" / "system.journal", 0)
        (self.base / "app" / "state.json").write_text("{}")
        self.record(OURS)
        self.state = {
            "answers": True,
            "images": [image(OURS), image(THEIRS)],
            "used": [],
            "cache": "0B",
            "mysql": "answers",
            "expired": [str(self.data / "binlog.000001"), str(self.data / "binlog.000002")],
            "refuses": "",
            "removed": [],
        }

    @staticmethod
    def fill(path: Path, days: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(200_000))
        os.utime(path, (time.time() - days * DAY,) * 2)

    def container(self, name: str, labels: dict[str, str]) -> None:
        directory = self.root / "containers" / f"id-{name}"
        for file in (f"id-{name}-json.log", f"id-{name}-json.log.1"):
            self.fill(directory / file, 0)
        settings = {"Name": f"/{name}", "Config": {"Labels": labels}}
        (directory / "config.v2.json").write_text(json.dumps(settings))

    def record(self, *names: str) -> None:
        images = {f"sha256:{name}": {"reference": name, "service": "app"} for name in names}
        (self.base / "images.json").write_text(json.dumps({"images": images}))

    def run(self, remove: bool = False, check_mode: bool = False) -> dict[str, Any]:
        (self.path / "state.json").write_text(json.dumps(self.state))
        result = self.run_module(
            "cleanup",
            programs=self.path / "programs",
            check_mode=check_mode,
            remove=remove,
            directory=str(self.base),
            engine_directory=str(self.root),
            others={str(self.path / "journal"): "journalctl --vacuum-size=200M shortens it"},
        )
        self.state = json.loads((self.path / "state.json").read_text())
        return result

    def states(self, **options: Any) -> dict[str, tuple[str, str]]:
        """The owner and the state of everything that is found."""
        return {one["what"]: (one["owner"], one["state"]) for one in self.run(**options)["found"]}


@pytest.fixture
def server(tmp_path: Path, run_module: Any) -> Server:
    return Server(tmp_path, run_module)


def test_all_is_shown_and_nothing_is_removed_unasked(server: Server) -> None:
    assert server.states() == {
        f"image {OURS}": ("miniweb", "removable"),
        f"image {THEIRS}": ("others", "kept"),
        "rotated logs of the container ours": ("miniweb", "removable"),
        "log of the container ours": ("miniweb", "kept"),
        "log of the container theirs": ("others", "kept"),
        "MySQL's slow query log": ("miniweb", "removable"),
        "MySQL's binary logs": ("miniweb", "kept"),
        "expired binary logs of MySQL": ("miniweb", "removable"),
        "volume miniweb-mysql_data": ("miniweb", "kept"),
        "volume theirs": ("others", "kept"),
        str(server.path / "journal"): ("others", "kept"),
    }
    assert server.states(remove=True, check_mode=True) == server.states()
    assert server.state["removed"] == []
    assert (server.data / "slow.log").stat().st_size
    assert len(list(server.root.glob("containers/*/*.1"))) == 2


def test_what_is_ours_and_not_needed_is_removed(server: Server) -> None:
    result = server.run(remove=True)
    assert (result["changed"], result["faults"]) == (True, [])
    assert {one["what"] for one in result["found"] if one["state"] == "removed"} == {
        f"image {OURS}",
        "rotated logs of the container ours",
        "MySQL's slow query log",
        "expired binary logs of MySQL",
    }
    assert sorted(server.state["removed"]) == ["binary logs", OURS]
    assert [one["Id"] for one in server.state["images"]] == [f"sha256:{THEIRS}"]
    assert json.loads((server.base / "images.json").read_text())["images"] == {}
    assert (server.data / "slow.log").stat().st_size == 0
    assert sorted(path.name for path in server.root.glob("containers/*/*.1")) == ["id-theirs-json.log.1"]
    assert sorted(path.name for path in server.data.glob("binlog.*")) == ["binlog.000003", "binlog.000004"]
    assert not server.run(remove=True)["changed"]


@pytest.mark.parametrize("name", [OURS, THEIRS])
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("needed_by", ["nothing", "container", "compose.yaml", "previous.json", "run"])
def test_images(server: Server, name: str, recorded: bool, needed_by: str) -> None:
    """One that is in use or needed stays, whose ever it is; one that nobody needs goes only if it is recorded."""
    server.record(*([name] if recorded else []))
    server.state["images"] = [image(name)]
    server.state["used"] = [f"sha256:{name}"] if needed_by == "container" else []
    if needed_by == "compose.yaml":
        definition = {"services": {"app": {"image": name}}}
        (server.base / "app" / "compose.yaml").write_text(json.dumps(definition))
    if needed_by == "previous.json":
        (server.base / "app" / "previous.json").write_text(json.dumps({"image": f"sha256:{name}"}))
    lock = server.base / ".app.lock"
    with lock.open("w") as stream:
        if needed_by == "run":
            fcntl.flock(stream, fcntl.LOCK_EX)
        result = server.run(remove=True)
    (found,) = (one for one in result["found"] if one["what"] == f"image {name}")
    gone = recorded and needed_by == "nothing"
    assert (found["state"] == "removed") == gone
    assert bool(server.state["images"]) != gone
    if recorded and needed_by == "run":
        assert found["state"] == "failed"
        assert 'a run is working on the service "app"' in result["faults"][0]


@pytest.mark.parametrize("tag", ["", ":1.2", ":latest"])
def test_an_image_that_is_needed_by_its_digest_stays(server: Server, tag: str) -> None:
    server.record("digest")
    digest = "registry.example.com:5000/app@sha256:0f1c"
    server.state["images"] = [{**image("digest", (digest,)), "RepoTags": []}]
    definition = {"services": {"app": {"image": digest.replace("@", f"{tag}@")}}}
    (server.base / "app" / "compose.yaml").write_text(json.dumps(definition))
    server.run(remove=True)
    assert server.state["images"]


@pytest.mark.parametrize(
    ("digests", "owner", "removed"), [((), "miniweb", True), (("digest",), "others", False)], ids=["built", "pulled"]
)
def test_the_build_cache_is_ours_if_we_have_built(
    server: Server, digests: tuple[str, ...], owner: str, removed: bool
) -> None:
    server.state["cache"] = "1.5GB"
    server.state["images"] = [image(OURS, digests)]
    server.state["used"] = [f"sha256:{OURS}"]
    (found,) = (one for one in server.run(remove=True)["found"] if "build cache" in one["what"])
    assert (found["bytes"], found["owner"]) == (1_500_000_000, owner)
    assert ("cache" in server.state["removed"]) == removed


def test_an_image_that_cannot_be_removed_is_named_and_the_rest_goes(server: Server) -> None:
    server.state["refuses"] = OURS
    result = server.run(remove=True)
    assert result["faults"] == [
        f"image {OURS}: it cannot be removed: Error response from daemon: conflict: unable to delete it."
    ]
    assert OURS in json.loads((server.base / "images.json").read_text())["images"][f"sha256:{OURS}"]["reference"]
    assert server.state["removed"] == ["binary logs"]


@pytest.mark.parametrize("installed", [True, False])
def test_without_an_engine_its_files_are_measured(
    server: Server, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    server.state["answers"] = False
    server.fill(server.root / "overlay2" / "layer", 0)
    found = cleanup.ServerModule.get_bin_path
    if not installed:
        monkeypatch.setattr(
            cleanup.ServerModule,
            "get_bin_path",
            lambda self, name, *_, **__: found(self, name) if name != "docker" else None,
        )
    result = server.run(remove=True)
    states = {one["what"]: one["state"] for one in result["found"]}
    assert states["images and containers"] == "kept"
    assert states["rotated logs of the container ours"] == states["MySQL's slow query log"] == "removed"
    assert states["MySQL's binary logs"] == "kept"
    assert len(list(server.data.glob("binlog.*"))) == 4
    said = (
        "The Docker engine does not answer (Cannot connect to the Docker daemon"
        if installed
        else "Docker is not installed"
    )
    assert result["faults"][0].startswith(said)


@pytest.mark.parametrize("mysql", ["", "hangs"], ids=["stopped", "silent"])
def test_without_mysql_its_binary_logs_stay(server: Server, mysql: str) -> None:
    server.state["mysql"] = mysql
    result = server.run(remove=True)
    assert "so its binary logs stay" in result["faults"][0]
    assert len(list(server.data.glob("binlog.*"))) == 4
    assert server.state["removed"] == [OURS]


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("512B", 512), ("1.5kB", 1500), ("20MB", 20_000_000), ("1.25GB", 1_250_000_000), ("", 0), ("?", 0)],
)
def test_size_of(text: str, size: int) -> None:
    assert cleanup.size_of(text) == size


def test_table_is_sorted_by_size_and_says_what_to_do(server: Server) -> None:
    lines = server.run()["table"]
    assert lines[0].split() == ["MB", "owner", "state", "what", "reason"]
    assert lines[1].split()[:3] == ["500.0", "miniweb", "removable"]
    assert lines[-1].startswith("Up to 500.")
    assert lines[-2].startswith("Free: ")
    assert "cleanup_remove" not in "".join(server.run(remove=True)["table"])
