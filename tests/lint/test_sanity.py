"""The oldest ansible-core that meta/runtime.yml admits and the newest one accept the collection as users install it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from sandbox import engine
from sandbox.build import base_of, ensure_image, found
from sandbox.cache import location, opened_cache
from sandbox.images import OFFICIAL_BASE, chosen_source
from sandbox.recipes import digest, service_images

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("run_with_core.py")
DASHBOARDS = Path(__file__).with_name("dashboards_with_core.py")
REQUIREMENTS = ROOT / "requirements.txt"
NEWEST = "2.21.5"
# The tests that depend most on the version of ansible-core; the newest one runs every test.
TESTS_OF_OLDEST = ("action-plugin-docs", "compile", "import", "validate-modules")

Run = Callable[..., subprocess.CompletedProcess[str]]


def oldest() -> str:
    """The version that meta/runtime.yml begins with."""
    [admitted] = SpecifierSet(yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["requires_ansible"])
    assert admitted.operator == ">="
    return admitted.version


def pip_settings() -> dict[str, str]:
    """pip's settings here, because neither a container nor ansible-test's pip sees this environment."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"^(?:global|install|:env:)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE))


def debian_with_python() -> str:
    """The image of Debian 13 with its Python that applications are built on."""
    engine.ensure()
    [image] = [image for image in service_images() if image.recipe.name == "python"]
    bases = [base for base in (OFFICIAL_BASE, "") if found(image, base or base_of(image))]
    if not bases:
        official = chosen_source(os.environ.get("MINIWEB_IMAGES", "auto")) == "official"
        bases = [OFFICIAL_BASE if official else ""]
    with opened_cache() as cache:
        return ensure_image(image, cache, official_base=bases[0])


@contextlib.contextmanager
def kept(name: str, instead: Path) -> Iterator[Path]:
    """Lock a directory that persists between runs; if none can be kept, use one in `instead`."""
    directory = location() / name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError:
        directory = instead / name
        directory.mkdir()
        lock = (directory / "lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory


def in_container(image: str, workdir: Path, shared: list[Path], environment: dict[str, str]) -> list[str]:
    """The command that runs the image's Python on these files, as this user and with this machine's network."""
    command = ["docker", "run", "--rm", "--network", "host", "--user", f"{os.getuid()}:{os.getgid()}"]
    command += [word for path in shared for word in ("--volume", f"{path}:{path}")]
    command += [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    return [*command, "--workdir", str(workdir), image, "python"]


# Tests with the same core share its directory.
@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("oldest", "newest")])
def core(request: pytest.FixtureRequest) -> str:
    """Which ansible-core: the oldest one with this Python, the newest one with Debian 13's."""
    if request.param == "oldest" and sys.version_info >= (3, 13):
        pytest.skip(f"ansible-core {oldest()} knows no Python newer than 3.12.")
    return request.param


@pytest.fixture
def run(core: str, collections: Path, tmp_path: Path) -> Iterator[Run]:
    """Run a program of this ansible-core in the unpacked collection."""
    version, python = (NEWEST, debian_with_python()) if core == "newest" else (oldest(), sys.version)
    collection = collections / "ansible_collections" / "miniweb" / "stack"
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_NOCOLOR": "1"}
    settings = pip_settings()
    with kept(f"ansible-core-{version}-{digest(python.encode(), REQUIREMENTS.read_bytes())}", tmp_path) as directory:
        configuration = directory / "home" / ".config" / "pip" / "pip.conf"
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
        prefix = [sys.executable]
        if core == "newest":
            named = [Path(value) for value in settings.values() if value.startswith("/")]
            shared = [directory, collections, RUNNER, REQUIREMENTS, *(path for path in named if path.exists())]
            prefix = in_container(python, collection, shared, environment)

        def run(*command: str) -> subprocess.CompletedProcess[str]:
            words = [*prefix, str(RUNNER), str(directory), str(REQUIREMENTS), version, *command]
            # ansible-test must not import the modules in tools.
            surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
            return subprocess.run(words, cwd=collection, env=surroundings, capture_output=True, text=True, check=False)

        yield run


def test_sanity(run: Run, core: str) -> None:
    chosen = [word for name in TESTS_OF_OLDEST for word in ("--test", name)] if core == "oldest" else []
    done = run("ansible-test", "sanity", "--python", "PYTHON", "--color", "no", *chosen)
    assert done.returncode == 0, done.stdout + done.stderr


def test_wrong_input_is_named(run: Run) -> None:
    given = {
        "nginx_state": "up",
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    }
    done = run("ansible-playbook", "miniweb.stack.site", "-i", "www,", "-e", json.dumps(given))
    assert done.returncode == 2, done.stdout + done.stderr
    assert 'nginx_state is "up": set it to present or absent.' in done.stdout.replace("\\", ""), (
        done.stdout + done.stderr
    )


def test_dashboards_stay_text(run: Run, collections: Path) -> None:
    done = run("python", "-c", DASHBOARDS.read_text(), "roles", str(collections))
    assert done.returncode == 0, done.stdout + done.stderr
    contents = {(role, extension): content for role, extension, content in json.loads(done.stdout.splitlines()[-1])}
    assert {role for role, dummy in contents} == {
        path.parents[1].name for path in ROOT.glob("roles/*/dashboards/*.py")
    } - {"grafana"}
    assert [name for name, content in contents.items() if not isinstance(content, str)] == []
    assert [name for name, content in contents.items() if "title" not in json.loads(content)] == []
