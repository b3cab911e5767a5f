"""Verify that Prometheus has loaded its files: each rule group and each job of them, and no group whose file is gone.

It runs on the server, in the service's directory. It ends with 0 and prints when Prometheus loaded its files, or says in one
sentence what is missing.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from docker_engine import Engine, EngineError
from service_proof import TIMEOUT_SECONDS, Interface, Unproven

SUCCESSFUL = re.compile(r"^prometheus_config_last_reload_successful 1$", re.MULTILINE)
LOADED_AT = re.compile(r"^prometheus_config_last_reload_success_timestamp_seconds .*$", re.MULTILINE)
# A quoted or a plain text in YAML, in block style or between braces
VALUE = r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s'"#,{}\[\]][^#,{}\[\]\n]*)"""
COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
JOB = re.compile(rf"""["']?\bjob_name["']?\s*:\s*{VALUE}""")
GROUP = re.compile(rf"""(?:^\s*-\s+\{{?|\[\s*\{{|\}}\s*,\s*\{{)\s*["']?name["']?\s*:\s*{VALUE}""", re.MULTILINE)


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


def data(prometheus: Interface, path: str) -> Any:
    return json.loads(prometheus.text(f"/api/v1/{path}"))["data"]


def prove(prometheus: Interface, rules: dict[str, list[str]], jobs: dict[str, str]) -> str:
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
    for group in data(prometheus, "rules?exclude_alerts=true")["groups"]:
        loaded.setdefault(PurePosixPath(group["file"]).name, set()).add(group["name"])
    for file, groups in rules.items():
        missing = [name for name in groups if name not in loaded.get(file, ())]
        if missing:
            raise Unproven(f'Prometheus has not loaded the rule group "{missing[0]}" of {file}: its log says why.')
    gone = sorted(set(loaded) - set(rules))
    if gone:
        raise Unproven(f"Prometheus still has the rules of {gone[0]}, which is gone: its log says why.")
    pools = set(data(prometheus, "scrape_pools")["scrapePools"])
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
    parser.add_argument("--socket", default="/run/docker.sock", help="socket of the Docker engine")
    given = parser.parse_args()
    try:
        rules = read([*Path("config/rules").glob("*.yml"), *given.contributions.glob("*.rules.yml")])
        configured = read([Path("config/prometheus.yml"), *given.contributions.glob("*.jobs.yml")])
        jobs = {job: file for file, text in configured.items() for job in names(JOB, text)}
        prometheus = Interface(
            "Prometheus", f"http://{Engine(given.socket, TIMEOUT_SECONDS).address_of(given.project)}:{given.port}"
        )
        print(prove(prometheus, {file: names(GROUP, text) for file, text in rules.items()}, jobs))
    except (Unproven, EngineError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
