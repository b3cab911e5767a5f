"""uninstall: what is the collection's own goes, data only if told, what others have stays, and an interrupted run is completed."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import engine_in_a_file
import pytest
from ansible_collections.miniweb.stack.plugins.modules import uninstall

# It answers as the engine does, and notes what it is told.
DOCKER = r"""
named = [word for word in words[1:] if not word.startswith("-")]
if state["refuses"] and state["refuses"] in " ".join(words):
    sys.exit("Error response from daemon: " + state["refuses"] + " is busy")
if words[0] == "ps":
    print("\n".join(one["Id"] for one in state["containers"]))
elif words[0] == "inspect":
    print(json.dumps([one for one in state["containers"] if one["Id"] in words]))
elif words[0] == "rm":
    state["containers"] = [one for one in state["containers"] if one["Id"] not in named]
elif kind == "network ls":
    print("\n".join(state["networks"]))
elif kind == "network rm":
    state["networks"].remove(words[2])
elif kind == "image ls":
    print("\n".join(state["images"]))
elif kind == "image inspect":
    print("sha256:" + words[-1] if "sha256:" + words[-1] in state["images"] else "")
elif kind == "image rm":
    state["images"].remove("sha256:" + words[2])
elif kind == "volume ls":
    print("\n".join(f"{name}\t{project}" for name, project in state["volumes"].items()))
elif kind == "volume inspect":
    print(f"/var/lib/docker/volumes/{words[-1]}/_data")
elif kind == "volume rm":
    del state["volumes"][words[2]]
if words[0] in ("stop", "rm") or kind in ("network rm", "image rm", "volume rm"):
    state["done"].append(" ".join(words))
    file.write_text(json.dumps(state))
"""
SYSTEMCTL = """\
#!/bin/sh
echo "$*" >> {path}/systemctl
[ "$1" = reset-failed ] && exit 1
[ -e {path}/refuses ] && echo Failed to connect to bus. >&2 && exit 1
exit 0
"""
RULE = "INPUT -i br-+ -p tcp -m multiport --dports 9100 -m comment --comment miniweb.stack -j ACCEPT"
IPTABLES = """\
#!/bin/sh
case "$2" in
    --list-rules) echo "-P INPUT ACCEPT"; echo "-A INPUT -j theirs"; cat {path}/rule 2> /dev/null ;;
    --check) [ -e {path}/rule ] || exit 1 ;;
    --delete) echo "$*" > {path}/deleted; rm {path}/rule ;;
esac
exit 0
"""
OURS = "# Written by Ansible, role miniweb.stack.docker.\n[Unit]\n"


def container(name: str, project: str = "", ours: bool = True, **more: Any) -> dict[str, Any]:
    labels = {uninstall.PROJECT_LABEL: project} if project else {}
    if ours:
        labels[uninstall.CONFIGURATION_LABEL] = "1"
    return {
        "Id": f"id-{name}",
        "Name": f"/{name}",
        "Image": more.get("image", f"sha256:{name}"),
        "Config": {"Labels": labels},
        "NetworkSettings": {"Networks": {network: {} for network in more.get("networks", [])}},
        "Mounts": [{"Type": "volume", "Name": volume} for volume in more.get("volumes", [])],
    }


class Server:
    """A server with a system of this collection, and with things of others, some of which have similar names."""

    def __init__(self, path: Path, run_module: Any) -> None:
        self.path, self.run_module = path, run_module
        self.base, self.units, self.state_directory = path / "miniweb", path / "units", path / "lib"
        self.textfiles = self.state_directory / "node_exporter" / "textfile"
        for directory in (self.base / "app", self.base / "units", self.units / "docker.service.d", self.textfiles):
            directory.mkdir(parents=True)
        engine_in_a_file.install(path, DOCKER)
        self.program("systemctl", SYSTEMCTL.format(path=path))
        self.program("iptables", IPTABLES.format(path=path))
        (path / "rule").write_text(f"-A {RULE}\n")
        (path / "mounts").write_text("1 1 0:1 / / rw - ext4 /dev/sda rw\n")
        (self.base / "app" / "state.json").write_text("{}")
        (self.base / "docker.json").write_text('{"live-restore": true, "log-driver": "json-file"}')
        for name in ("miniweb-firewall.service", "miniweb-docker-retry.service", "docker.service.d/00-miniweb.conf"):
            (self.units / name).write_text(OURS)
        # A user's own, made with the module systemd_unit, has no such line but a record.
        for name in ("backup.timer", "backup.service"):
            (self.units / name).write_text("[Unit]\n")
        (self.base / "units" / "backup").write_text("hash")
        (self.units / "miniweb-theirs.service").write_text("[Unit]\n")
        (self.state_directory / "private" / "miniweb-alert-responder").mkdir(parents=True)
        (self.textfiles / "containers.prom").write_text("")
        images = {f"sha256:{name}": {"reference": name, "service": "app"} for name in ("app", "gone")}
        (self.base / "images.json").write_text(json.dumps({"images": images}))
        self.state: dict[str, Any] = {
            "answers": True,
            "refuses": "",
            "containers": [
                container("app", "miniweb-app", networks=["miniweb-edge"]),
                container("run", "miniweb-app"),
                container("mysql", "miniweb-mysql", networks=["miniweb-data"], volumes=["miniweb-mysql_data"]),
                container("theirs", "shop", ours=False, networks=["shop"]),
                container("alike", "miniweb-alike", ours=False, networks=["alike"], volumes=["miniweb-alike_data"]),
            ],
            "networks": ["bridge", "shop", "alike", "miniweb-edge", "miniweb-data"],
            "images": ["sha256:app", "sha256:mysql", "sha256:theirs"],
            "volumes": {
                "miniweb-mysql_data": "miniweb-mysql",
                "miniweb-redis_data": "miniweb-redis",
                "miniweb-alike_data": "miniweb-alike",
                "miniweb-loose": "",
                "shop_data": "shop",
            },
            "done": [],
        }

    def program(self, name: str, text: str) -> None:
        path = self.path / "programs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(self, remove: bool = True, data: bool = False, check_mode: bool = False) -> dict[str, Any]:
        (self.path / "state.json").write_text(json.dumps(self.state))
        result = self.run_module(
            "uninstall",
            programs=self.path / "programs",
            check_mode=check_mode,
            remove=remove,
            data=data,
            directory=str(self.base),
            unit_directory=str(self.units),
            state_directory=str(self.state_directory),
            textfile_directory=str(self.textfiles),
        )
        self.state = json.loads((self.path / "state.json").read_text())
        return result

    def theirs_is_untouched(self) -> bool:
        return (
            [one["Name"] for one in self.state["containers"]] == ["/theirs", "/alike"]
            and self.state["networks"] == ["bridge", "shop", "alike"]
            and self.state["images"] == ["sha256:mysql", "sha256:theirs"]
            and {"miniweb-alike_data", "miniweb-loose", "shop_data"} <= self.state["volumes"].keys()
            and sorted(path.name for path in self.units.iterdir()) == ["miniweb-theirs.service"]
        )


@pytest.fixture
def server(tmp_path: Path, run_module: Any, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(uninstall, "SYSTEMD", str(tmp_path))
    monkeypatch.setattr(uninstall, "MOUNTS", str(tmp_path / "mounts"))
    return Server(tmp_path, run_module)


def states(result: dict[str, Any]) -> dict[str, str]:
    return {one["what"]: one["state"] for one in result["found"]}


@pytest.mark.parametrize(("remove", "check_mode"), [(False, False), (True, True)], ids=["unconfirmed", "check mode"])
@pytest.mark.parametrize("data", [False, True])
def test_nothing_changes_without_confirmation(server: Server, remove: bool, check_mode: bool, data: bool) -> None:
    before = sorted(server.path.rglob("*"))
    result = server.run(remove=remove, data=data, check_mode=check_mode)
    assert result["changed"] == check_mode
    assert server.state["done"] == []
    assert {*server.path.rglob("*")} - {*before} == {server.path / "state.json"}
    found = states(result)
    assert found.pop("Docker") == "kept"
    volumes = {found.pop(f"volume miniweb-{name}_data") for name in ("mysql", "redis")}
    assert volumes == {"removable" if data else "kept"}
    assert found.pop(str(server.base / "docker.json"), "kept") == "kept"
    assert set(found.values()) == {"removable"}


def test_everything_but_the_data_goes(server: Server) -> None:
    assert server.run()["changed"]
    assert server.theirs_is_untouched()
    assert {"miniweb-mysql_data", "miniweb-redis_data"} <= server.state["volumes"].keys()
    assert "rm --force id-app id-run" in server.state["done"]
    assert server.state["done"].index("stop id-mysql") < server.state["done"].index("rm --force id-mysql")
    assert (server.path / "deleted").read_text() == f"--wait --delete {RULE}\n"
    assert [path.name for path in server.base.iterdir()] == ["docker.json"]
    assert list(server.state_directory.rglob("*")) == [server.state_directory / "private"]
    told = (server.path / "systemctl").read_text().splitlines()
    assert "stop backup.service backup.timer" in told
    assert told[-1] == "daemon-reload"
    result = server.run()
    assert not result["changed"]
    assert set(states(result).values()) == {"kept"}


def test_the_data_go_if_told(server: Server) -> None:
    assert server.run(data=True)["changed"]
    assert server.theirs_is_untouched()
    assert not {"miniweb-mysql_data", "miniweb-redis_data"} & server.state["volumes"].keys()
    # Those without a name, too
    assert "rm --force --volumes id-mysql" in server.state["done"]
    assert not server.base.exists()
    result = server.run(data=True)
    assert not result["changed"]
    assert states(result) == {"Docker": "kept"}


ACCOUNT = Path("acme", "ca-example-com-directory")


@pytest.fixture
def certified(server: Server) -> Path:
    """The directory of a certificate's renewal, with an account at an authority and what the authority has issued."""
    directory = server.base / "certificate"
    (directory / ACCOUNT / "accounts").mkdir(parents=True)
    for path in ("renew_certificate.py", "settings.json", ACCOUNT / "accounts" / "account.json", ACCOUNT / "cert.pem"):
        (directory / path).write_text("")
    return directory


def test_an_account_at_an_authority_stays_with_its_certificates(server: Server, certified: Path) -> None:
    kept = {ACCOUNT.parent, ACCOUNT, ACCOUNT / "accounts", ACCOUNT / "accounts" / "account.json", ACCOUNT / "cert.pem"}
    what = str(certified / "acme")
    assert states(server.run())[what] == "kept"
    assert {path.relative_to(certified) for path in certified.rglob("*")} == kept
    assert {path.name for path in server.base.iterdir()} == {"docker.json", "certificate"}
    result = server.run()
    assert (result["changed"], states(result)[what]) == (False, "kept")
    # Data, too, are deleted if told.
    assert what not in states(server.run(data=True))
    assert not server.base.exists()


@pytest.mark.parametrize("data", [False, True])
def test_what_visitors_have_uploaded_is_data(server: Server, data: bool) -> None:
    uploads, name = ["miniweb-shop_uploads"], "miniweb-shop_uploads"
    # Its application, a process of it, and nginx have it mounted.
    for service in ("shop", "shop-worker", "nginx"):
        server.state["containers"].append(container(service, f"miniweb-{service}", volumes=uploads))
    server.state["volumes"][name] = "miniweb-shop"
    result = server.run(data=data)
    assert states(result)[f"volume {name}"] == ("removed" if data else "kept")
    assert (name in server.state["volumes"]) is not data
    assert server.theirs_is_untouched()


def test_scheduled_commands_go_before_their_application_with_all_that_they_have(server: Server) -> None:
    name = "miniweb-app_cleanup"
    stamps = server.state_directory / "systemd" / "timers"
    for directory in (server.base / "schedule", stamps):
        directory.mkdir(parents=True)
    for kind in ("service", "timer"):
        (server.units / f"{name}.{kind}").write_text(OURS)
    (server.base / "schedule" / f"{name}.py").write_text("")
    (server.textfiles / f"{name}.prom").write_text("")
    for stamp in (name, "apt-daily"):
        (stamps / f"stamp-{stamp}.timer").write_text("")
    result = server.run()
    assert states(result)[f"unit {name}"] == "removed"
    order = list(states(result))
    assert order.index(f"unit {name}") < order.index("service app")
    assert f"stop {name}.service {name}.timer" in (server.path / "systemctl").read_text().splitlines()
    assert list(server.path.rglob(f"*{name}*")) == []
    assert [path.name for path in stamps.iterdir()] == ["stamp-apt-daily.timer"]
    assert server.theirs_is_untouched()


def test_the_data_go_later(server: Server) -> None:
    server.run()
    assert server.run(data=True)["changed"]
    assert not {"miniweb-mysql_data", "miniweb-redis_data"} & server.state["volumes"].keys()
    assert not server.base.exists()
    assert server.theirs_is_untouched()


USED = [
    ("networks", "miniweb-edge", "network miniweb-edge", ["miniweb-edge"]),
    ("volumes", "miniweb-mysql_data", "volume miniweb-mysql_data", ["miniweb-mysql_data"]),
    ("image", "sha256:app", "image app", "sha256:app"),
]


@pytest.mark.parametrize(("kind", "name", "what", "uses"), USED, ids=[case[0] for case in USED])
def test_what_others_use_stays(server: Server, kind: str, name: str, what: str, uses: Any) -> None:
    server.state["containers"].append(container("user", ours=False, **{kind: uses}))
    result = server.run(data=True)
    (item,) = (one for one in result["found"] if one["what"] == what)
    assert (item["state"], item["reason"]) == ("kept", "others use it: user")
    assert name in server.state[f"{kind}s" if kind == "image" else kind]


STEPS = ["stop id-app", "rm --force", "network rm miniweb-data", "volume rm miniweb-redis_data"]


@pytest.mark.parametrize("step", STEPS)
def test_the_next_run_completes_one_that_failed(server: Server, step: str) -> None:
    server.state["refuses"] = step
    failed = server.run(data=True)
    assert failed["failed"]
    assert f"{step} is busy" in failed["msg"]
    assert (server.base / "images.json").exists()
    server.state["refuses"] = ""
    assert server.run(data=True)["changed"]
    assert server.theirs_is_untouched()
    assert not server.base.exists()


def test_a_unit_that_cannot_be_stopped_is_not_deleted(server: Server) -> None:
    (server.path / "refuses").touch()
    failed = server.run()
    assert failed["msg"] == (
        "unit backup: it cannot be stopped: Failed to connect to bus. What follows it is still there: correct that, "
        "then run this again."
    )
    assert (server.units / "backup.timer").exists()
    (server.path / "refuses").unlink()
    server.run()
    assert server.theirs_is_untouched()


def test_an_image_that_others_built_on_is_named_and_the_rest_goes(server: Server) -> None:
    server.state["refuses"] = "image rm"
    result = server.run()
    assert result["faults"] == ["image app: it cannot be removed: Error response from daemon: image rm is busy."]
    assert [path.name for path in server.base.iterdir()] == ["docker.json"]


def test_a_run_that_works_on_a_service_is_not_disturbed(server: Server) -> None:
    with (server.base / ".app.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert "service app: a run is working on it: try again later" in server.run()["msg"]
    assert "stop id-app id-run" not in server.state["done"]


def test_without_its_directory_the_rest_is_found(server: Server) -> None:
    for path in sorted(server.base.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    server.base.rmdir()
    server.state["images"].remove("sha256:app")
    for name in ("backup.timer", "backup.service"):
        (server.units / name).unlink()
    server.run(data=True)
    assert server.theirs_is_untouched()
    assert not server.base.exists()


@pytest.mark.parametrize("remove", [False, True])
def test_an_engine_that_does_not_answer(server: Server, remove: bool) -> None:
    server.state["answers"] = False
    result = server.run(remove=remove)
    said = result["msg"] if remove else result["faults"][0]
    assert said.startswith("The Docker engine does not answer (Cannot connect to the Docker daemon at unix:")
    assert (server.units / "miniweb-firewall.service").exists()


def test_without_docker_and_systemd_files_go(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        uninstall.ServerModule,
        "get_bin_path",
        lambda self, name, *_, **__: "/usr/bin/timeout" if name == "timeout" else None,
    )
    monkeypatch.setattr(uninstall, "SYSTEMD", str(server.path / "missing"))
    result = server.run(data=True)
    assert result["faults"] == [
        "Docker is not installed on this server: there are no containers, images or volumes to look for."
    ]
    assert not server.base.exists()
    assert sorted(path.name for path in server.units.iterdir()) == ["miniweb-theirs.service"]


@pytest.mark.parametrize("data", [False, True])
def test_what_is_mounted_below_the_directory_is_not_deleted(server: Server, data: bool) -> None:
    disk = f"{server.base}/a\\040disk"
    (server.path / "mounts").write_text(f"1 1 0:1 / {disk} rw - ext4 /dev/sdb rw\n")
    failed = server.run(data=data)
    assert failed["msg"] == (
        f"{server.base}/a disk is below {server.base}, which would be deleted: move or unmount it first. Nothing was removed."
    )
    assert server.state["done"] == []


def test_files_of_others_among_the_metrics_stay(server: Server) -> None:
    (server.textfiles / "theirs.prom").write_text("")
    assert states(server.run())[str(server.textfiles)] == "removed"
    assert [path.name for path in server.textfiles.iterdir()] == ["theirs.prom"]
    assert str(server.textfiles) not in states(server.run())


def test_the_table_says_what_stays_and_where(server: Server) -> None:
    lines = [" ".join(line.split()) for line in server.run(remove=False)["table"]]
    assert lines[0] == "state what reason"
    assert "removable service app containers app, run" in lines
    assert "kept volume miniweb-mysql_data data, in /var/lib/docker/volumes/miniweb-mysql_data/_data" in lines
    assert lines[-1] == "kept Docker others may use it, with live-restore, log-driver in /etc/docker/daemon.json"
