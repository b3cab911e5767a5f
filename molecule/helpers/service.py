"""What the server says of one of its services, and how a service takes another run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from testinfra.host import Host

from helpers.playbooks import Converge, folded
from helpers.waiting import eventually


@dataclass(frozen=True)
class Service:
    """One Compose service of the server, by the name that compose_service knows it by."""

    name: str

    def container(self, host: Host) -> str:
        """Id of its container, running or not; not of one that only runs a command."""
        labels = (f"label=com.docker.compose.project=miniweb-{self.name}", "label=com.docker.compose.oneoff=False")
        return host.check_output("docker ps --all --quiet --filter %s --filter %s", *labels)

    def started(self, host: Host) -> str:
        """What changes when it is recreated or restarted."""
        return host.check_output("docker inspect --format '{{.Id}} {{.State.StartedAt}}' %s", self.container(host))

    def inspected(self, host: Host) -> dict[str, Any]:
        """Everything the engine says of it."""
        return json.loads(host.check_output("docker inspect %s", self.container(host)))[0]

    def becomes_healthy(self, host: Host) -> bool:
        """Whether the engine reports it as healthy, up to a second after the module has seen it so, or has no check."""
        return eventually(lambda: self.inspected(host)["State"].get("Health", {}).get("Status", "healthy") == "healthy")

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

    def refuses_each(self, host: Host, converge: Converge, cases: list[tuple[dict[str, Any], str]]) -> None:
        """Assert that each of these cases is refused in its sentence; cases of different variables share a run."""
        runs: list[tuple[dict[str, Any], list[str]]] = []
        for variables, sentence in cases:
            shared = next((run for run in runs if not run[0].keys() & variables.keys()), None)
            if not shared:
                runs.append(shared := ({}, []))
            shared[0].update(variables)
            shared[1].append(sentence)
        for variables, sentences in runs:
            self.refuses(host, converge, variables, *sentences)

    def gives_way(self, host: Host, converge: Converge, variables: dict[str, Any], reason: str) -> None:
        """Assert that a run with these variables fails for this reason and that the previous version runs again."""
        before = self.inspected(host)
        done = converge(variables)
        assert done.returncode != 0
        said = folded(done.stdout)
        assert f'The service "{self.name}" did not become healthy' in said
        assert reason in said
        assert "The previous version is running again" in said
        assert self.becomes_healthy(host)
        after = self.inspected(host)
        assert after["State"]["Running"]
        assert (after["Image"], after["Config"]["Cmd"]) == (before["Image"], before["Config"]["Cmd"])
