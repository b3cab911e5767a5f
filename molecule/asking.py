"""How the tests of all scenarios ask a running system."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from testinfra.host import Host

ROOT = Path(__file__).resolve().parent.parent
# tests/system gives each of its workers a server of its own.
ADDRESS = os.environ.get("MINIWEB_TEST_ADDRESS", "127.0.80.2")
SERVER = os.environ.get("MINIWEB_TEST_SERVER", "miniweb-test")
TEST_VARS = ROOT / ".sandbox" / "test_vars.yml"
PATIENCE_SECONDS = 60

RunPlaybook = Callable[..., "subprocess.CompletedProcess[str]"]
Converge = Callable[..., "subprocess.CompletedProcess[str]"]


def default_of(role: str, variable: str) -> Any:
    """The value a variable has in these tests: the sandbox's own, or else the role's default."""
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text())
    return yaml.safe_load(TEST_VARS.read_text()).get(variable, defaults[variable])


def eventually(condition: Callable[[], bool]) -> bool:
    """True as soon as the condition holds; False when it still does not when patience ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def curl(*words: str) -> str:
    """What a browser that accepts the self-signed certificate gets; empty without an answer."""
    command = ["curl", "--silent", "--insecure", "--max-time", "20", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def status(*words: str) -> str:
    """The HTTP status of what curl got, 000 without an answer."""
    return curl("--output", "/dev/null", "--write-out", "%{http_code}", *words)


def brightness(page: Any, scheme: str) -> int:
    """Of a page's background in a colour scheme, 0 to 765."""
    page.emulate_media(color_scheme=scheme)
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", color)[:3]))


def folded(text: str) -> str:
    """Ansible's output as a reader takes it in: line breaks, indentation and the escapes of quotes gone."""
    return " ".join(text.replace('\\"', '"').split())


@dataclass(frozen=True)
class Receiver:
    """A container on the server that takes messages over HTTP and SMTP, as tests/doubles/receiver.py says."""

    host: Host

    def messages(self, to: str, word: str = "") -> list[dict[str, Any]]:
        """What came to this address with this word in it."""
        program = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/got').read().decode())"
        found = json.loads(self.host.check_output("docker exec receiver python3 -c %s", program))
        return [message for message in found if to in message["to"] and word in message["body"]]


@dataclass(frozen=True)
class Service:
    """One Compose service of the server, by the name that compose_service knows it by."""

    name: str

    def container(self, host: Host) -> str:
        """Id of its container, running or not."""
        label = f"label=com.docker.compose.project=miniweb-{self.name}"
        return host.check_output("docker ps --all --quiet --filter %s", label)

    def started(self, host: Host) -> str:
        """What changes when it is recreated or restarted."""
        return host.check_output("docker inspect --format '{{.Id}} {{.State.StartedAt}}' %s", self.container(host))

    def inspected(self, host: Host) -> dict[str, Any]:
        """Everything the engine says of it."""
        return json.loads(host.check_output("docker inspect %s", self.container(host)))[0]

    def contributions(self, host: Host) -> dict[str, str]:
        """What it leaves for others: contents by <reader>/<file>."""
        command = "cd /opt/miniweb/contributions && for f in */%s.*; do test ! -f $f || echo $f; done"
        names = host.run(command, self.name).stdout.split()
        return {name: host.file(f"/opt/miniweb/contributions/{name}").content_string for name in names}

    def confined(self, host: Host, user: str, published: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Assert that it is this user without any rights and publishes these ports alone; everything the engine says."""
        found = self.inspected(host)
        settings = found["HostConfig"]
        assert found["Config"]["User"] == user
        assert (settings["CapDrop"], settings["CapAdd"] or []) == (["ALL"], [])
        assert settings["ReadonlyRootfs"]
        assert "no-new-privileges:true" in settings["SecurityOpt"]
        assert set(settings["PortBindings"] or {}) == published
        return found

    def refuses(self, host: Host, converge: Converge, variables: dict[str, Any], *sentences: str) -> None:
        """Assert that a run with these variables fails with these sentences and leaves the service as it was."""
        before = self.started(host)
        done = converge(variables)
        assert done.returncode != 0
        said = folded(done.stdout)
        assert [sentence for sentence in sentences if sentence not in said] == []
        assert self.started(host) == before

    def gives_way(self, host: Host, converge: Converge, variables: dict[str, Any], reason: str) -> None:
        """Assert that a run with these variables fails for this reason and that the version before serves again."""
        before = self.inspected(host)
        done = converge(variables)
        assert done.returncode != 0
        said = folded(done.stdout)
        assert f'The service "{self.name}" did not become healthy' in said
        assert reason in said
        assert "The version before serves again" in said
        after = self.inspected(host)
        assert after["State"]["Running"]
        assert after["State"].get("Health", {}).get("Status", "healthy") == "healthy"
        assert (after["Image"], after["Config"]["Cmd"]) == (before["Image"], before["Config"]["Cmd"])
