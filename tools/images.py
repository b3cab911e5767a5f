"""The images of the sandbox: the official ones where a registry answers, else our own from Debian's packages."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "files" / "images"
ROLES = ROOT / "roles"
HOST_VARS = ROOT / "inventory" / "host_vars" / "sandbox" / "images.yml"
PROBE_DEFAULTS = ROLES / "node_exporter" / "defaults" / "main.yml"
OFFICIAL_BASE = "debian:trixie-slim"
NETWORK = "miniweb-sandbox"
REGISTRY_CONTAINER = "miniweb-registry"
REGISTRY_PUSH = "127.0.0.1:5055"
REGISTRY_PULL = "registry:5000"
PROBE_SECONDS = 25
HEARTBEAT_SECONDS = 20
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
BASE_OPTIONS = (
    "--variant=minbase",
    "--format=tar",
    # The mirrors of closed networks are often snapshots, whose lists are past their date.
    '--aptopt=Acquire::Check-Valid-Until "false"',
    '--aptopt=APT::Install-Recommends "false"',
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")),
)


@dataclass(frozen=True)
class Service:
    """One recipe below files/images; `package` gives the image its version, `variable` is the role's."""

    name: str
    suite: str = "trixie"
    package: str = ""
    variable: str = ""


REGISTRY = Service("registry", package="docker-registry")
SERVER = Service("server")


class Failure(Exception):
    """One sentence for the user."""


@contextlib.contextmanager
def told() -> Iterator[None]:
    """A failure ends the program with its sentence, an interruption without one."""
    try:
        yield
    except Failure as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit(130)


# -- pure -------------------------------------------------------------------------------------------------------------


def digest(*parts: bytes) -> str:
    """Twelve hexadecimal digits of all parts; where one part ends matters."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:12]


def base_tag(suite: str, machine: str, options: tuple[str, ...] = BASE_OPTIONS) -> str:
    return f"miniweb/base:{suite}-{digest(suite.encode(), machine.encode(), *(option.encode() for option in options))}"


def recipe_hash(directory: Path, base: str) -> str:
    """Changes with the name or content of any file of the recipe, and with its base."""
    parts = [base.encode()]
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        parts += [path.relative_to(directory).as_posix().encode(), path.read_bytes()]
    return digest(*parts)


def program_version(package_version: str) -> str:
    """The program's own version in a Debian version, e.g. 1.26.3 in 1:1.26.3+ds1-3+deb13u1."""
    match = re.fullmatch(r"(?:\d+:)?([0-9A-Za-z.]+).*", package_version)
    if not match:
        raise Failure(f"The package version {package_version!r} has no program version in it.")
    return match[1]


def find_tag(tags: list[str], wanted: str) -> str | None:
    """The tag that is the recipe's hash, or a version and the recipe's hash."""
    return next((tag for tag in tags if tag.rpartition(":")[2].rpartition("-")[2] == wanted), None)


def default_of(variable: str, defaults: str) -> str:
    match = re.search(rf"^{variable}: *[\"']?([^\s\"'#]+)", defaults, re.MULTILINE)
    if not match:
        raise Failure(f"{variable} has no value in the role's defaults: give it one.")
    return match[1]


def services(roles: Path = ROLES, recipes: Path = RECIPES) -> list[Service]:
    """What the roles' meta/service.yml say can be built from Debian's packages."""
    found = []
    for path in sorted(roles.glob("*/meta/service.yml")):
        for image in yaml.safe_load(path.read_text()).get("images", []):
            surplus = image.keys() - {"variable", "recipe", "package", "suite"}
            if surplus or not {"variable", "recipe", "package"} <= image.keys():
                raise Failure(
                    f"{path}: {image} is no image: give it variable, recipe, package, and suite if not trixie."
                )
            if not (recipes / image["recipe"] / "Dockerfile").is_file():
                raise Failure(f"{path}: the recipe {image['recipe']} has no {recipes / image['recipe']}/Dockerfile.")
            found.append(Service(image["recipe"], image.get("suite", "trixie"), image["package"], image["variable"]))
    return found


def left_out(built: Iterable[Service], roles: Path = ROLES) -> list[str]:
    """The services that have an image and no recipe for it: absent where none can be pulled."""
    variables = {service.variable for service in built}
    found = []
    for path in sorted(roles.glob("*/meta/service.yml")):
        defaults = yaml.safe_load((path.parents[1] / "defaults" / "main.yml").read_text())
        for name in yaml.safe_load(path.read_text())["services"]:
            if f"{name}_image" in defaults and f"{name}_image" not in variables:
                found.append(name)
    return found


def decide(requested: str, probe: Callable[[], str | None]) -> tuple[str, str]:
    """Source and reason; `probe` pulls an official image and returns what was in the way, or None."""
    if requested == "packages":
        return requested, "as asked"
    obstacle = probe()
    if obstacle and requested == "official":
        raise Failure(f"IMAGES=official: {obstacle}; reach a registry, or use IMAGES=packages.")
    return ("packages", obstacle) if obstacle else ("official", "they can be pulled")


def render_host_vars(images: dict[str, str], absent: Iterable[str] = ()) -> str:
    """images.yml: which images the sandbox's roles use, and what is left out; without any of our own, the roles' defaults."""
    lines = ["---", "# Written by tools/images.py; a change here lasts until its next run."]
    lines += [f"{variable}: {REGISTRY_PULL}/{tag}" for variable, tag in sorted(images.items())]
    if images:
        lines += ["docker_insecure_registries:", f"  - {REGISTRY_PULL}"]
    lines += [f"{name}_state: absent" for name in absent]
    return "\n".join(lines) + "\n"


def host_vars() -> dict[str, Any]:
    """What `ensure` wrote."""
    return yaml.safe_load(HOST_VARS.read_text()) or {}


def left_out_of(variables: dict[str, Any]) -> list[str]:
    """The services that images.yml leaves out."""
    return [name.removesuffix("_state") for name, value in variables.items() if value == "absent"]


def write_if_changed(path: Path, content: str) -> bool:
    if path.exists() and path.read_text() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(content)
    partial.replace(path)
    return True


# -- commands ---------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    say(f"{time.monotonic() - start:6.1f} s  {text}")


def run(*pipeline: list[str], stdin: Path | None = None, stdout: Path | None = None) -> str:
    """Run the commands, each feeding the next; return what the last one printed."""
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        out = stack.enter_context(stdout.open("wb")) if stdout else stack.enter_context(tempfile.TemporaryFile())
        source = stack.enter_context(stdin.open("rb")) if stdin else subprocess.DEVNULL
        processes: list[subprocess.Popen[bytes]] = []
        for command in pipeline:
            sink = out if command is pipeline[-1] else subprocess.PIPE
            processes.append(subprocess.Popen(command, stdin=source, stdout=sink, stderr=log))
            if processes[-1].stdout:
                source = stack.enter_context(processes[-1].stdout)
            if len(processes) > 1 and processes[-2].stdout:
                processes[-2].stdout.close()
        start = time.monotonic()
        for process in processes:
            while True:
                try:
                    process.wait(HEARTBEAT_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    say(f"           ... {shlex.join(pipeline[0])[:80]} ({time.monotonic() - start:.0f} s)")
        log.seek(0)
        printed = b""
        if not stdout:
            out.seek(0)
            printed = out.read()
        for command, process in zip(pipeline, processes, strict=True):
            if process.returncode:
                end = (printed + log.read()).decode(errors="replace").splitlines()[-40:]
                raise Failure("\n".join([f"`{shlex.join(command)}` failed ({process.returncode}):", *end]))
        return printed.decode().strip()


def install(packages: dict[str, str]) -> None:
    """Install with apt, as root, the packages of those programs that are missing; say what to do elsewhere."""
    missing = {program: package for program, package in packages.items() if not shutil.which(program)}
    if not missing:
        return
    words = " ".join(missing.values())
    if os.geteuid() or not shutil.which("apt-get"):
        raise Failure(
            f"{' and '.join(missing)} cannot be found: install what is missing (Debian and Ubuntu: apt-get install {words})."
        )
    with step(f"{words}: installed"):
        run(["apt-get", "update"])
        command = ["apt-get", "install", "--yes", "--no-install-recommends", *words.split()]
        run(["env", "DEBIAN_FRONTEND=noninteractive", *command])


def docker(*arguments: str) -> str:
    return run(["docker", *arguments])


def exists(kind: str, name: str) -> bool:
    command = ["docker", kind, "inspect", name]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def tags_of(repository: str) -> list[str]:
    return docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository).splitlines()


def probe_official() -> str | None:
    image = default_of("node_exporter_image", PROBE_DEFAULTS.read_text())
    try:
        done = subprocess.run(
            ["docker", "pull", "--quiet", image], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{image} could not be pulled within {PROBE_SECONDS} s"
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"{image} cannot be pulled: {reason}" if done.returncode else None


# -- cache ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened_cache() -> Iterator[Path]:
    """The cache directory, for this run alone; a temporary one where it cannot be written."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(os.environ.get("MINIWEB_CACHE") or Path(root) / "miniweb")
    with contextlib.ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((directory / "lock").open("w"))
        except OSError as error:
            say(f"No cache: {directory} cannot be written ({error.strerror}); set MINIWEB_CACHE to keep what is built.")
            yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="miniweb-")))
            return
        waited = 0
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waited % HEARTBEAT_SECONDS == 0:
                    say(f"           ... another run holds {directory} ({waited} s)")
                time.sleep(1)
                waited += 1
        yield directory


def compressor() -> tuple[str, str]:
    return ("zstd", ".zst") if shutil.which("zstd") else ("gzip", ".gz")


def store(producer: list[str], target: Path) -> None:
    """Compressed output of `producer` in `target`, which appears only when it is complete."""
    partial = target.with_name(f"{target.name}.part")
    try:
        run(producer, [compressor()[0], "-1", "-c"], stdout=partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def feed(source: Path, consumer: list[str]) -> None:
    run([compressor()[0], "-d", "-c"], consumer, stdin=source)


def restored(source: Path, consumer: list[str]) -> bool:
    """Whether `source` exists and `consumer` took it; a damaged one is thrown away."""
    if not source.exists():
        return False
    try:
        feed(source, consumer)
    except Failure as failure:
        say(f"The cached {source.name} is damaged, building it again: {failure}")
        source.unlink()
        return False
    return True


# -- images -----------------------------------------------------------------------------------------------------------


def ensure_base(suite: str, cache: Path) -> str:
    tag = base_tag(suite, platform.machine())
    if exists("image", tag):
        return tag
    archive = cache / f"{tag.rpartition(':')[2]}.tar{compressor()[1]}"
    importer = ["docker", "import", "-", tag]
    with step(f"base: {tag}"):
        if not restored(archive, importer):
            # Without root it makes the base in a user namespace.
            install(
                {"mmdebstrap": "mmdebstrap debian-archive-keyring"} | ({"newuidmap": "uidmap"} if os.geteuid() else {})
            )
            store(["mmdebstrap", *BASE_OPTIONS, suite, "-"], archive)
            feed(archive, importer)
    return tag


def build(service: Service, base: str, wanted: str) -> str:
    """Build the recipe; the tag is set last, so that it names complete images only."""
    with tempfile.TemporaryDirectory(prefix="miniweb-") as directory:
        identity = Path(directory) / "id"
        options = ["--force-rm", "--network", "host", "--build-arg", f"BASE={base}", "--iidfile", str(identity)]
        docker("build", *options, str(RECIPES / service.name))
        image = identity.read_text().strip()
    tag = f"miniweb/{service.name}:{wanted}"
    if service.package:
        version = docker("run", "--rm", "--entrypoint", "dpkg-query", image, "-W", "-f", "${Version}", service.package)
        tag = f"miniweb/{service.name}:{program_version(version)}-{wanted}"
    docker("tag", image, tag)
    return tag


def ensure_image(service: Service, cache: Path, official_base: bool = False) -> str:
    """The image of the recipe as it is now: on the engine, else from the cache, else built."""
    base = OFFICIAL_BASE if official_base else base_tag(service.suite, platform.machine())
    wanted = recipe_hash(RECIPES / service.name, base)
    start = time.monotonic()
    tag, origin = find_tag(tags_of(f"miniweb/{service.name}"), wanted), "on this engine"
    if not tag:
        archive = cache / f"{service.name}-{wanted}.tar{compressor()[1]}"
        if restored(archive, ["docker", "load"]):
            tag, origin = find_tag(tags_of(f"miniweb/{service.name}"), wanted), "from the cache"
        if not tag:
            if not official_base:
                ensure_base(service.suite, cache)
            start = time.monotonic()
            tag, origin = build(service, base, wanted), "built"
            store(["docker", "save", tag], archive)
    say(f"{time.monotonic() - start:6.1f} s  {service.name}: {tag} {origin}")
    return tag


# -- registry ---------------------------------------------------------------------------------------------------------


def ask_registry(path: str) -> int:
    """HTTP status of the registry's answer, 0 without one; past any proxy, as it is on loopback."""
    request = urllib.request.Request(
        f"http://{REGISTRY_PUSH}/v2/{path}", method="HEAD", headers={"Accept": MANIFEST_TYPE}
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def ensure_network() -> None:
    if not exists("network", NETWORK):
        docker("network", "create", NETWORK)


def ensure_registry(image: str) -> None:
    ensure_network()
    if exists("container", REGISTRY_CONTAINER):
        state = "{{.State.Running}} {{.Config.Image}}"
        found = docker("container", "inspect", "--format", state, REGISTRY_CONTAINER)
        if found != f"true {image}":
            docker("rm", "--force", REGISTRY_CONTAINER)
    if not exists("container", REGISTRY_CONTAINER):
        options = ["--network", NETWORK, "--network-alias", "registry", "--publish", f"{REGISTRY_PUSH}:5000"]
        options += ["--volume", f"{REGISTRY_CONTAINER}:/var/lib/docker-registry"]
        options += ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"]
        docker("run", "--detach", "--name", REGISTRY_CONTAINER, *options, image)
    deadline = time.monotonic() + 30
    while ask_registry("") != 200:
        if time.monotonic() > deadline:
            logs = docker("logs", "--tail", "5", REGISTRY_CONTAINER)
            raise Failure(
                f"The registry on {REGISTRY_PUSH} does not answer: free that address or read its log.\n{logs}"
            )
        time.sleep(0.1)


def push(tag: str) -> None:
    repository, dummy, version = tag.partition(":")
    if ask_registry(f"{repository}/manifests/{version}") == 200:
        return
    with step(f"{tag} pushed"):
        remote = f"{REGISTRY_PUSH}/{tag}"
        docker("tag", tag, remote)
        docker("push", remote)
        docker("rmi", remote)


# -- subcommands ------------------------------------------------------------------------------------------------------


@functools.cache
def chosen_source(requested: str) -> str:
    with contextlib.ExitStack() as stack:
        if requested != "packages":
            stack.enter_context(step("asked for an official image"))
        source, reason = decide(requested, probe_official)
    say(f"images: {source} ({reason})")
    return source


def ensure(requested: str) -> None:
    images: dict[str, str] = {}
    absent: list[str] = []
    if chosen_source(requested) == "packages":
        with opened_cache() as cache:
            registry = ensure_image(REGISTRY, cache)
            with step(f"registry: {REGISTRY_PUSH}, in the sandbox {REGISTRY_PULL}"):
                ensure_registry(registry)
            built = services()
            absent = left_out(built)
            for service in built:
                images[service.variable] = ensure_image(service, cache)
                push(images[service.variable])
    else:
        ensure_network()
    if write_if_changed(HOST_VARS, render_host_vars(images, absent)):
        say(f"wrote {HOST_VARS.relative_to(ROOT)}")


def server(requested: str) -> None:
    """An image on the engine serves whatever its base; only a missing one asks for the source."""
    bases = {True: OFFICIAL_BASE, False: base_tag(SERVER.suite, platform.machine())}
    present = tags_of("miniweb/server")
    matching = [
        official for official, base in bases.items() if find_tag(present, recipe_hash(RECIPES / SERVER.name, base))
    ]
    official = matching[0] if requested == "auto" and matching else chosen_source(requested) == "official"
    with opened_cache() as cache:
        docker("tag", ensure_image(SERVER, cache, official_base=official), "miniweb/server:current")


def remove() -> None:
    with step("registry, network and images removed"):
        if exists("container", REGISTRY_CONTAINER):
            docker("rm", "--force", REGISTRY_CONTAINER)
        if exists("volume", REGISTRY_CONTAINER):
            docker("volume", "rm", REGISTRY_CONTAINER)
        if exists("network", NETWORK):
            docker("network", "rm", NETWORK)
        names = [service.name for service in (*services(), REGISTRY, SERVER)] + ["base"]
        tags = [
            tag for name in names for tag in tags_of(f"miniweb/{name}") + tags_of(f"{REGISTRY_PUSH}/miniweb/{name}")
        ]
        if tags:
            docker("rmi", *tags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("ensure", "make the services' images available to the sandbox and write its images.yml"),
        ("server", "make the sandbox server's image available as miniweb/server:current"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--source", choices=("auto", "official", "packages"), default="auto")
    commands.add_parser("remove", help="remove registry, network and images; the cache stays")
    arguments = parser.parse_args()
    with told():
        if not shutil.which("docker"):
            raise Failure("docker is not installed: install Docker's engine and client.")
        docker("version")
        if arguments.command == "remove":
            remove()
        else:
            {"ensure": ensure, "server": server}[arguments.command](arguments.source)


if __name__ == "__main__":
    main()
