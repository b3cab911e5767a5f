"""acme_certificate: the authority is only asked once each name leads here; of one that does not, it says where it leads."""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible_collections.miniweb.stack.plugins.action import acme_certificate as action
from ansible_collections.miniweb.stack.plugins.module_utils import settled
from role_templates import ROLES, worked_out

HERE = {"inventory_hostname": "www", "ansible_play_name": "The whole system"}
CHALLENGES = "/.well-known/acme-challenge/"
# Prints what stands in a file, as the program on the server prints what it would do or has done.
PROGRAM = """\
import pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "told").open("a") as told:
    print(*sys.argv[1:], file=told)
print((here / "said.json").read_text())
"""
DUE = {"reason": "there is none yet", "asks": True, "error": "", "trusted": True, "renew_at": 0}
OURS, ANOTHER, NO_WEB, SILENT, CLOSED = (f"127.0.2.{number}" for number in range(1, 6))
# The servers behind each name; those that no test resolves are not there.
NAMES = {
    "www.example.com": [OURS],
    "again.example.com": [OURS],
    "secure.example.com": [OURS],
    "old.example.com": [ANOTHER],
    "missing.example.com": [ANOTHER, ANOTHER, OURS],
    "nameless.example.com": [ANOTHER],
    "long.example.com": [ANOTHER],
    "ssh.example.com": [NO_WEB],
    "silent.example.com": [SILENT],
    "closed.example.com": [CLOSED],
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the first part of the name, and records the names that were asked for."""

    directory = Path()
    asked: list[str] = []

    def do_GET(self) -> None:
        name = self.headers["Host"]
        self.asked.append(name)
        getattr(self, name.partition(".")[0])()

    def say(self, status: int, text: str = "", **headers: str) -> None:
        self.send_response_only(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def www(self) -> None:
        self.say(200, f"{(self.directory / self.path.lstrip('/')).read_text()}\n")

    def again(self) -> None:
        self.say(301, Location=f"http://www.example.com{self.path}")

    def secure(self) -> None:
        if isinstance(self.connection, ssl.SSLSocket):
            self.www()
        else:
            self.say(301, Location=f"https://secure.example.com{self.path}")

    def old(self) -> None:
        self.say(200, "<h1>Another\n  site</h1>")

    def missing(self) -> None:
        self.say(404, Server="Apache/2.4")

    def nameless(self) -> None:
        self.say(503)

    def long(self) -> None:
        self.say(200, "x" * 5000)

    def log_message(self, *given: Any) -> None:
        """Print nothing."""


class Greeting(socketserver.StreamRequestHandler):
    """Speaks no HTTP."""

    def handle(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_10.0\r\n")
        self.rfile.readline()


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, int], int]]:
    """Servers on addresses that only this machine has, one of them with a certificate that nobody vouches for."""
    here = tmp_path_factory.mktemp("tls")
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=another",
        "-days",
        "1",
    ]
    subprocess.run([*words, "-keyout", "key.pem", "-out", "cert.pem"], cwd=here, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(here / "cert.pem", here / "key.pem")
    servers: dict[tuple[str, int], socketserver.TCPServer] = {
        (address, port): http.server.ThreadingHTTPServer((address, 0), Handler)
        for address, port in ((OURS, 80), (OURS, 443), (ANOTHER, 80))
    }
    servers[OURS, 443].socket = context.wrap_socket(servers[OURS, 443].socket, server_side=True)
    servers[NO_WEB, 80] = socketserver.ThreadingTCPServer((NO_WEB, 0), Greeting)
    for server in servers.values():
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    with socket.create_server((SILENT, 0)) as silent, socket.socket() as closed:
        # Bound, so that nobody else listens there
        closed.bind((CLOSED, 0))
        others = {(SILENT, 80): silent.getsockname()[1], (CLOSED, 80): closed.getsockname()[1]}
        yield {place: int(server.server_address[1]) for place, server in servers.items()} | others
    for server in servers.values():
        server.shutdown()
        server.server_close()


@pytest.fixture
def network(ports: dict[tuple[str, int], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names lead to these servers instead of to the world's; the names that were asked for."""

    def getaddrinfo(name: str, port: int, *given: Any, **named: Any) -> list[Any]:
        if name not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (address, ports[address, port])) for address in NAMES[name]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    monkeypatch.setattr(Handler, "directory", tmp_path / "challenge")
    monkeypatch.setattr(Handler, "asked", [])
    return Handler.asked


class Site:
    """A server with the program that renews the certificate."""

    def __init__(self, path: Path, run_module: Callable[..., dict[str, Any]]) -> None:
        self.path = path
        self.run_module = run_module
        self.challenge = path / "challenge"
        self.challenge.mkdir()
        (path / "renew.py").write_text(PROGRAM)
        (path / "settings.json").write_text(json.dumps({"directory": str(path / "tls")}))
        self.says()

    def says(self, **said: Any) -> None:
        (self.path / "said.json").write_text(json.dumps({**DUE, "renew_at": time.time() + 3600, **said}))

    def run(self, *names: str, check_mode: bool = False, **given: Any) -> dict[str, Any]:
        """Run the action, whose module really runs."""
        arguments = {"program": str(self.path / "renew.py"), "names": list(names)}
        arguments |= {"challenge_directory": str(self.challenge), "owner": os.getuid(), **given}
        one = object.__new__(action.ActionModule)
        one._task = SimpleNamespace(args=arguments, delegate_to=None, check_mode=check_mode)  # type: ignore[assignment]
        one._execute_module = lambda name, arguments, task_vars: self.run_module(  # type: ignore[method-assign]
            name.rpartition(".")[2], check_mode=check_mode, **arguments
        )
        return one.run(task_vars=HERE)

    def authority_was_asked(self) -> bool:
        return "--json" in (self.path / "told").read_text().split()

    def left(self) -> list[Path]:
        """What is left of challenges."""
        return [path for path in self.challenge.rglob("*") if path.is_file()]


@pytest.fixture
def site(
    network: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_module: Callable[..., dict[str, Any]]
) -> Site:
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "notes"))
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda self, tmp, task_vars: {})
    monkeypatch.setattr(settled.Notes.__init__, "__defaults__", (str(tmp_path / "settled"),))
    return Site(tmp_path, run_module)


@pytest.mark.parametrize("name", ["www.example.com", "again.example.com", "secure.example.com"])
def test_a_name_that_leads_here_is_no_fault(site: Site, network: list[str], name: str) -> None:
    result = site.run("www.example.com", name)
    assert (result.get("failed", False), result["changed"], result["reason"]) == (False, True, "there is none yet")
    assert name in network
    assert site.authority_was_asked()
    assert site.left() == []


@pytest.mark.parametrize(
    ("name", "leads", "said"),
    [
        ("nowhere.example.com", "does not resolve", "there is no answer ([Errno -2] Name or service not known)"),
        ("closed.example.com", f"resolves to {CLOSED}", "there is no answer ([Errno 111] Connection refused)"),
        ("silent.example.com", f"resolves to {SILENT}", "there is no answer (timed out)"),
        ("ssh.example.com", f"resolves to {NO_WEB}", "there is no answer (SSH-2.0-OpenSSH_10.0)"),
        (
            "missing.example.com",
            f"resolves to {ANOTHER}, {OURS}",
            "the answer is 404 Not Found from Apache/2.4",
        ),
        ("nameless.example.com", f"resolves to {ANOTHER}", "the answer is 503 Service Unavailable"),
        (
            "old.example.com",
            f"resolves to {ANOTHER}",
            'the answer is something else ("<h1>Another site</h1>")',
        ),
        ("long.example.com", f"resolves to {ANOTHER}", f'the answer is something else ("{"x" * 80}")'),
    ],
)
def test_of_a_name_that_does_not_it_is_said_where_it_leads(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str, leads: str, said: str
) -> None:
    monkeypatch.setattr(action, "SECONDS", 0.3)
    monkeypatch.setattr("secrets.token_hex", lambda size: "token")
    result = site.run("www.example.com", name)
    assert (result["failed"], result["changed"]) == (True, False)
    fault = f"{name} {leads}, and for http://{name}{CHALLENGES}token {said}"
    assert result["msg"].startswith(
        f"The authority was not asked, because it would find no proof: {fault}. Let each name"
    )
    assert not site.authority_was_asked()
    assert site.left() == []


def test_all_names_that_do_not_are_said_at_once(site: Site) -> None:
    said = site.run("old.example.com", "www.example.com", "closed.example.com")["msg"]
    assert [name for name in NAMES if f"{name} resolves to" in said] == ["old.example.com", "closed.example.com"]


@pytest.mark.parametrize(
    ("said", "given", "asked"),
    [
        ({}, {"challenge_directory": None}, True),
        ({}, {"check_mode": True}, False),
        # It is valid, or the last refusal is not long ago.
        ({"asks": False}, {}, True),
    ],
    ids=["no challenge over HTTP", "check mode", "the authority is not needed"],
)
def test_a_name_is_not_tried_without_need(
    site: Site, network: list[str], said: dict[str, Any], given: dict[str, Any], asked: bool
) -> None:
    site.says(**said)
    result = site.run("old.example.com", **given)
    assert (result.get("failed", False), result["changed"]) == (False, True)
    assert network == []
    assert site.authority_was_asked() is asked
    assert site.left() == []


def test_a_program_that_fails_is_said_before_any_name_is_tried(site: Site, network: list[str]) -> None:
    (site.path / "renew.py").write_text("raise SystemExit('settings.json is damaged')")
    assert site.run("www.example.com")["msg"] == f"{site.path}/renew.py failed: settings.json is damaged."
    assert network == []


@pytest.mark.parametrize("trusted", [True, False])
def test_what_the_authority_refuses_is_a_failure_without_a_valid_certificate(site: Site, trusted: bool) -> None:
    site.says(error="403 :: refused", trusted=trusted, reason="")
    result = site.run("www.example.com")
    assert result.get("failed", False) is not trusted
    said = "".join(str(warning) for warning in result["warnings"]) if trusted else result["msg"]
    assert "The certificate for www.example.com cannot be renewed: 403 :: refused." in said
    assert site.left() == []


@pytest.mark.parametrize(
    ("given", "tried"),
    [
        ({}, True),
        ({"nginx_acme_try_names": "true"}, True),
        ({"nginx_acme_try_names": False}, False),
        ({"nginx_acme_try_names": "false"}, False),
        ({"nginx_acme_dns_provider": "route53"}, False),
    ],
)
def test_the_role_has_names_tried_for_http_alone_and_unless_told_otherwise(given: dict[str, Any], tried: bool) -> None:
    tasks = yaml.safe_load((ROLES / "nginx" / "tasks" / "main.yml").read_text())
    (arguments,) = (task[module] for task in tasks if (module := "miniweb.stack.acme_certificate") in task)
    variables = {"nginx_acme_email": "admin@example.com", "omit": "omitted", **given}
    directory = worked_out(ROLES / "nginx", arguments["challenge_directory"], **variables)
    assert directory == ("/opt/miniweb/nginx/challenge" if tried else "omitted")


def test_a_name_that_no_resolver_takes_is_one_sentence() -> None:
    name = f"{'a' * 64}.example.com"
    assert re.fullmatch(
        rf"{name} does not resolve, and for http://{name}/\S+ there is no answer \(.+\)", action.fault(name, "x")
    )
