"""nginx as its users see it: redirect, certificate, TLS versions, proxy, limits, administrators' sites, bad input."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from helpers.nginx import IMAGE, NGINX, SITE, UPSTREAM, logged, run_upstream
from helpers.playbooks import Converge, changed, changes, folded
from helpers.server import ADDRESS, SERVER
from helpers.service import Service
from helpers.waiting import eventually
from helpers.web import curl, status, visitors
from testinfra.host import Host

EXPORTER = Service("nginx_exporter")
LEFT = {"prometheus/nginx_exporter.jobs.yml", "prometheus/nginx_exporter.rules.yml", "grafana/nginx_exporter.json"}


def names(given: x509.Certificate) -> list[str]:
    return given.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


def certificate() -> x509.Certificate:
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((ADDRESS, 443)).encode())


def left_certificate(host: Host) -> x509.Certificate:
    """The certificate that blackbox_exporter is told to trust."""
    return x509.load_pem_x509_certificate(NGINX.contributions(host)["blackbox_exporter/nginx.pem"].encode())


def test_http_is_redirected_to_https() -> None:
    answer = curl("-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", f"http://{ADDRESS}/a?b=c")
    assert answer == f"301 https://{ADDRESS}/a?b=c"


def test_requests_reach_the_upstream_with_the_clients_address() -> None:
    answer = json.loads(curl("-H", "X-Forwarded-For: 192.0.2.1", f"https://{ADDRESS}/a?b=c"))
    headers = answer["headers"]
    assert answer["path"] == "/a?b=c"
    assert headers["Host"] == ADDRESS
    assert headers["X-Forwarded-Proto"] == "https"
    assert headers["X-Forwarded-For"] == headers["X-Real-IP"] != "192.0.2.1"


def test_connections_to_the_upstream_are_reused(converge: Converge) -> None:
    def connections() -> int:
        return len({str(json.loads(curl(f"https://{ADDRESS}/"))["connection"]) for dummy in range(8)})

    # One for each of nginx's worker processes
    assert connections() < 8
    assert converge({"nginx_upstream_keepalive_seconds": 0}).returncode == 0
    assert eventually(lambda: connections() == 8)


def test_it_is_measured_inside_only(host: Host, converge: Converge) -> None:
    def measured() -> dict[str, str]:
        program = "import urllib.request as u; print(u.urlopen('http://nginx_exporter:9113/metrics').read().decode())"
        lines = host.check_output("docker exec upstream python3 -c %s", program).splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    assert measured()["nginx_up"] == "1"
    before = float(measured()["nginx_http_requests_total"])
    curl(f"https://{ADDRESS}/")
    assert float(measured()["nginx_http_requests_total"]) > before
    EXPORTER.confined(host, "1001:1001")
    left = EXPORTER.contributions(host)
    assert set(left) == LEFT
    (job,) = yaml.safe_load(left["prometheus/nginx_exporter.jobs.yml"])["scrape_configs"]
    assert (job["job_name"], job["static_configs"][0]["targets"]) == ("nginx", ["nginx_exporter:9113"])
    group, expected = yaml.safe_load(left["prometheus/nginx_exporter.rules.yml"])["groups"]
    assert [rule["labels"] for rule in expected["rules"]] == [{"job": "nginx", "instance": SERVER}]
    assert [rule["expr"] for rule in group["rules"] if rule["alert"] == "NginxDown"] == ['nginx_up{job="nginx"} == 0']
    assert json.loads(left["grafana/nginx_exporter.json"])["title"] == "nginx"
    served = NGINX.started(host)
    assert converge({"nginx_exporter_state": "absent"}).returncode == 0
    assert EXPORTER.container(host) == ""
    assert EXPORTER.contributions(host) == {}
    assert host.run("docker exec upstream python3 -c %s", "import socket; socket.create_connection(('nginx', 8082))").rc
    assert converge({}).returncode == 0
    assert measured()["nginx_up"] == "1"
    assert NGINX.started(host) == served


def request_id(path: str) -> str:
    return json.loads(curl(f"https://{ADDRESS}{path}"))["headers"]["X-Request-ID"]


def test_every_request_gets_an_id_from_nginx() -> None:
    assert request_id("/a") != request_id("/a")
    answer = json.loads(curl("-H", "X-Request-ID: mine", f"https://{ADDRESS}/a"))
    assert len(answer["headers"]["X-Request-ID"]) == 32


def test_only_what_may_be_cached_is_cached() -> None:
    assert request_id("/static/a.css") == request_id("/static/a.css")
    for path in ("/other/a.css", "/static/no-store.css", "/static/cookie.css"):
        assert request_id(path) != request_id(path)


def test_visitors_do_not_wait_for_each_other_to_get_a_file_that_is_not_cached() -> None:
    """The upstream answers the one only once the other has arrived."""
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(status, [f"https://{ADDRESS}/static/meeting.no-store"] * 2))
    assert answers == ["200", "200"]


def test_only_what_is_the_same_for_everyone_is_compressed() -> None:
    words = ["-o", "/dev/null", "-D", "-", "-H", "Accept-Encoding: gzip"]
    assert "content-encoding: gzip" in curl(*words, f"https://{ADDRESS}/static/data")
    for path in ("/data", "/page"):
        assert "content-encoding" not in curl(*words, f"https://{ADDRESS}{path}")


def test_the_certificate_carries_every_name() -> None:
    # Those of other sites follow.
    assert names(certificate())[:3] == ["server", "www.example.com", "localhost"]
    found = certificate().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in found.get_values_for_type(x509.IPAddress)] == [ADDRESS]


@pytest.mark.parametrize(
    ("version", "accepted"),
    [("tls1", False), ("tls1_1", False), ("tls1_2", True), ("tls1_3", True)],
)
def test_tls_versions(version: str, accepted: bool) -> None:
    command = ["openssl", "s_client", f"-{version}", "-cipher", "ALL:@SECLEVEL=0", "-connect", f"{ADDRESS}:443"]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=20)
    assert ("BEGIN CERTIFICATE" in done.stdout) is accepted, done.stderr


def test_http2_is_spoken() -> None:
    assert curl("--http2", "-o", "/dev/null", "-w", "%{http_version}", f"https://{ADDRESS}/") == "2"


def test_a_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    answers = {}
    for size in (1_000_000, 1_100_000):
        body = tmp_path / str(size)
        body.write_bytes(b"x" * size)
        answers[size] = status("--data-binary", f"@{body}", f"https://{ADDRESS}/")
    assert answers == {1_000_000: "200", 1_100_000: "413"}


def kept_mb(host: Host) -> float:
    """What nginx keeps on disk for its clients. It removes the names of such files at once."""
    blocks = "find /proc/[0-9]*/fd -lname '/var/cache/nginx/*' -exec stat -L -c %b {} + 2>/dev/null"
    return sum(map(int, host.run(blocks).stdout.split())) / 2048


def test_slow_clients_together_stay_within_bounds(host: Host, converge: Converge, tmp_path: Path) -> None:
    limits = {"nginx_max_requests": 8, "nginx_max_requests_per_address": 6, "nginx_response_buffer_mb": 2}
    assert converge({**limits, "nginx_max_body_mb": 150}).returncode == 0
    body = tmp_path / "body"
    body.write_bytes(bytes(1_000_000))
    started = NGINX.started(host)
    slow = ["curl", "--silent", "--insecure", "--http1.1", "--limit-rate", "2k", "--output", "/dev/null"]
    given = [["/large"]] * 7 + [["/", "--data-binary", f"@{body}"]] * 5
    clients = [subprocess.Popen([*slow, *words, f"https://{ADDRESS}{path}"]) for path, *words in given]
    kept = []
    try:
        # Those over the limit of their address are refused at once, others are served.
        assert eventually(lambda: sum(client.poll() is None for client in clients) == 6)
        assert eventually(lambda: kept_mb(host) > 2)
        for _sample in range(5):
            kept.append(kept_mb(host))
            assert status(f"https://{ADDRESS}/") == "503"
            assert host.check_output("curl -sk -o /dev/null -w '%{http_code}' https://localhost/") == "200"
            assert status(f"https://{ADDRESS}:3000/") == "200", "administrators are not refused"
        assert max(kept) < 8 * (1 + 2)
        assert (NGINX.started(host), NGINX.inspected(host)["State"]["OOMKilled"]) == (started, False)
    finally:
        for client in clients:
            client.kill()
            client.wait()
    assert eventually(lambda: status(f"https://{ADDRESS}/") == "200")
    assert eventually(lambda: kept_mb(host) < 1)

    # Each is larger than the container's memory.
    body.write_bytes(bytes(120 << 20))
    words = ["curl", "-sk", "--limit-rate", "20M", "-w", "%{http_code}", "-o", "/dev/null", "--data-binary", f"@{body}"]
    uploads = [subprocess.Popen([*words, f"https://{ADDRESS}/"], stdout=subprocess.PIPE, text=True) for _each in "123"]
    assert eventually(lambda: kept_mb(host) > 150)
    assert [upload.communicate(timeout=60)[0] for upload in uploads] == ["200"] * 3
    assert (NGINX.started(host), NGINX.inspected(host)["State"]["OOMKilled"]) == (started, False)


def test_files_of_a_volume_are_served_as_what_visitors_have_left_there(host: Host, converge: Converge) -> None:
    served = {"service": "shop", "volume": "uploads"}
    urls = [{**served, "url": "/uploads/"}, {**served, "url": "/checked/", "internal": True}]
    assert converge({"nginx_served_volumes": urls}).returncode == 0
    place = host.check_output("docker volume inspect --format '{{.Mountpoint}}' miniweb-shop_uploads")
    host.check_output(
        f"echo 'from a visitor' > '{place}/a note.html' && ln -sf /etc/nginx/tls/private_key.pem {place}/key.pem"
    )

    url = f"https://{ADDRESS}"
    answer = curl("--include", f"{url}/uploads/a%20note.html")
    assert answer.startswith("HTTP/2 200") and answer.endswith("from a visitor\n")
    # Shown, but no script in it runs as a part of the site.
    assert "content-security-policy: sandbox; default-src 'none'" in answer
    assert "x-content-type-options: nosniff" in answer
    assert [status(f"{url}/uploads/{path}") for path in ("", "other", "key.pem")] == ["403", "404", "403"]
    assert status("--data", "x", f"{url}/uploads/a%20note.html") == "403"
    # Only the application leads to the other one.
    assert status(f"{url}/checked/a%20note.html") == "404"
    assert curl(f"{url}/accel").endswith("from a visitor\n")
    assert not changed(converge({"nginx_served_volumes": urls}))


def test_websockets_pass_where_they_are_switched_on() -> None:
    answers = {}
    for port in (443, 3000):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(socket.create_connection((ADDRESS, port), 10)) as stream:
            stream.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            answers[port] = stream.recv(100).split()[1]
    assert answers == {443: b"200", 3000: b"101"}


def test_an_administrators_site_answers_to_administrators_only(host: Host) -> None:
    assert status(f"https://{ADDRESS}:3000/") == "200"
    assert host.check_output("curl -sk -o /dev/null -w '%{http_code}' https://localhost:3000/") == "403"


OWN = f"https://{ADDRESS}:3000"


@pytest.mark.parametrize(
    ("port", "origin", "answer"),
    [
        (3000, "", "200"),
        (3000, OWN, "200"),
        (3000, "https://evil.example", "403"),
        (3000, "null", "403"),
        # The application's own pages: the same host, at another port
        (3000, f"https://{ADDRESS}", "403"),
        (3000, f"http://{ADDRESS}:3000", "403"),
        (3000, f"{OWN}.evil.example", "403"),
        (3000, f"https://evil.example|{OWN}", "403"),
        (443, "https://evil.example", "200"),
        (443, "null", "200"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_pages_of_other_websites_get_nothing_from_an_administrators_site(
    port: int, origin: str, answer: str, method: str
) -> None:
    # The upstream knows no OPTIONS.
    answer = "501" if (method, answer) == ("OPTIONS", "200") else answer
    words = ["-X", method, "-H", f"Origin: {origin}"] if origin else ["-X", method]
    assert status(*words, f"https://{ADDRESS}:{port}/") == answer


def test_pages_of_other_websites_are_not_let_in_by_the_upstream() -> None:
    headers = {
        port: curl("-o", "/dev/null", "-D", "-", f"https://{ADDRESS}:{port}/cors").lower() for port in (443, 3000)
    }
    assert headers[443].count("access-control-") == 5
    assert headers[3000].startswith("http/2 200")
    assert "access-control-" not in headers[3000]


@pytest.mark.parametrize(
    ("sent", "application", "administration"),
    [
        ("session=s", "session=s", None),
        ("grafana_session=g", None, "grafana_session=g"),
        ("session=s; grafana_session=g", "session=s", "grafana_session=g"),
        ("grafana_session=g; session=s", "session=s", "grafana_session=g"),
        ("a=1; grafana_session=g; b=2; redirect_to=%2F; c=3", "a=1; b=2; c=3", "grafana_session=g; redirect_to=%2F"),
        ("a=1;grafana_session=g;b=2", "a=1;b=2", "grafana_session=g"),
        ("my_grafana_session=m; grafana_session_2=n", "my_grafana_session=m; grafana_session_2=n", None),
        ("a=grafana_session; b=grafana_session=1", "a=grafana_session; b=grafana_session=1", None),
        # Set by whoever has the application, so that one of two gets through
        ("grafana_session=1; a=1; grafana_session=2; grafana_session=3", None, "grafana_session=1"),
        ("", None, None),
    ],
)
def test_a_site_gets_its_own_cookies_alone(sent: str, application: str | None, administration: str | None) -> None:
    found = []
    for port in (443, 3000):
        headers = json.loads(curl("-H", f"Cookie: {sent}", f"https://{ADDRESS}:{port}/"))["headers"]
        found.append(headers["Cookie"].rstrip("; ") if "Cookie" in headers else None)
    assert found == [application, administration]


@pytest.mark.parametrize(
    ("port", "path", "answer"),
    [
        (3000, "/debug/pprof/", "404"),
        (3000, "/debug/pprof/heap?debug=1", "404"),
        (3000, "//debug//pprof/", "404"),
        (3000, "/a/../debug/pprof/", "404"),
        (3000, "/./debug/pprof/", "404"),
        (3000, "/%64ebug/pprof/", "404"),
        (3000, "/debug%2Fpprof/", "404"),
        (3000, "/a/..%2fdebug/pprof/", "404"),
        (3000, "/debugger", "200"),
        (3000, "/a/debug/pprof/", "200"),
        (443, "/measured", "404"),
        (443, "/measured/", "404"),
        (443, "/measured/all", "404"),
        (443, "/measured?format=text", "404"),
        (443, "//measured", "404"),
        (443, "/%6deasured", "404"),
        (443, "/measuredness", "200"),
        (443, "/a/measured", "200"),
    ],
)
def test_closed_paths_are_closed_however_they_are_written(port: int, path: str, answer: str) -> None:
    assert status("--path-as-is", f"https://{ADDRESS}:{port}{path}") == answer
    other = 443 if port == 3000 else 3000
    assert status("--path-as-is", f"https://{ADDRESS}:{other}{path}") == "200"


def test_redirects_lines_of_ones_own_and_events_as_they_are_sent(host: Host, converge: Converge) -> None:
    wanted = {
        "nginx_redirects": [{"names": ["bare.example.com"], "to": "www.example.com"}],
        "nginx_extra_lines": ['location = /robots.txt { return 200 "everything"; }'],
        "nginx_unbuffered_paths": ["/live/"],
    }
    assert converge(wanted).returncode == 0
    words = ["--resolve", f"bare.example.com:443:{ADDRESS}", "https://bare.example.com/a?b=c"]
    assert (
        curl("-s", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", *words)
        == "301 https://www.example.com/a?b=c"
    )
    assert curl("-s", f"https://{ADDRESS}/robots.txt") == "everything"
    with subprocess.Popen(["curl", "-skN", f"https://{ADDRESS}/live/"], stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout
        assert asking.stdout.readline() == "data: first\n"
        curl("-s", f"https://{ADDRESS}/release")
        assert asking.stdout.read() == "data: released"
    NGINX.refuses(host, converge, {"nginx_extra_lines": ["no_such_thing on;"]}, 'unknown directive "no_such_thing"')


def as_alice(password: str) -> list[str]:
    return ["--user", f"alice:{password}"]


def only_new_workers(host: Host) -> None:
    """Wait until no worker has the settings before a reload: it may still accept connections."""
    assert eventually(lambda: "shutting down" not in host.check_output("docker top %s", NGINX.container(host)))


def test_each_request_is_a_line_of_json_without_what_may_be_secret(host: Host, converge: Converge) -> None:
    site = f"https://{ADDRESS}"
    only_new_workers(host)
    secret = ("-H", "Authorization: Bearer hidden-1", "-H", "Referer: https://a/?hidden-2", "-u", "hidden-3:hidden-4")
    agent = 'an "agent" \\ of ' + "x" * 300
    found = json.loads(curl(*secret, "-A", agent, f"{site}/logged-a?b=hidden-5"))["headers"]
    assert status("-X", "POST", f"http://{ADDRESS}/logged-b?hidden-6") == "301"
    assert status(f"{site}/logged-c{'/%22' * 1500}") == "200"
    assert status("-X", "METHOD" * 500, f"http://{ADDRESS}/logged-c-method") == "301"
    # Several at a time, so that lines of several workers meet
    for _time in range(2):
        curl("--parallel", "--parallel-max", "20", "-o", "/dev/null", f"{site}/logged-d/[1-200]")
    assert eventually(lambda: len(logged(host, '"path":"/logged-')) == 404)
    lines = logged(host, '"path":"/logged-')
    of_path = {line["path"]: line for line in lines}
    first, second = of_path["/logged-a"], of_path["/logged-b"]
    assert first["request_id"] == found["X-Request-ID"]
    assert (first["method"], first["status"], first["protocol"]) == ("GET", 200, "HTTP/2.0")
    assert first["agent"] == agent[:150]
    assert 0 <= float(first["upstream_s"]) <= first["duration_s"] + 0.001
    assert (first["upstream_status"], first["bytes"] > 2000, first["port"]) == ("200", True, 443)
    assert (second["method"], second["status"], second["upstream"]) == ("POST", 301, "")
    assert max(len(path) for path in of_path) == 400
    assert of_path["/logged-c-method"]["method"] == "METHODMETHODMETHODME"
    assert {f"/logged-d/{number}" for number in range(1, 201)} <= of_path.keys()
    assert host.run("docker logs %s 2>&1 | grep -F hidden-", NGINX.container(host)).stdout == ""
    # What is no request at all
    with socket.create_connection((ADDRESS, 80), timeout=20) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert b"400 Bad Request" in connection.recv(1000)
    assert eventually(lambda: any(line["status"] == 400 for line in logged(host, '"path":""')))
    assert converge({"nginx_access_log": "none"}).returncode == 0
    only_new_workers(host)
    assert status(f"{site}/logged-e") == "200"
    assert converge({}).returncode == 0
    assert logged(host, '"path":"/logged-e"') == []


def test_a_password_maintenance_and_error_pages(host: Host, converge: Converge, tmp_path: Path) -> None:
    first, second = "a-long-password-1", "a-long-password: 2"
    page = tmp_path / "page.html"
    page.write_text("<p>Our own page: {{ größe }}</p>\n")
    wanted = {
        "nginx_health_path": "/healthz",
        "nginx_basic_auth_users": [{"name": "alice", "password": first}],
        "nginx_error_pages": {"404": str(page), "413": str(page), "501": str(page)},
        "nginx_sites": [{**SITE, "admin_only": True, "closed_paths": ["/debug/"]}],
    }
    done = converge(wanted, "--diff")
    assert done.returncode == 0
    assert first not in done.stdout
    site, health = f"https://{ADDRESS}/", f"https://{ADDRESS}/healthz"
    assert eventually(lambda: status(site) == "401")
    assert status(*as_alice("wrong-password"), site) == status("--user", f"bob:{first}", site) == "401"
    found = json.loads(curl(*as_alice(first), site))["headers"]
    assert "Authorization" not in found
    assert status(health) == "200"
    assert status("-X", "POST", health) == "200"
    for path in ("healthz/", "healthz/a", "static/a.css", "live/", ".well-known/acme-challenge/../../a"):
        assert status("--path-as-is", f"{site}{path}") == "401", path
    assert status(f"http://{ADDRESS}/") == "301"
    assert status(f"https://{ADDRESS}:3000/") == "200"

    users = host.file("/opt/miniweb/nginx/conf.d/users/1")
    assert (users.uid, users.mode) == (101, 0o400)
    assert users.content_string.startswith("alice:$6$")
    assert host.run("grep -rqF %s /opt/miniweb/nginx", first).rc == 1
    assert changes(converge(wanted)) == 0

    assert curl(f"https://{ADDRESS}:3000/debug/") == page.read_text()
    assert status(f"https://{ADDRESS}/.miniweb-errors/503.html") == "404"
    body = tmp_path / "body"
    body.write_bytes(bytes(1_100_000))
    assert curl(*as_alice(first), "--data-binary", f"@{body}", site) == page.read_text()
    assert "Unsupported method" in curl(*as_alice(first), "-X", "OPTIONS", site), (
        "the upstream's own answer is replaced"
    )

    started, here = NGINX.started(host), found["X-Real-IP"]
    users_then = [{"name": "alice", "password": second}]
    given = {"nginx_maintenance": True, "nginx_maintenance_allowed": [here], "nginx_basic_auth_users": users_then}
    with visitors("/healthz") as answers:
        assert converge({**wanted, **given}).returncode == 0
    assert set(answers) == {"200"}
    assert eventually(lambda: status(*as_alice(second), site) == "200")
    assert status(*as_alice(first), site) == "401"
    # The server itself is none of those who see the site.
    asked = f"curl -sk -D - -X POST -u 'alice:{second}' https://localhost/"
    assert eventually(lambda: "503" in host.check_output(asked).splitlines()[0])
    answer = host.check_output(asked)
    assert "retry-after: 120" in answer.lower()
    assert "<h1>Not available at the moment</h1>" in answer
    assert "nginx/" not in answer
    assert host.check_output("curl -sk -o /dev/null -w '%{http_code}' https://localhost/healthz") == "200"
    assert NGINX.started(host) == started
    assert converge({}).returncode == 0
    assert eventually(lambda: status(site) == "200")
    assert not host.file("/opt/miniweb/nginx/conf.d/users/1").exists
    assert NGINX.started(host) == started


def test_the_upstream_is_found_again_at_another_address(host: Host) -> None:
    host.check_output("docker rm --force upstream")
    host.check_output("docker run --detach --rm --name taken --network miniweb-edge %s sleep 60", IMAGE)
    answer = curl("-D", "-", f"https://{ADDRESS}/away").lower()
    assert answer.startswith(("http/2 502", "http/2 504"))
    assert "<h1>not available at the moment</h1>" in answer
    assert "nginx/" not in answer
    run_upstream(host)
    assert json.loads(curl(f"https://{ADDRESS}/again"))["path"] == "/again"
    host.run("docker rm --force taken")


def test_a_changed_setting_is_reloaded_without_a_restart(host: Host, converge: Converge) -> None:
    before = NGINX.started(host)
    assert converge({"nginx_hsts_seconds": 60}).returncode == 0
    assert eventually(lambda: "max-age=60" in curl("-D", "-", f"https://{ADDRESS}/"))
    assert NGINX.started(host) == before


def test_changed_names_make_a_new_certificate(host: Host, converge: Converge) -> None:
    before = NGINX.started(host)
    assert converge({"nginx_server_names": ["other.example.com"]}).returncode == 0
    # Old workers may still accept connections while the new ones answer.
    assert eventually(lambda: names(certificate()) == ["other.example.com"])
    assert left_certificate(host) == certificate()
    assert NGINX.started(host) == before


def test_a_long_name_with_capitals_and_underscores_is_served(host: Host, converge: Converge) -> None:
    name = f"Web_Server.{'x' * 61}.example.com"
    assert len(name) == 84
    # With a second site on the same port, nginx keeps the names in a table.
    second = {"name": "second", "upstream": "http://upstream:8000", "server_names": ["second.example.com"]}
    assert converge({"nginx_server_names": [name], "nginx_sites": [second]}).returncode == 0
    curls = "curl --silent --fail --output /dev/null --cacert /opt/miniweb/nginx/tls/certificate.pem"
    assert eventually(lambda: host.run(f"{curls} --resolve {name}:443:127.0.0.1 https://{name}/ready").rc == 0)


def test_a_certificate_that_expires_soon_is_renewed(converge: Converge) -> None:
    before = certificate().serial_number
    assert converge({"nginx_certificate_renew_days": 400, "nginx_certificate_valid_days": 500}).returncode == 0
    assert eventually(lambda: certificate().serial_number != before)


def own_certificate(directory: Path, name: str) -> tuple[str, str]:
    key, certificate_file = directory / f"{name}.key", directory / f"{name}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate_file)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate_file.read_text(), key.read_text()


def test_an_own_certificate_is_served(converge: Converge, tmp_path: Path) -> None:
    pem, key = own_certificate(tmp_path, "own.example.com")
    assert converge({"nginx_certificate": pem, "nginx_private_key": key}).returncode == 0
    assert eventually(lambda: certificate() == x509.load_pem_x509_certificate(pem.encode()))


def test_an_upstream_with_tls(host: Host, converge: Converge, tmp_path: Path) -> None:
    command = "docker run --detach --rm --name secure --network miniweb-edge --env CERTIFICATE=%s %s python3 -c %s"
    host.check_output(command, "".join(own_certificate(tmp_path, "secure")), IMAGE, UPSTREAM)
    try:
        assert converge({"nginx_upstream": "https://secure:8000"}).returncode == 0
        assert eventually(lambda: '"tls": true' in curl(f"https://{ADDRESS}/"))
    finally:
        host.check_output("docker rm --force secure")


def test_certificate_and_key_that_do_not_match_are_refused(converge: Converge, tmp_path: Path) -> None:
    assert eventually(lambda: "own.example.com" not in certificate().subject.rfc4514_string())
    before = certificate()
    pem, key = own_certificate(tmp_path, "one")[0], own_certificate(tmp_path, "two")[1]
    done = converge({"nginx_certificate": pem, "nginx_private_key": key})
    assert done.returncode != 0
    assert "nginx_private_key: it does not belong to nginx_certificate" in done.stdout
    assert key.splitlines()[1] not in done.stdout
    assert certificate() == before


def test_a_port_in_use_is_named(host: Host, converge: Converge) -> None:
    before = NGINX.started(host)
    host.check_output("systemd-run --unit taken python3 -m http.server 8443")
    done = converge({"nginx_https_port": 8443})
    host.check_output("systemctl stop taken")
    assert done.returncode != 0
    assert "nginx_https_port: port 8443 of this server is already taken by" in done.stdout
    assert "python3" in done.stdout
    assert NGINX.started(host) == before


def test_nginx_says_what_it_has_loaded(host: Host) -> None:
    """The proof of a reload compares this with the files."""
    loaded = host.check_output("docker exec %s wget -q -O - http://127.0.0.1:8081/configuration", NGINX.container(host))
    assert f"return 200 {loaded};" in host.file("/opt/miniweb/nginx/conf.d/health.conf").content_string


def test_a_probes_certificate_that_is_empty_or_old_is_provided_again(host: Host, converge: Converge) -> None:
    copy = "/opt/miniweb/contributions/blackbox_exporter/nginx.pem"
    for broken in (f": > {copy}", f"rm {copy}", f"cp /etc/ssl/certs/ca-certificates.crt {copy}"):
        host.check_output(broken)
        assert converge({}).returncode == 0
        assert left_certificate(host) == certificate()


def test_absent_and_present_again(host: Host, converge: Converge) -> None:
    assert set(NGINX.contributions(host)) == {"blackbox_exporter/nginx.pem"}
    absent = {"nginx_state": "absent", "nginx_upstream": ""}
    assert converge(absent).returncode == 0
    assert NGINX.container(host) == EXPORTER.container(host) == ""
    assert NGINX.contributions(host) == EXPORTER.contributions(host) == {}
    assert not any(host.file(f"/opt/miniweb/{name}").exists for name in ("nginx", "nginx_exporter"))
    again = converge(absent)
    assert (again.returncode, "changed=0 " in again.stdout) == (0, True)
    assert converge({}).returncode == 0
    assert eventually(lambda: status(f"https://{ADDRESS}/") == "200")
    assert left_certificate(host) == certificate()
    assert set(EXPORTER.contributions(host)) == LEFT


@pytest.mark.parametrize(
    ("variables", "sentences"),
    [
        ({"nginx_upstream": ""}, ['the upstreams are "", "http://upstream:8000"; give each as http://host:port.']),
        (
            {"nginx_server_names": ["*.example.com"], "nginx_cached_paths": ["static"], "nginx_private_key": "x"},
            [
                'nginx_server_names: "*.example.com" cannot be used',
                "nginx_cached_paths, nginx_sites: static; give each as /path/.",
                "nginx_certificate, nginx_private_key: only the second is set",
            ],
        ),
        (
            {"nginx_sites": [{**SITE, "closed_paths": ["debug"], "cookies": ["a-b"]}]},
            [
                "nginx_closed_paths, nginx_sites: the closed paths are /measured, debug; give each as /path or /path/.",
                'nginx_sites: the cookies are a-b; give names of letters, digits and "_".',
            ],
        ),
        (
            {
                "nginx_unbuffered_paths": ["/static/", "live"],
                "nginx_redirects": [{"names": ["www.example.com", "*.example.com"], "to": "https://example.com"}],
                "nginx_sites": [{**SITE, "port": 443, "server_names": ["second.example.com", "second.example.com"]}],
            },
            [
                "nginx_unbuffered_paths, nginx_sites: /static/, live; give each as /path/.",
                "/static/ is in both; a response is either passed on as it is sent, or cached.",
                "www.example.com, *.example.com, second.example.com, second.example.com; give each name once.",
                "nginx_redirects: www.example.com, *.example.com, https://example.com; give host names only.",
            ],
        ),
        (
            {
                "nginx_acme_email": "admin@example.com",
                "nginx_server_names": ["www.example.com"],
                "nginx_certificate": "x",
                "nginx_acme_directory": "http://acme.example.com",
                "nginx_acme_dns_environment": {"route53 key": "x", "AWS_REGION": ""},
                "nginx_alert_renewal_failed_for": "soon",
            },
            [
                "nginx_acme_email, nginx_certificate: both are set",
                'nginx_acme_directory: "http://acme.example.com" is no URL of an authority\'s directory',
                "nginx_acme_dns_environment is set without nginx_acme_dns_provider; set it, too.",
                "nginx_acme_dns_environment: route53 key, AWS_REGION cannot be used",
                'nginx_alert_renewal_failed_for is "soon": set it to a duration',
            ],
        ),
        (
            {"nginx_trusted_proxies": ["10.0.0.0/8", "0.0.0.0/0"]},
            ['nginx_trusted_proxies: "10.0.0.0/8, 0.0.0.0/0" has a network with every address'],
        ),
        (
            {
                "nginx_max_requests": 10,
                "nginx_max_requests_per_address": 11,
                "nginx_response_buffer_mb": -1,
                "nginx_max_body_mb": 0,
                "nginx_health_path": "/",
                "nginx_basic_auth_users": [{"name": "a:b", "password": ""}, {"name": "a:b", "password": "short-1"}],
                "nginx_maintenance_allowed": ["www.example.com"],
                "nginx_error_pages": {"200": "/no/such/page.html"},
            },
            [
                "nginx_max_body_mb, nginx_sites: the limits are 0, 0; give at least 1.",
                'sites with maintenance or basic_auth_users are "/"; give a path that everybody may see',
                'the names are "a:b", "a:b"; give names without colons',
                'the names are "a:b", "a:b"; give each name of a site once.',
                "the password of a:b, a:b cannot be used; give 8 to 64 characters",
                'nginx_maintenance_allowed, nginx_sites: "www.example.com" cannot be used',
                "nginx_error_pages: the statuses are 200; give those of errors",
                "nginx_error_pages: /no/such/page.html cannot be read",
                "nginx_max_requests_per_address is 11: set it to a number from 1 to nginx_max_requests (10).",
                "nginx_response_buffer_mb is -1: set it to 0 or a number of megabytes.",
            ],
        ),
        (
            {"nginx_admin_addresses": ["2001:db8::7"]},
            ["nginx_admin_addresses has only IPv6 addresses (2001:db8::7), which nginx does not see behind Docker"],
        ),
        (
            {"nginx_exporter_enabled": True},
            ["nginx_exporter_enabled is now called nginx_exporter_state (present or absent): rename it."],
        ),
    ],
)
def test_all_bad_input_is_reported_at_once(
    host: Host, converge: Converge, variables: dict[str, Any], sentences: list[str]
) -> None:
    before = NGINX.started(host)
    done = converge(variables)
    assert done.returncode != 0
    assert [sentence for sentence in sentences if sentence not in folded(done.stdout)] == []
    assert NGINX.started(host) == before


def test_a_broken_configuration_never_takes_over(host: Host, converge: Converge) -> None:
    NGINX.refuses(host, converge, {"nginx_proxy_timeout_seconds": -1}, "check_command: the new files are refused")
    assert json.loads(curl(f"https://{ADDRESS}/still"))["path"] == "/still"


def test_the_container_has_no_more_rights_than_it_needs(host: Host) -> None:
    NGINX.confined(host, "101:101", published=frozenset({"80/tcp", "443/tcp", "3000/tcp"}))


# As on a kernel without IPv6: the system call says EAFNOSUPPORT, to the containers and to Ansible's modules, too.
WITHOUT_IPV6 = """
set -eu
for unit in containerd docker ssh; do
    mkdir -p /etc/systemd/system/$unit.service.d
    printf '[Service]\\nRestrictAddressFamilies=~AF_INET6\\n' > /etc/systemd/system/$unit.service.d/without-ipv6.conf
done
systemctl daemon-reload
systemctl restart containerd docker ssh
pkill --full '^sshd.*: admin'
"""
WITH_IPV6 = """
rm /etc/systemd/system/*.service.d/without-ipv6.conf
systemctl daemon-reload
systemctl restart containerd docker ssh
pkill --full '^sshd.*: admin'
docker rm --force upstream $(docker ps --quiet --filter label=com.docker.compose.project=miniweb-nginx)
"""


@pytest.fixture
def kernel_without_ipv6(host: Host, converge: Converge) -> Iterator[None]:
    subprocess.run(["docker", "exec", SERVER, "sh", "-c", WITHOUT_IPV6], check=True)
    host.check_output("docker rm --force %s", NGINX.container(host))
    yield
    subprocess.run(["docker", "exec", SERVER, "sh", "-c", WITH_IPV6], check=True)
    assert converge({}).returncode == 0


def test_nginx_starts_on_a_kernel_without_ipv6(host: Host, converge: Converge, kernel_without_ipv6: None) -> None:
    refused = host.run("python3 -c 'import socket; socket.socket(socket.AF_INET6)'")
    assert "Address family not supported" in refused.stderr
    assert converge({}).returncode == 0
    run_upstream(host)
    assert status(f"https://{ADDRESS}/page") == "200"
    assert changes(converge({})) == 0


# A visitor beside the server, with addresses of both families, and an engine that translates IPv6. Debian's needs two options.
VISITOR = """
set -eu
for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 0 > $file; done
cp /etc/docker/daemon.json /root/daemon.json
python3 -c '
import json
path = "/etc/docker/daemon.json"
options = json.load(open(path))
options.update(experimental=True, ip6tables=True)
json.dump(options, open(path, "w"))
'
# systemd counts the starts within a minute.
systemctl reset-failed docker
systemctl restart docker
ip netns add visitor
ip link add visitor0 type veth peer name visitor1 netns visitor
ip address add 2001:db8:1::1/64 dev visitor0 nodad
ip address add 192.0.2.1/24 dev visitor0
ip link set visitor0 up
ip netns exec visitor sh -ec '
for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 0 > $file; done
ip address add 2001:db8:1::7/64 dev visitor1 nodad
ip address add 192.0.2.7/24 dev visitor1
ip link set visitor1 up
'
"""
NO_VISITOR = """
ip netns delete visitor
mv /root/daemon.json /etc/docker/daemon.json
systemctl reset-failed docker
systemctl restart docker
ip6tables --table nat --flush; ip6tables --table nat --delete-chain
for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $file; done
"""


@pytest.fixture
def visitor(host: Host, converge: Converge) -> Iterator[None]:
    host.check_output(VISITOR)
    run_upstream(host)
    yield
    host.run(NO_VISITOR)
    assert converge({}).returncode == 0


def seen_as(host: Host, address: str) -> str:
    """The visitor's address as the upstream gets it."""
    command = f"ip netns exec visitor curl --silent --insecure --max-time 20 https://{address}/visit"
    return json.loads(host.check_output(command))["headers"]["X-Real-IP"]


def test_visitors_over_ipv6_keep_their_addresses(host: Host, converge: Converge, visitor: None) -> None:
    assert seen_as(host, "192.0.2.1") == "192.0.2.7"
    assert changes(converge({})) == 1
    assert seen_as(host, "[2001:db8:1::1]") == "2001:db8:1::7"
    assert seen_as(host, "192.0.2.1") == "192.0.2.7"
    assert changes(converge({})) == 0
