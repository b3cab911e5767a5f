"""Verify that Prometheus has loaded its files: each rule group and each job of them, and no group whose file is gone.

It runs on the server, in the service's directory. It ends with 0 and prints when Prometheus loaded its files, or says in one
sentence what is missing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any

TIMEOUT_SECONDS = 5
SUCCESSFUL = re.compile(r"^prometheus_config_last_reload_successful 1$", re.MULTILINE)
LOADED_AT = re.compile(r"^prometheus_config_last_reload_success_timestamp_seconds .*$", re.MULTILINE)
# A quoted or a plain text in YAML, in block style or between braces
VALUE = r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s'"#,{}\[\]][^#,{}\[\]\n]*)"""
COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
JOB = re.compile(rf"""["']?\bjob_name["']?\s*:\s*{VALUE}""")
GROUP = re.compile(rf"""(?:^\s*-\s+\{{?|\[\s*\{{|\}}\s*,\s*\{{)\s*["']?name["']?\s*:\s*{VALUE}""", re.MULTILINE)


class Unproven(Exception):
    """Something is not loaded; the message is one sentence."""


def names(pattern: re.Pattern[str], text: str) -> list[str]:
    """Return the names that the pattern finds in YAML, without quotes."""
    return [plain(value.strip()) for value in pattern.findall(COMMENT.sub("", text))]


def plain(value: str) -> str:
    if value.startswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value[1:-1]
    return value[1:-1].replace("''", "'") if value.startswith("'") else value


def docker(*words: str) -> str:
    try:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise Unproven("docker is not there: install it on the server.") from None
    except subprocess.CalledProcessError as error:
        raise Unproven(f"`docker {words[0]}` fails: {error.stderr.strip()}.") from None
    return done.stdout


def address_of(project: str) -> str:
    """Return the address of the project's container, from one of its networks."""
    label = f"label=com.docker.compose.project={project}"
    containers = docker("ps", "--quiet", "--filter", label).split()
    if not containers:
        raise Unproven(f"No container of the project {project} runs: look at `docker ps --all --filter {label}`.")
    format_ = "{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}"
    addresses = docker("inspect", "--format", format_, containers[0]).split()
    if not addresses:
        raise Unproven(f"The container {containers[0]} has no address: attach it to a network (prometheus_networks).")
    return addresses[0]


class Prometheus:
    """Prometheus's HTTP interface."""

    def __init__(self, address: str, port: int) -> None:
        self.url = f"http://{address}:{port}"
        # Whatever proxy the server uses for other addresses
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def text(self, path: str) -> str:
        try:
            with self.opener.open(f"{self.url}{path}", timeout=TIMEOUT_SECONDS) as reply:
                return str(reply.read().decode())
        except (OSError, ValueError) as error:
            raise Unproven(f"Prometheus does not answer {path}: {error}.") from None

    def data(self, path: str) -> Any:
        return json.loads(self.text(f"/api/v1/{path}"))["data"]


def prove(prometheus: Prometheus, rules: dict[str, list[str]], jobs: dict[str, str]) -> str:
    """Compare what Prometheus has loaded with the files; return when it loaded them.

    :param rules: the names of the groups, by the name of their file.
    :param jobs: the name of the file, by job.
    :raises Unproven: they differ.
    """
    measured = prometheus.text("/metrics")
    moment = LOADED_AT.search(measured)
    if not SUCCESSFUL.search(measured) or not moment:
        raise Unproven("Prometheus could not load its files: its log says why.")
    loaded: dict[str, set[str]] = {}
    for group in prometheus.data("rules?exclude_alerts=true")["groups"]:
        loaded.setdefault(PurePosixPath(group["file"]).name, set()).add(group["name"])
    for file, groups in rules.items():
        missing = [name for name in groups if name not in loaded.get(file, ())]
        if missing:
            raise Unproven(f'Prometheus has not loaded the rule group "{missing[0]}" of {file}: its log says why.')
    gone = sorted(set(loaded) - set(rules))
    if gone:
        raise Unproven(f"Prometheus still has the rules of {gone[0]}, which is gone: its log says why.")
    pools = set(prometheus.data("scrape_pools")["scrapePools"])
    lost = [name for name in jobs if name not in pools]
    if lost:
        raise Unproven(f'Prometheus has not loaded the job "{lost[0]}" of {jobs[lost[0]]}: its log says why.')
    return moment[0]


def read(paths: list[Path]) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contributions", type=Path, help="where other services leave jobs and rules, on the server")
    parser.add_argument("--project", default="miniweb-prometheus", help="Compose project of Prometheus")
    parser.add_argument("--port", type=int, default=9090, help="port on which Prometheus listens")
    given = parser.parse_args()
    try:
        rules = read([*Path("config/rules").glob("*.yml"), *given.contributions.glob("*.rules.yml")])
        configured = read([Path("config/prometheus.yml"), *given.contributions.glob("*.jobs.yml")])
        jobs = {job: file for file, text in configured.items() for job in names(JOB, text)}
        prometheus = Prometheus(address_of(given.project), given.port)
        print(prove(prometheus, {file: names(GROUP, text) for file, text in rules.items()}, jobs))
    except (Unproven, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
