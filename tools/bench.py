"""Compares the requests per second of the application with those of its first version, through TLS and nginx.

Plain is the first version, with PyMySQL, an ORM object per row and no login, in one synchronous Gunicorn process, and
MySQL with its default settings. Both run in turn on the same sandbox server, with the same nginx.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sandbox import playbook
from sandbox.engine import docker, remove_container
from sandbox.images import SOURCES
from sandbox.paths import ROOT, STATE
from sandbox.scenario import REPOSITORY, prepare
from sandbox.server import start_new
from sandbox.shell import Failure, install, say, told

NAME = "miniweb-bench"
ADDRESS = "127.0.80.8"
# The first version of the application, in this repository's history
PLAIN = "396a8d5:files/webapp"
# It knows nothing of the collection.
PLAIN_DECLARATION = {
    "health_path": "/healthz",
    "database": {
        "environment": {
            "DATABASE_HOST": "host",
            "DATABASE_NAME": "name",
            "DATABASE_USER": "user",
            "DATABASE_PASSWORD_FILE": "password_file",
        }
    },
    # The second one is for the product, which finds the same data.
    "secrets": {"secret_key": {"length": 64}, "admin_password": {"kept": True}},
}
CONNECTIONS = 32
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}
# As described in files/webapp/README.md
DRIVERS: dict[str, dict[str, Any]] = {
    "PyMySQL": {},
    "mysqlclient": {
        "flask_app_requirements_file": "requirements-mysqlclient.txt",
        "flask_app_build_packages": ["gcc", "libc6-dev", "pkg-config", "python3-dev", "default-libmysqlclient-dev"],
        "flask_app_system_packages": ["libmariadb3"],
    },
}
CREATE = """
local number = 0
local thread_count = 0
function setup(thread) thread:set("id", thread_count); thread_count = thread_count + 1 end
function request()
  number = number + 1
  local name = string.format("bench%d-%d-%s", id, number, os.time())
  local body = string.format('{"name":"A","username":"%s","email":"%s@example.com","password":"a long password"}', name, name)
  return wrk.format("POST", "/api/users", wrk.headers, body)
end
"""


@dataclass(frozen=True)
class Result:
    """What wrk measured: requests per second, latency in milliseconds, errors, and the application's memory in MiB.

    `busy` is the CPU time in milliseconds per request, by program: it shows the bottleneck.
    """

    rate: float
    median: float
    slow: float
    errors: int
    memory: float
    busy: dict[str, float] = field(default_factory=dict)


def milliseconds(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if not found:
        raise Failure(f'wrk printed "{text}" instead of a time.')
    return float(found[1]) * UNITS[found[2]]


def parse(output: str, memory: float = 0) -> Result:
    """The figures in what `wrk --latency` prints."""
    rate = re.search(r"Requests/sec: +([\d.]+)", output)
    latency = dict(re.findall(r"^ +(50|99)% +(\S+) *$", output, re.MULTILINE))
    if not rate or len(latency) != 2:
        raise Failure(f"wrk printed no figures:\n{output}")
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    errors = sum(map(int, broken.groups())) if broken else 0
    errors += int(refused[1]) if refused else 0
    return Result(float(rate[1]), milliseconds(latency["50"]), milliseconds(latency["99"]), errors, memory)


def address() -> str:
    """The server's own address: ports published on loopback go through docker-proxy, which real traffic does not."""
    return docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", NAME).strip()


def inside(*words: str) -> str:
    return docker("exec", NAME, *words)


def sql(statement: str) -> None:
    client = ["docker", "exec", "miniweb-mysql-mysql-1", "mysql", "--defaults-file=/run/secrets/root.cnf"]
    inside(*client, "miniwebapp", "-e", statement)


def fill(rows: int) -> None:
    """Fill the table to this many rows, including the administrator's if there is one."""
    sql("DELETE FROM users WHERE username <> 'admin'")
    columns = "name, email, username, password_hash"
    values = "CONCAT('Person ', n), CONCAT('p', n, '@example.com'), CONCAT('person', n), 'none'"
    numbers = f"WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r WHERE n < {rows}) SELECT {values} FROM r"
    missing = f"n <= {rows} - (SELECT COUNT(*) FROM users)"
    sql(f"INSERT INTO users ({columns}) {numbers} WHERE {missing}")


def memory() -> float:
    """The memory of the application's container in MiB."""
    text = (
        inside("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", "miniweb-app-app-1").split("/")[0].strip()
    )
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[unit]


def processor_seconds() -> Counter[str]:
    """The CPU time of all running processes on this machine, including those in containers, by program."""
    found: Counter[str] = Counter()
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = file.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        program, rest = text.partition("(")[2].rsplit(")", 1)
        user, system = rest.split()[11:13]
        found[program] += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return found


def load(path: str, seconds: int, headers: list[str], script: str = "") -> Result:
    command = ["wrk", "--threads", "2", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--latency"]
    for header in headers:
        command += ["--header", header]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        if script:
            file.write(script)
            file.flush()
            command += ["--script", file.name]
        before = processor_seconds()
        done = subprocess.run([*command, f"https://{address()}{path}"], capture_output=True, text=True, check=False)
        used = processor_seconds() - before
    result = parse(done.stdout + done.stderr, memory())
    requests = max(result.rate * seconds, 1)
    return replace(result, busy={program: 1000 * spent / requests for program, spent in used.most_common(6)})


def measure(seconds: int, headers: list[str], static: str) -> dict[str, Result]:
    found = {}
    with_type = [*headers, "Content-Type: application/json"]
    cases = (
        ("list of 2 users", 2, "/api/users", ""),
        ("list of 100 users", 100, "/api/users", ""),
        ("one user", 2, "/api/users/{id}", ""),
        ("create a user", 2, "/api/users", CREATE),
        ("static file", 2, static, ""),
    )
    for name, rows, path, script in cases:
        fill(rows)
        answer = subprocess.run(
            ["curl", "-sk", *[word for header in headers for word in ("-H", header)], f"https://{address()}/api/users"],
            capture_output=True,
            text=True,
            check=True,
        )
        first = json.loads(answer.stdout)[0]["id"]
        say(f"Measuring: {name}…")
        load(path.format(id=first), 2, with_type, script)
        found[name] = load(path.format(id=first), seconds, with_type, script)
    return found


def deploy(**variables: Any) -> None:
    given = {
        "ansible_host": ADDRESS,
        "miniweb_address": ADDRESS,
        "miniweb_secrets_dir": str(STATE / "bench"),
        "miniweb_monitoring": False,
        "flask_app_environment": {},
        "nginx_server_names": ["bench", ADDRESS],
        **variables,
    }
    if not playbook.succeeds("-i", "inventory/sandbox.yml", "site.yml", "-e", json.dumps(given)):
        raise Failure("site.yml failed, see above.")


def plain_source(directory: Path) -> Path:
    archive = directory / "plain.tar"
    done = subprocess.run(
        ["git", "archive", "--output", str(archive), PLAIN], cwd=ROOT, capture_output=True, check=False
    )
    if done.returncode:
        raise Failure(f"git has no {PLAIN}: benchmarks need this repository's history (git fetch --unshallow).")
    (directory / "plain").mkdir()
    subprocess.run(["tar", "--extract", "--file", archive, "--directory", directory / "plain"], check=True)
    return directory / "plain"


def run(source: str, seconds: int) -> None:
    install({"wrk": "wrk", "curl": "curl"})
    prepare(source, "role")
    try:
        start_new(NAME, ADDRESS, f"{REPOSITORY}:role")
        with tempfile.TemporaryDirectory() as directory:
            deploy(
                flask_app_source_dir=str(plain_source(Path(directory))),
                flask_app_declaration=PLAIN_DECLARATION,
                flask_app_workers=1,
                flask_app_worker_class="sync",
                flask_app_preload=False,
                mysql_performance_schema=True,
                mysql_innodb_redo_log_mb=100,
                mysql_max_connections=151,
                nginx_cached_paths=[],
                nginx_access_log="combined",
            )
            plain = measure(seconds, [], "/static/style.css")
        product = {}
        for number, (name, variables) in enumerate(DRIVERS.items()):
            deploy(**variables)
            flask = ("docker", "exec", "miniweb-app-app-1", "flask")
            token = inside(*flask, "create-token", "admin", "--name", f"bench {number}").splitlines()[-1]
            page = subprocess.run(
                ["curl", "-sk", f"https://{address()}/login"], capture_output=True, text=True, check=True
            )
            static = re.search(r'href="(/static/style.css\?v=\w+)"', page.stdout)
            if not static:
                raise Failure("The login page names no style sheet.")
            product[name] = measure(seconds, [f"Authorization: Bearer {token}"], static[1])
    finally:
        remove_container(NAME)
    for name, measured in product.items():
        report(plain, measured, name)


def report(plain: dict[str, Result], product: dict[str, Result], driver: str) -> None:
    figures = "requests/s | p50, p99 ms | errors | MiB"
    say(f"\n| {driver} | plain: {figures} | product: {figures} | ratio |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, before in plain.items():
        after = product[name]
        columns = [
            f"{one.rate:.0f} | {one.median:.1f}, {one.slow:.1f} | {one.errors} | {one.memory:.0f}"
            for one in (before, after)
        ]
        say(f"| {name} | {' | '.join(columns)} | {after.rate / before.rate:.1f} |")
    say("\nCPU milliseconds per request of the product:")
    for name, after in product.items():
        say(f"- {name}: " + ", ".join(f"{program} {spent:.2f}" for program, spent in after.busy.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", choices=SOURCES, default=os.environ.get("MINIWEB_IMAGES", "auto"))
    parser.add_argument("--seconds", type=int, default=15, help="of each measurement")
    arguments = parser.parse_args()
    with told():
        run(arguments.source, arguments.seconds)


if __name__ == "__main__":
    main()
