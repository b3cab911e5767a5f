"""Compares the application with its first version, and the role's settings for an application, under load through TLS and nginx.

Plain is the first version, with PyMySQL, an ORM object per row and no login, in one synchronous Gunicorn process, MySQL
with its default settings, and nginx writing each line of its log at once. What is compared has a server of its own. They are
measured in turn, in several rounds, with the others paused; what is printed are the medians of the rounds.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import statistics
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from sandbox import playbook
from sandbox.engine import docker, remove_container
from sandbox.images import SOURCES
from sandbox.paths import ROOT, STATE
from sandbox.scenario import REPOSITORY, prepare
from sandbox.server import start_new
from sandbox.shell import Failure, install, say, told

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
    "secrets": {"secret_key": {"length": 64}},
}
ONE_WORKER = {
    "flask_app_workers": 1,
    "flask_app_worker_class": "sync",
    "mysql_performance_schema": True,
    "mysql_innodb_redo_log_mb": 100,
    "mysql_max_connections": 151,
    "nginx_cached_paths": [],
    "nginx_access_log": "combined",
}
PRODUCT = ROOT / "files" / "webapp"
(PRODUCT_DRIVER,) = re.findall("^mysqlclient==.*", (PRODUCT / "requirements-mysqlclient.txt").read_text(), re.MULTILINE)
PACKAGES = yaml.safe_load((PRODUCT / "miniweb.yml").read_text())["packages"]
DRIVER_IN_C = {"flask_app_build_packages": PACKAGES["build"], "flask_app_system_packages": PACKAGES["run"]}
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}
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
class Subject:
    """What is measured: an application, and the variables of its server that differ from the defaults.

    :param driver: plain's driver for the database; without one, it is the product.
    """

    name: str
    address: str
    driver: str = ""
    variables: dict[str, Any] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        return bool(self.driver)

    @property
    def server(self) -> str:
        return f"miniweb-bench-{self.address.rpartition('.')[2]}"


SUBJECTS = (
    Subject("plain", "127.0.82.1", "pymysql", ONE_WORKER),
    Subject("product", "127.0.82.2"),
    Subject("plain, the role's defaults", "127.0.82.3", "pymysql"),
    Subject("plain, the role's defaults, a driver in C", "127.0.82.4", "mysqldb", DRIVER_IN_C),
)


@dataclass(frozen=True)
class Case:
    """A kind of request."""

    name: str
    path: str
    rows: int = 2
    connections: int = 32
    script: str = ""
    with_password: bool = False


CASES = (
    Case("list of 2 users", "/api/users"),
    Case("list of 100 users", "/api/users", rows=100),
    Case("list of 10,000 users", "/api/users", rows=10_000, connections=4),
    Case("one user", "/api/users/{id}"),
    Case("create a user", "/api/users", script=CREATE),
    Case("login", "/api/users/{id}", with_password=True),
    Case("static file", "{static}"),
)


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


def middle(rounds: list[Result]) -> Result:
    """The median of each figure, and all errors."""
    figures = {
        name: statistics.median(getattr(one, name) for one in rounds) for name in ("rate", "median", "slow", "memory")
    }
    programs = Counter(program for one in rounds for program in one.busy)
    busy = {name: statistics.median(one.busy.get(name, 0) for one in rounds) for name in programs}
    return Result(errors=sum(one.errors for one in rounds), busy=busy, **figures)


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


def wrk(url: str, connections: int, seconds: int, threads: int = 2) -> list[str]:
    """The command that asks for a page for so long; a request may take a minute."""
    command = ["wrk", "--threads", str(threads), "--connections", str(connections), "--duration", f"{seconds}s"]
    return [*command, "--timeout", "60s", "--latency", url]


class Server:
    """A sandbox server with one subject."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.header = self.password = ""

    def inside(self, *words: str) -> str:
        return docker("exec", self.subject.server, *words)

    def in_application(self, *words: str) -> str:
        return self.inside("docker", "exec", "miniweb-app-app-1", *words)

    @property
    def url(self) -> str:
        """With the server's own address: ports published on loopback go through docker-proxy, which real traffic does not."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return f"https://{docker('inspect', '--format', form, self.subject.server).strip()}"

    def start(self, sources: Path) -> None:
        """Start the server and deploy the subject to it; plain is below `sources`, by its driver."""
        say(f"Deploying: {self.subject.name}…")
        start_new(self.subject.server, self.subject.address, f"{REPOSITORY}:role")
        plain = {
            "flask_app_source_dir": str(sources / self.subject.driver),
            "flask_app_declaration": PLAIN_DECLARATION,
            "flask_app_preload": False,
        }
        self.deploy({**(plain if self.subject.is_plain else {}), **self.subject.variables})
        if not self.subject.is_plain:
            token = self.in_application("flask", "create-token", "admin", "--name", "bench").splitlines()[-1]
            self.header = f"Authorization: Bearer {token}"
            self.password = self.in_application("cat", "/run/secrets/admin_password").strip()

    def deploy(self, variables: dict[str, Any], *options: str) -> None:
        """Run site.yml with these variables."""
        given = {
            "ansible_host": self.subject.address,
            "miniweb_address": self.subject.address,
            "miniweb_secrets_dir": str(STATE / self.subject.server),
            "miniweb_monitoring": False,
            "flask_app_environment": {},
            # A server that was paused for longer ends its workers when it goes on.
            "flask_app_timeout_seconds": 3600,
            "nginx_server_names": ["bench", self.subject.address],
            **variables,
        }
        if not playbook.succeeds("-i", "inventory/sandbox.yml", "site.yml", "-e", json.dumps(given), *options):
            raise Failure("site.yml failed, see above.")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """This server runs, and no other."""
        docker("unpause", self.subject.server)
        try:
            yield
        finally:
            docker("pause", self.subject.server)

    def sql(self, statement: str) -> None:
        client = ["docker", "exec", "miniweb-mysql-mysql-1", "mysql", "--defaults-file=/run/secrets/root.cnf"]
        self.inside(*client, "miniwebapp", "-e", statement)

    def fill(self, rows: int) -> None:
        """Fill the table to this many rows, including the administrator's if there is one."""
        self.sql("DELETE FROM users WHERE username <> 'admin'")
        columns = "name, email, username, password_hash"
        values = "CONCAT('Person ', n), CONCAT('p', n, '@example.com'), CONCAT('person', n), 'none'"
        numbers = (
            f"WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r WHERE n < {rows}) SELECT {values} FROM r"
        )
        missing = f"n <= {rows} - (SELECT COUNT(*) FROM users)"
        limit = f"SET SESSION cte_max_recursion_depth = {rows + 1}"
        self.sql(f"{limit}; INSERT INTO users ({columns}) {numbers} WHERE {missing}")

    def memory(self) -> float:
        """The memory of the application's container in MiB."""
        stats = self.inside("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", "miniweb-app-app-1")
        number, unit = re.fullmatch(r"([\d.]+)(\w+)", stats.split("/")[0].strip()).groups()  # type: ignore[union-attr]
        return float(number) * {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[unit]

    def ask(self, path: str, *options: str) -> str:
        command = ["curl", "--silent", "--insecure", "--fail", "--max-time", "60", *options, f"{self.url}{path}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f"{self.subject.name} does not answer {path}: curl ended with {done.returncode}.")
        return done.stdout

    def first_page(self) -> float:
        """Milliseconds of the first page after a restart, once the application is healthy."""
        self.inside("docker", "restart", "miniweb-app-app-1")
        self.inside("docker", "compose", "--file", "/opt/miniweb/app/compose.yaml", "up", "--detach", "--wait")
        path = "/" if self.subject.is_plain else "/login"
        return 1000 * float(self.ask(path, "--output", os.devnull, "--write-out", "%{time_total}"))

    def load(self, case: Case, seconds: int) -> Result:
        header = ["--header", self.header] if self.header else []
        first = json.loads(self.ask("/api/users", *header))[0]["id"]
        page = self.ask("/" if self.subject.is_plain else "/login")
        static = re.search(r'href="(/static/style\.css[^"]*)"', page)
        if not static:
            raise Failure(f"{self.subject.name}: its page names no style sheet.")
        if case.with_password:
            basic = base64.b64encode(f"admin:{self.password}".encode()).decode()
            header = ["--header", f"Authorization: Basic {basic}"]
        path = case.path.format(id=first, static=static[1])
        command = wrk(f"{self.url}{path}", case.connections, seconds)
        command += ["--header", "Content-Type: application/json", *header]
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
            if case.script:
                file.write(case.script)
                file.flush()
                command += ["--script", file.name]
            before = processor_seconds()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            used = processor_seconds() - before
        result = parse(done.stdout + done.stderr, self.memory())
        requests = max(result.rate * seconds, 1)
        return replace(result, busy={program: 1000 * spent / requests for program, spent in used.most_common(6)})


@contextmanager
def plain_sources() -> Iterator[Path]:
    """A directory with plain as it was, and one with the product's driver in place of its own."""
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "plain.tar"
        done = subprocess.run(
            ["git", "archive", "--output", str(archive), PLAIN], cwd=ROOT, capture_output=True, check=False
        )
        if done.returncode:
            raise Failure(f"git has no {PLAIN}: benchmarks need this repository's history (git fetch --unshallow).")
        for driver in ("pymysql", "mysqldb"):
            source = Path(directory) / driver
            source.mkdir()
            subprocess.run(["tar", "--extract", "--file", archive, "--directory", source], check=True)
        for name, pattern, replacement in (
            ("requirements.txt", "PyMySQL==.*", PRODUCT_DRIVER),
            ("miniwebapp/config.py", r'"mysql\+pymysql",', '"mysql+mysqldb",'),
        ):
            file = Path(directory) / "mysqldb" / name
            text, count = re.subn(pattern, replacement, file.read_text())
            if count != 1:
                raise Failure(f"{PLAIN}/{name} names its driver {count} times instead of once.")
            file.write_text(text)
        yield Path(directory)


def run(source: str, seconds: int, rounds: int) -> None:
    install({"wrk": "wrk", "curl": "curl"})
    prepare(source, "role")
    servers = [Server(subject) for subject in SUBJECTS]
    measured: dict[tuple[str, str], list[Result]] = defaultdict(list)
    first_pages: dict[str, list[float]] = defaultdict(list)
    try:
        with plain_sources() as directory:
            for server in servers:
                server.start(directory)
                docker("pause", server.subject.server)
        for number in range(1, rounds + 1):
            # Each case for all subjects in turn, because the machine is not equally fast for long.
            order = servers if number % 2 else servers[::-1]
            say(f"Round {number} of {rounds}: first page…")
            for server in order:
                with server.alone():
                    first_pages[server.subject.name].append(server.first_page())
            for case in CASES:
                say(f"Round {number} of {rounds}: {case.name}…")
                for server in order:
                    if case.with_password and server.subject.is_plain:
                        continue
                    with server.alone():
                        server.fill(case.rows)
                        server.load(case, 2)
                        measured[server.subject.name, case.name].append(server.load(case, seconds))
    finally:
        for server in servers:
            remove_container(server.subject.server)
    report({key: middle(found) for key, found in measured.items()})
    say("\n| | first page after a restart, ms |\n| --- | --- |")
    for name, found in first_pages.items():
        say(f"| {name} | {statistics.median(found):.0f} |")


def report(measured: dict[tuple[str, str], Result]) -> None:
    say("\n| case | | requests/s | times plain | p50, p99 ms | p99, times plain | MiB | errors |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        plain = measured.get((SUBJECTS[0].name, case.name))
        for subject in SUBJECTS:
            if not (one := measured.get((subject.name, case.name))):
                continue
            faster, slower = (f"{one.rate / plain.rate:.1f}", f"{one.slow / plain.slow:.2f}") if plain else ("", "")
            say(
                f"| {case.name} | {subject.name} | {one.rate:.0f} | {faster} | {one.median:.1f}, {one.slow:.1f} | {slower}"
                f" | {one.memory:.0f} | {one.errors} |"
            )
    say("\nCPU milliseconds per request:")
    for (subject, case), one in measured.items():
        say(
            f"- {subject}, {case}: "
            + ", ".join(f"{program} {spent:.2f}" for program, spent in one.busy.items() if spent >= 0.01)
        )


def main(description: str | None, measure: Callable[[str, int, int], None], seconds: int) -> None:
    """Measure as the command line says: where images come from, seconds of each measurement, and rounds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--source", choices=SOURCES, default=os.environ.get("MINIWEB_IMAGES", "auto"))
    parser.add_argument("--seconds", type=int, default=seconds, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with told():
        measure(arguments.source, arguments.seconds, arguments.rounds)


if __name__ == "__main__":
    main(__doc__, run, seconds=8)
