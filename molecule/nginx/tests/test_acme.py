"""A certificate from an ACME authority: Pebble, the test server of Let's Encrypt, with real challenges."""

from __future__ import annotations

import http.client
import http.server
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.authority import NAMES, Authority, trusted
from helpers.nginx import NGINX
from helpers.playbooks import Converge, changes, folded
from helpers.server import ADDRESS
from helpers.web import visitors
from testinfra.host import Host

PLACE = "/opt/miniweb/nginx/tls/certificate.pem"
PROBES_COPY = "/opt/miniweb/contributions/blackbox_exporter/nginx.pem"
KEPT = "/opt/miniweb/certificate/acme"
# What lego's provider httpreq tells is told to the authority's DNS server. Only those who know the password may; it is spelled
# backwards, because the server's journal has the command that starts this.
DNS_PROVIDER = """
import base64, http.server, json, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        login = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        if login != "miniweb:" + "drowssap snd"[::-1]:
            self.send_response(401); self.end_headers(); return
        path, data = ("set-txt", {"host": said["fqdn"], "value": said["value"]}) if self.path == "/present" else (
            "clear-txt", {"host": said["fqdn"]})
        urllib.request.urlopen("http://localhost:8055/" + path, json.dumps(data).encode())
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("", 8056), Handler).serve_forever()
"""


def serial(host: Host) -> str:
    """The serial number of the certificate that nginx presents."""
    command = "openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | openssl x509 -noout -serial"
    return host.check_output(command)


def test_life_with_an_authority(host: Host, converge: Converge, authority: Authority) -> None:
    wanted = authority.variables
    before = serial(host)
    with visitors("/") as answers:
        assert converge(wanted).returncode == 0
    assert set(answers) == {"200"}
    assert all(trusted(host, name) for name in NAMES)
    first = serial(host)
    assert first != before
    again = converge(wanted)
    assert (again.returncode, changes(again)) == (0, 0)
    redirect = host.check_output(
        "curl -s -o /dev/null -w '%{http_code} %{redirect_url}' -H 'Host: example.com' http://localhost/a"
    )
    assert redirect == "301 https://example.com/a"

    # The timer renews it without a failed request, and the account is the same.
    accounts = host.check_output(f"cat {KEPT}/*/lego/accounts/*/*/account.json")
    with visitors("/") as answers:
        host.check_output(f"rm {KEPT}/*/certificate.pem")
        host.check_output("systemctl start miniweb-certificate.service")
    assert set(answers) == {"200"}
    renewed = serial(host)
    assert renewed != first
    assert all(trusted(host, name) for name in NAMES)
    assert host.file(PROBES_COPY).content_string == host.file(PLACE).content_string
    assert host.check_output(f"cat {KEPT}/*/lego/accounts/*/*/account.json") == accounts
    assert converge(wanted).returncode == 0

    # A name that leads elsewhere is refused by the authority, which is then left alone for an hour.
    authority.leads_to("elsewhere.example.com", "172.17.0.250")
    more = {**wanted, "nginx_server_names": [*NAMES, "elsewhere.example.com"]}
    refused = converge(more)
    assert refused.returncode != 0
    assert "The certificate for www.example.com, example.com, elsewhere.example.com cannot be renewed" in folded(
        refused.stdout
    )
    assert "urn:ietf:params:acme:error" in folded(refused.stdout)
    orders = authority.orders()
    repeated = converge(more)
    assert repeated.returncode != 0
    assert "next attempt at" in folded(repeated.stdout)
    assert authority.orders() == orders
    assert serial(host) == renewed
    assert all(trusted(host, name) for name in NAMES)

    # Back to a self-signed one and to the authority's again, which need not be asked.
    assert converge({}).returncode == 0
    assert not trusted(host, NAMES[0])
    assert serial(host) != renewed
    authority.stop()
    assert converge(wanted).returncode == 0
    assert serial(host) == renewed

    # Without an answer of the authority, a valid certificate stays and the run goes on.
    host.check_output(f"rm {KEPT}/*/certificate.pem")
    away = converge(wanted)
    assert away.returncode == 0
    assert "The one of the authority is still valid" in folded(away.stderr)
    assert serial(host) == renewed


class Names(http.server.BaseHTTPRequestHandler):
    """A proxy for the controller, which cannot resolve the names: it leads them to the server, or some to a page of another."""

    elsewhere: frozenset[str] = frozenset()

    def do_GET(self) -> None:
        asked = urllib.parse.urlsplit(self.path)
        if asked.hostname in self.elsewhere:
            self.send_error(404)
            return
        connection = http.client.HTTPConnection(ADDRESS, 80, timeout=10)
        connection.request("GET", asked.path, headers={"Host": asked.netloc})
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Names]]:
    monkeypatch.setattr(Names, "elsewhere", frozenset())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Names) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield Names
        server.shutdown()


def test_each_name_is_tried_before_the_authority_is_asked(
    host: Host, converge: Converge, authority: Authority, names: type[Names]
) -> None:
    """Behind a load balancer, whose name redirects, too."""
    authority.stop()
    authority.start()
    wanted = {
        **authority.variables,
        "nginx_acme_try_names": True,
        "nginx_trusted_proxies": ["192.0.2.0/24"],
        "nginx_redirects": [{"names": ["old.example.com"], "to": NAMES[0]}],
    }
    before = serial(host)
    names.elsewhere = frozenset({"old.example.com"})
    refused = converge(wanted)
    assert refused.returncode != 0
    said = folded(refused.stdout)
    assert (
        "The authority was not asked, because it would find no proof: old.example.com does not resolve, and for" in said
    )
    assert "/.well-known/acme-challenge/" in said
    assert "the answer is 404 Not Found from BaseHTTP" in said
    assert "www.example.com does not resolve" not in said
    assert host.check_output("find /opt/miniweb/nginx/challenge -type f") == ""
    assert (serial(host), authority.orders()) == (before, 0)

    names.elsewhere = frozenset()
    assert converge(wanted).returncode == 0
    assert all(trusted(host, name) for name in (*NAMES, "old.example.com"))
    # More than one, because a new authority does not know the account at first.
    assert authority.orders() > 0
    assert host.check_output("find /opt/miniweb/nginx/challenge -type f") == ""
    words = "curl -s -o /dev/null -w '%{http_code} %{redirect_url}' -H 'Host: old.example.com' http://localhost/a?b=c"
    assert host.check_output(words) == f"301 https://{NAMES[0]}/a?b=c"


def test_the_timer_renews_a_self_signed_certificate(host: Host) -> None:
    host.check_output(
        "cd /opt/miniweb/nginx/tls && openssl req -x509 -key private_key.pem -days 3 -subj /CN=old "
        "-addext subjectAltName=DNS:old -out certificate.pem && docker exec %s nginx -s reload",
        NGINX.container(host),
    )
    old = host.file(PLACE).content_string
    host.check_output("systemctl start miniweb-certificate.service")
    new = host.file(PLACE).content_string
    assert new != old
    assert host.file(PROBES_COPY).content_string == new
    assert serial(host) == host.check_output(f"openssl x509 -in {PLACE} -noout -serial")
    assert ADDRESS in host.check_output(f"openssl x509 -in {PLACE} -noout -ext subjectAltName")


def test_names_are_proved_by_dns(host: Host, converge: Converge, authority: Authority) -> None:
    authority.stop()
    authority.start()
    host.check_output("systemd-run --unit=dns-provider python3 -c %s", DNS_PROVIDER)
    authority.leads_to("dns.example.com", "172.17.0.250")
    wanted = {
        # The controller cannot resolve the name, so that to try it would end the run.
        **{name: value for name, value in authority.variables.items() if name != "nginx_acme_try_names"},
        "nginx_server_names": ["dns.example.com"],
        "nginx_acme_dns_provider": "httpreq",
        "nginx_acme_dns_environment": {
            "HTTPREQ_ENDPOINT": f"http://{authority.address}:8056",
            "HTTPREQ_USERNAME": "miniweb",
            "HTTPREQ_PASSWORD": "dns password",
        },
        "nginx_acme_options": [f"--dns.resolvers={authority.address}:8053", "--dns.propagation-wait=1s"],
    }
    done = converge(wanted)
    host.run("systemctl stop dns-provider")
    assert done.returncode == 0
    assert trusted(host, "dns.example.com")
    assert "dns password" not in done.stdout + done.stderr
    assert host.run("journalctl --no-pager | grep -F 'dns pass''word'").stdout == ""
    assert host.check_output("find /opt/miniweb/certificate -name 'HTTPREQ*'") == ""


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"nginx_acme_email": "admin"}, 'nginx_acme_email: "admin" is no e-mail address'),
        (
            {
                "nginx_acme_email": "admin@example.com",
                "nginx_server_names": ["www.example.com", "localhost", "192.0.2.1"],
            },
            "no authority issues a certificate for localhost, 192.0.2.1",
        ),
        (
            {"nginx_acme_email": "admin@example.com", "nginx_server_names": NAMES, "nginx_http_port": 8080},
            "nginx_http_port is 8080: an authority connects to port 80",
        ),
    ],
)
def test_what_cannot_work_is_refused(host: Host, converge: Converge, variables: dict[str, Any], sentence: str) -> None:
    NGINX.refuses(host, converge, variables, sentence)
