"""The sandbox: one server in a container, for `make up` and for molecule."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from ssl import CERT_NONE, create_default_context

import images
import yaml
from images import HOST_VARS, ROOT, Failure, docker, exists, say, step, told

STATE = ROOT / ".sandbox"
KEY = STATE / "ssh_key"
ENGINE_LOG = STATE / "dockerd.log"
ENGINE_PID = STATE / "dockerd.pid"
ENGINE_RUNS = Path("/run/docker.pid")
SECRETS = ROOT / "secrets" / "sandbox"
SHARED = ROOT / ".config" / "molecule" / "config.yml"
NAME = "miniweb-sandbox"
BARE = "miniweb/server:current"
PREPARED = "miniweb/server-docker"
SCENARIO = "miniweb/scenario"
# These begin with a server as a cloud gives it, the others with one on which the role docker has already run.
BARE_SCENARIOS = ("docker", "docker_without_systemd", "default")
# Their tests look at pages in Debian's Chromium.
SEEN_BY_A_BROWSER = ("default",)
DOUBLES = ROOT / "tests" / "doubles"
TEST_VARS = STATE / "test_vars.yml"
# As the shared definition writes it
TEST_ADDRESS = "${MINIWEB_TEST_ADDRESS:-127.0.80.2}"
ENGINE_SECONDS = 60
SSH_SECONDS = 60
SILENCE_SECONDS = 20
SOURCES = ("auto", "official", "packages")


def inventory() -> dict[str, str]:
    """The variables of the sandbox in inventory/sandbox.yml."""
    return yaml.safe_load((ROOT / "inventory" / "sandbox.yml").read_text())["all"]["hosts"]["sandbox"]


def address() -> str:
    return inventory()["ansible_host"]


# -- what everything needs --------------------------------------------------------------------------------------------


def answers() -> bool:
    """Whether a Docker engine answers."""
    if not shutil.which("docker"):
        return False
    done = subprocess.run(["docker", "version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def ensure_engine() -> None:
    """Find a Docker engine, or install and start one."""
    if answers():
        return
    if os.geteuid():
        raise Failure(
            "No Docker engine answers: start it, or add your user to the group docker (sudo usermod -aG docker "
            f"{os.environ.get('USER', '$USER')}) and log in again."
        )
    images.install({"dockerd": "docker.io iptables"})
    STATE.mkdir(exist_ok=True)
    with step("Docker engine: started"):
        if Path("/run/systemd/system").is_dir():
            images.run(["systemctl", "start", "docker"])
        else:
            # A process that was killed leaves its file behind, and the engine would take it for another one.
            ENGINE_RUNS.unlink(missing_ok=True)
            with ENGINE_LOG.open("ab") as log:
                process = subprocess.Popen(
                    ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            ENGINE_PID.write_text(str(process.pid))
        deadline = time.monotonic() + ENGINE_SECONDS
        while not answers():
            if time.monotonic() > deadline:
                raise Failure(f"The Docker engine does not answer within {ENGINE_SECONDS} s: see {ENGINE_LOG}.")
            time.sleep(0.5)


def ensure_controller() -> None:
    """SSH client and key pair."""
    images.install({"ssh-keygen": "openssh-client"})
    STATE.mkdir(mode=0o700, exist_ok=True)
    if not KEY.exists():
        images.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", NAME, "-f", str(KEY)])


def server_options(name: str, at: str) -> list[str]:
    """`docker run` options of a sandbox server, from the definition that molecule uses."""
    text = SHARED.read_text().replace("${MOLECULE_PROJECT_DIRECTORY}", str(ROOT)).replace(TEST_ADDRESS, at)
    platform = yaml.safe_load(text)["platforms"][0]
    options = ["--name", name, "--hostname", name.removeprefix("miniweb-"), "--memory", platform["memory"]]
    options += ["--cgroupns", platform["cgroupns_mode"], "--network", platform["networks"][0]["name"]]
    for option, key in (
        ("--security-opt", "security_opts"),
        ("--cap-add", "capabilities"),
        ("--tmpfs", "tmpfs"),
        ("--publish", "published_ports"),
    ):
        options += [word for value in platform[key] for word in (option, value)]
    for volume in platform["volumes"]:
        options += ["--volume", volume if ":" in volume else f"{name}:{volume}"]
    return options


def wait_for_ssh(at: str) -> None:
    deadline = time.monotonic() + SSH_SECONDS
    while True:
        command = ["ssh", "-i", str(KEY), "-p", "2222", "-o", "BatchMode=yes", "-o", "ConnectTimeout=3"]
        command += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        done = subprocess.run([*command, f"admin@{at}", "true"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise Failure(f"The server at {at}:2222 does not answer SSH within {SSH_SECONDS} s: {done.stderr.strip()}")
        time.sleep(0.3)


def follow(command: list[str]) -> tuple[int, list[str]]:
    """Run a command, show its output as it comes, and say that it still works when it is silent."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PYTHONUNBUFFERED": "1"}
    environment["ANSIBLE_FORCE_COLOR"] = "1" if sys.stdout.isatty() else "0"
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout
        for line in process.stdout:
            lines.put(line.rstrip("\n"))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    seen: list[str] = []
    start = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=SILENCE_SECONDS)
        except queue.Empty:
            task = next((text for text in reversed(seen) if text.startswith("TASK")), "").rstrip("*")
            say(f"           ... still at work, {time.monotonic() - start:.0f} s: {task}")
            continue
        if line is None:
            return process.wait(), seen
        seen.append(line)
        say(line)


def playbook(*words: str) -> tuple[int, list[str]]:
    return follow([str(Path(sys.executable).with_name("ansible-playbook")), *words])


# -- for molecule -----------------------------------------------------------------------------------------------------


def content_hash(paths: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for root in paths:
        for path in sorted(p for p in (root.rglob("*") if root.is_dir() else [root]) if p.is_file()):
            if "__pycache__" not in path.parts:
                total.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return total.hexdigest()[:12]


def made_of(role: Path) -> set[Path]:
    """What a server depends on that this role has made: its files, the plugins they name, and what those import."""
    plugins = ROOT / "plugins"
    found = {path for path in role.rglob("*") if path.is_file() and path.suffix != ".md"}
    unread = list(found)
    while unread:
        text = unread.pop().read_text()
        # M(...) in a plugin's documentation only speaks of another.
        named = {
            path
            for name in re.findall(r"(?<!M\()\bminiweb\.stack\.(\w+)", text)
            for path in plugins.glob(f"*/{name}.py")
        }
        for words in re.findall(r"^from (\S*\.(?:module|plugin)_utils.*)", text, re.MULTILINE):
            for name in re.findall(r"\w+", words):
                named |= {*plugins.glob(f"*_utils/{name}.py"), *plugins.glob(f"*_utils/{name}/*.py")}
        unread += named - found
        found |= named
    return {*found, HOST_VARS}


def prepare(source: str, scenario: str) -> None:
    """Everything a scenario needs: engine, images, key, and a server on which the role docker has already run."""
    ensure_engine()
    ensure_controller()
    # Several scenarios may begin at once; the first makes it for all.
    with (STATE / "preparation.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        images.ensure(source)
        images.server(source)
        bare = docker("image", "inspect", "--format", "{{.Id}}", BARE)
        tag = f"{PREPARED}:{images.digest(bare.encode(), content_hash(made_of(images.ROLES / 'docker')).encode())}"
        if not exists("image", tag):
            name = "miniweb-preparation"
            remove_container(name)
            with step(f"{tag}: made by the role docker"):
                docker("run", "--detach", *server_options(name, "127.0.80.3"), BARE)
                try:
                    wait_for_ssh("127.0.80.3")
                    variables = json.dumps({"ansible_host": "127.0.80.3", "scenario_role": "miniweb.stack.docker"})
                    words = ("-i", "inventory/sandbox.yml", ".config/molecule/converge.yml")
                    code, dummy = playbook(*words, "-e", variables)
                    if code:
                        raise Failure("The role docker failed on the server, see above.")
                    docker("exec", name, "sh", "-c", "apt-get clean; rm -f /etc/ssh/ssh_host_* /home/admin/.ssh/*")
                    docker("stop", name)
                    docker("commit", name, tag)
                finally:
                    remove_container(name)
        base = BARE if scenario in BARE_SCENARIOS else tag
        recipe = (ROOT / "molecule" / scenario / "Dockerfile").resolve()
        if recipe.exists():
            arguments = ["--network", "host", "--build-arg", f"BASE={base}"]
            docker("build", *arguments, "--tag", f"{SCENARIO}:{scenario}", str(recipe.parent))
        else:
            docker("tag", base, f"{SCENARIO}:{scenario}")
        images.write_if_changed(TEST_VARS, test_variables())
        if scenario in SEEN_BY_A_BROWSER:
            images.install({"chromium": "chromium fonts-dejavu-core"})


def test_variables() -> str:
    """The variables of every scenario: the sandbox's images, and the doubles of those that cannot be had here."""
    variables = images.host_vars()
    for name in images.left_out_of(variables):
        double = DOUBLES / name
        if (double / "Dockerfile").exists():
            base = variables["flask_app_base_image"].removeprefix(f"{images.REGISTRY_PULL}/")
            tag = f"miniweb/{name}-double:{images.recipe_hash(double, base)}"
            if not exists("image", tag):
                with step(f"{tag}: built"):
                    docker("build", "--network", "host", "--build-arg", f"BASE={base}", "--tag", tag, str(double))
            images.push(tag)
            del variables[f"{name}_state"]
            variables[f"{name}_image"] = f"{images.REGISTRY_PULL}/{tag}"
    return "---\n" + yaml.safe_dump(variables)


def remove_container(name: str) -> None:
    if exists("container", name):
        docker("rm", "--force", "--volumes", name)
    if exists("volume", name):
        docker("volume", "rm", name)


# -- for users --------------------------------------------------------------------------------------------------------


def up(source: str) -> None:
    """Start the sandbox server, deploy to it, and say where everything is."""
    start = time.monotonic()
    ensure_engine()
    if exists("container", NAME) and not KEY.exists():
        raise Failure(
            f"The container {NAME} was made by another copy of this project, and only that one has its keys: "
            f"`make down` there, or remove it with all its data by `docker rm -f -v {NAME}`."
        )
    ensure_controller()
    images.ensure(source)
    images.server(source)
    at = address()
    wanted = docker("image", "inspect", "--format", "{{.Id}}", BARE)
    if exists("container", NAME) and docker("inspect", "--format", "{{.Image}}", NAME) != wanted:
        raise Failure(f"The container {NAME} was made from an older server image: `make down` first, then `make up`.")
    with step(f"server: {at}"):
        if exists("container", NAME):
            docker("start", NAME)
        else:
            docker("run", "--detach", *server_options(NAME, at), BARE)
        wait_for_ssh(at)
    code, lines = playbook("-i", "inventory/sandbox.yml", "site.yml")
    if code:
        raise Failure("site.yml failed, see above. The server is kept: repair the cause and run `make up` again.")
    recap = next((line for line in reversed(lines) if line.startswith("sandbox ") and "changed=" in line), "")
    summary(at, unchanged="changed=0 " in recap, seconds=time.monotonic() - start)


def summary(at: str, unchanged: bool, seconds: float) -> None:
    variables = images.host_vars()
    absent = images.left_out_of(variables)
    say("")
    if unchanged:
        say("Nothing changed: everything was already as it should be.")
    say(f"Up after {seconds:.0f} s. The certificate is self-signed, so a browser asks once.")
    say(f"  Application   https://{at}/            user admin, password in admin_password below")
    say(f"  Prometheus    https://{at}:9090/       administrators' addresses only")
    say(f"  Alertmanager  https://{at}:9093/       administrators' addresses only")
    say(f"  Overview      https://{at}:9090/consoles/overview.html")
    if "grafana" not in absent:
        say(f"  Grafana       https://{at}:3000/       user admin, password in grafana_admin_password below")
    say(f"  SSH           ssh -i .sandbox/ssh_key -p 2222 admin@{at}")
    say(f"  Passwords     {SECRETS.relative_to(ROOT)}/   one file each, readable only by you")
    if variables:
        say(
            "  Images        built from Debian packages, because the official ones cannot be pulled here or were not asked"
        )
    if absent:
        say(f"  Left out      {', '.join(absent)}: not packaged by Debian. Where a registry is reached, it is there.")
    say("  Next          make status, make test, make down")


def status() -> None:
    """Say what runs."""
    if not answers():
        raise Failure("No Docker engine answers, so nothing of the sandbox runs: `make up` starts everything.")
    if not exists("container", NAME) or docker("inspect", "--format", "{{.State.Running}}", NAME) != "true":
        raise Failure("The sandbox server does not run: `make up` starts it.")
    at = address()
    say(f"Server {NAME} at {at} runs since {docker('inspect', '--format', '{{.State.StartedAt}}', NAME)[:19]} UTC")
    say(docker("exec", NAME, "docker", "ps", "--format", "table {{.Names}}\t{{.Status}}\t{{.Image}}"))
    context = create_default_context()
    context.check_hostname, context.verify_mode = False, CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    for path in ("/", "/readyz"):
        try:
            with opener.open(f"https://{at}{path}", timeout=10) as answer:
                say(f"https://{at}{path} answers {answer.status}")
        except OSError as error:
            say(f"https://{at}{path} does not answer: {error}")


def down() -> None:
    """Remove everything that `up` and `prepare` made; only the cache of images stays."""
    if STATE.exists():
        # What a stopped engine holds would come back with its next start.
        ensure_engine()
    if answers():
        servers = docker("ps", "--all", "--format", "{{.Names}}", "--filter", "name=^miniweb-test").split()
        for name in (NAME, *servers, "miniweb-preparation"):
            remove_container(name)
        prepared = [tag for name in (SCENARIO, PREPARED, "miniweb/*-double") for tag in images.tags_of(name)]
        if prepared:
            docker("rmi", *prepared)
        images.remove()
    if ENGINE_PID.exists():
        process = int(ENGINE_PID.read_text())
        with step(f"Docker engine: process {process} stopped"):
            if Path(f"/proc/{process}/comm").exists() and Path(f"/proc/{process}/comm").read_text() == "dockerd\n":
                os.kill(process, signal.SIGTERM)
                deadline = time.monotonic() + ENGINE_SECONDS
                # The engine removes its file last.
                while ENGINE_RUNS.exists():
                    if time.monotonic() > deadline:
                        raise Failure(
                            f"The engine, process {process}, does not stop within {ENGINE_SECONDS} s: end it."
                        )
                    time.sleep(0.2)
    for path in (STATE, SECRETS, HOST_VARS.parent):
        if path.exists():
            shutil.rmtree(path)
    if SECRETS.parent.is_dir() and not any(SECRETS.parent.iterdir()):
        SECRETS.parent.rmdir()
    say("Removed: server, registry, images, keys and passwords of the sandbox.")
    say("Kept: Docker itself, .venv, and the image cache outside the project (`make clean-cache`).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("up", "start the sandbox server and deploy to it"),
        ("prepare", "make ready what molecule needs"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--source", choices=SOURCES, default=os.environ.get("MINIWEB_IMAGES", "auto"))
    command.add_argument("--scenario", required=True, help="the molecule scenario that is about to begin")
    commands.add_parser("status", help="say what runs")
    commands.add_parser("down", help="remove every trace of the sandbox")
    arguments = parser.parse_args()
    with told():
        if arguments.command == "up":
            up(arguments.source)
        elif arguments.command == "prepare":
            prepare(arguments.source, arguments.scenario)
        else:
            {"status": status, "down": down}[arguments.command]()


if __name__ == "__main__":
    main()
