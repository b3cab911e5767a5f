# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Run a scheduled command of an application in a container of its own, and leave the result for node_exporter.

A unit of systemd runs it with the file of its settings as argument. What is printed goes to the journal.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

DOCKER = "docker"
COMPOSE = ("compose", "--ansi", "never", "--progress", "quiet", "--file", "-")
RUN = ("--rm", "--no-deps", "--no-TTY")
# The exit code of the program timeout
TIMED_OUT = 124
FAMILIES = {
    "failed": "Whether the last run of a scheduled command failed.",
    "duration_seconds": "How long the last run of a scheduled command took.",
    "last_success_timestamp_seconds": "When a scheduled command last succeeded.",
}


class Scheduled:
    """A scheduled command."""

    def __init__(self, settings: dict[str, t.Any]) -> None:
        self.settings = settings
        self.container = f"{settings['project']}_{settings['name']}"

    def run(self) -> int:
        """Run the command with the application's image and settings of this moment; return its exit code."""
        seconds = self.settings["timeout_seconds"]
        directory = self.settings["directory"]
        try:
            document = json.loads(Path(directory, "compose.yaml").read_text(encoding="utf-8"))
        except OSError as error:
            print(f"The application is not there: {error.filename}: {error.strerror}.")
            return 1
        ((service, definition),) = document["services"].items()
        definition.update(healthcheck={"disable": True}, mem_limit=self.settings["memory_limit"])
        # The reservation of the web process may be larger than this limit.
        definition.pop("mem_reservation", None)
        first, *rest = [*self.settings["launcher"], *self.settings["command"]]
        words = [DOCKER, *COMPOSE, "--project-directory", directory, "run", *RUN]
        words += ["--name", self.container, "--entrypoint", first, service, *rest]
        # What an interruption of the server has left
        self._remove()
        try:
            return subprocess.run(words, input=json.dumps(document), text=True, timeout=seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            print(f"It was ended after {seconds // 60} minutes, its timeout_minutes.")
            return TIMED_OUT
        finally:
            self._remove()

    def _remove(self) -> None:
        """Remove the command's container, if there is one."""
        listed = [DOCKER, "ps", "--all", "--quiet", "--filter", f"name=^/?{re.escape(self.container)}$"]
        found = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
        if found:
            subprocess.run([DOCKER, "rm", "--force", *found], stdout=subprocess.DEVNULL, check=True)

    def report(self, code: int, seconds: float) -> None:
        """Leave the result of a run for node_exporter, if there is one."""
        path = Path(self.settings["metrics_file"])
        if not path.name or not path.parent.is_dir():
            return
        labels = f'{{application="{self.settings["application"]}",name="{self.settings["name"]}"}}'
        succeeded = str(int(time.time())) if not code else self._last_success(path)
        values = {
            "failed": str(int(code != 0)),
            "duration_seconds": f"{seconds:.3f}",
            "last_success_timestamp_seconds": succeeded,
        }
        lines = []
        for name, value in values.items():
            family = f"miniweb_scheduled_command_{name}"
            if value:
                lines += [f"# HELP {family} {FAMILIES[name]}", f"# TYPE {family} gauge", f"{family}{labels} {value}"]
        # node_exporter reads every file that ends with .prom.
        temporary = path.with_suffix(".tmp")
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        temporary.chmod(0o644)
        temporary.replace(path)

    @staticmethod
    def _last_success(path: Path) -> str:
        """Return the time of the last success in a former report; empty without one."""
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        found = re.search(r"^miniweb_scheduled_command_last_success_timestamp_seconds\{.*\} (\d+)$", text, re.MULTILINE)
        return found[1] if found else ""


def main() -> int:
    """Run the command of a file of settings; return 1 if it failed."""
    scheduled = Scheduled(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    # So that its container is removed when systemd stops it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    start = time.monotonic()
    code = 1
    try:
        code = scheduled.run()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Docker cannot be used: {error}.")
    finally:
        scheduled.report(code, time.monotonic() - start)
    if code:
        print(f"`{' '.join(scheduled.settings['command'])}` exited with {code}.")
    return int(code != 0)


if __name__ == "__main__":
    # Line by line, in order with what the command prints
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.exit(main())
