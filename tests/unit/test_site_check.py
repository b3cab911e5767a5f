"""site_check: what counts as an answer of a site, and what is said of one that gives none."""

from __future__ import annotations

import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.miniweb.stack.plugins.module_utils import settled

# Prints what stands in the file `said`, as the script in the container does of sites that do not answer.
DOCKER = """\
#!/bin/sh
here=$(dirname "$0")
case "$1" in
  ps) cat "$here/ids" ;;
  inspect) echo '[{"Id": "4c01", "State": {"Status": "running"}}]' ;;
  exec) echo "$*" >> "$here/told"; cat "$here/said" ;;
esac
"""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /<status> with that status, /to/<URL> with a redirect to it, and records the names asked for."""

    names: list[str] = []

    def do_GET(self) -> None:
        self.names.append(self.headers["Host"])
        target = self.path.removeprefix("/to/").format(port=self.server.server_port)
        redirects = target != self.path or self.path == "/again"
        self.send_response(302 if redirects else int(self.path.strip("/") or 404))
        if redirects:
            self.send_header("Location", target)
        self.end_headers()
        self.wfile.write(b'{"database":\n "unreachable"}')

    def log_message(self, *given: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A site with a certificate that nobody vouches for."""
    here = tmp_path_factory.mktemp("site")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=another", "-days", "1"]
    subprocess.run([*words, "-keyout", "key.pem", "-out", "cert.pem"], cwd=here, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(here / "cert.pem", here / "key.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture
def nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker program with nginx's container."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "ids").write_text("4c01\n")
    (tmp_path / "said").write_text("")
    monkeypatch.setattr(settled.Notes.__init__, "__defaults__", (str(tmp_path / "settled"),))
    return tmp_path


def site(port: int, path: str = "", **given: Any) -> dict[str, Any]:
    return {"name": "main", "server_names": ["www.example.com", "other"], "port": port, "health_path": path, **given}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/200", ""),
        ("/302", ""),
        ("/404", "gives 404 Not Found"),
        ("/503", 'gives 503 Service Unavailable: {"database": "unreachable"}'),
        # Without a path that must succeed, the upstream's own "no such page" is an answer.
        ("", ""),
    ],
)
def test_what_counts_as_an_answer(run_module: Any, nginx: Path, port: int, path: str, said: str) -> None:
    result = run_module("site_check", programs=nginx, sites=[site(port, path)], timeout=0)
    url = f"https://www.example.com:{port}{path or '/'}"
    assert result.get("failed", False) == bool(said)
    assert f'the site "main", {url}, {said}' in result["msg"] if said else result["asked"] == [url]
    assert Handler.names[-1] == f"www.example.com:{port}"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/to//200", ""),
        ("/to//503", "gives 503 Service Unavailable"),
        ("/to/https://www.example.com:{port}/200", ""),
        ("/to/https://WWW.example.com:{port}/503", "gives 503 Service Unavailable"),
        ("/to/https://other:{port}/503", "gives 503 Service Unavailable"),
        # What another site answers is its own matter.
        ("/to/https://login.example.com/503", ""),
        ("/to/https://www.example.com/503", ""),
        ("/to/http://www.example.com:{port}/503", ""),
        ("/to/https://www.example.com:port/503", ""),
        ("/again", "redirects again and again, at last to https://www.example.com:"),
    ],
)
def test_redirects_of_a_site_to_itself_are_followed(
    run_module: Any, nginx: Path, port: int, path: str, said: str
) -> None:
    result = run_module("site_check", programs=nginx, sites=[site(port, path)], timeout=0)
    assert result.get("failed", False) == bool(said)
    assert said in result.get("msg", "")


def test_a_port_on_which_nothing_listens(run_module: Any, nginx: Path) -> None:
    said = run_module("site_check", programs=nginx, sites=[site(1)], timeout=0)["msg"]
    assert 'the site "main", https://www.example.com:1/, gives no answer (' in said


@pytest.mark.parametrize(
    ("ids", "said", "problem"),
    [
        ("4c01\n", "", ""),
        ("4c01\n", "0 wget: server returned error: HTTP/1.1 502 Bad Gateway\n", "HTTP/1.1 502 Bad Gateway"),
        # GNU's wget says nothing with -q.
        ("4c01\n", "0 \n", "gives an error"),
        ("", "", 'no container of the service "nginx"'),
    ],
)
def test_a_site_for_administrators_is_asked_in_the_container(
    run_module: Any, nginx: Path, port: int, ids: str, said: str, problem: str
) -> None:
    (nginx / "ids").write_text(ids)
    (nginx / "said").write_text(said)
    sites = [site(port, "/200"), site(9090, "/-/healthy", name="all the metrics", admin_only=True)]
    result = run_module("site_check", programs=nginx, sites=sites, timeout=0)
    assert problem in result.get("msg", "")
    assert (
        'the site "all the metrics", https://www.example.com:9090/-/healthy, gives' in result.get("msg", "")
    ) == bool(problem)
    assert result.get("failed", False) == bool(problem)
    if ids:
        told = (nginx / "told").read_text()
        assert "5 www.example.com https://127.0.0.1:9090/-/healthy" in told
        assert "/200" not in told


def test_a_later_run_asks_again_before_it_believes_the_note(run_module: Any, nginx: Path, port: int) -> None:
    for check in (True, False):
        result = run_module("site_check", programs=nginx, sites=[site(port, "/200")], settled="asked", check_mode=check)
        assert result["asked"] == ([] if check else [f"https://www.example.com:{port}/200"])
    (note,) = (nginx / "settled").glob("*.json")
    (condition,) = json.loads(note.read_text())["conditions"]
    without_docker = SimpleNamespace(get_bin_path=lambda name: None)
    server = settled.Server(without_docker, [condition])  # type: ignore[arg-type]
    assert server.holds(condition)
    condition[2][0]["health_path"] = "/503"
    assert not server.holds(condition)
