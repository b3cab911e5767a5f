"""The results of the roles' templates and private variables."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import yaml
from passlib.hash import sha512_crypt
from role_templates import ROLES, rendered, worked_out


def value(role: str, name: str, **given: Any) -> Any:
    """A variable of a role."""
    return worked_out(ROLES / role, f"{{{{ {name} }}}}", **given)


def render(role: str, template: str, **given: Any) -> str:
    """A template of a role."""
    return rendered(ROLES / role, template, **given)


def servers(configuration: str) -> list[str]:
    return re.split(r"^server \{$", configuration, flags=re.MULTILINE)[1:]


@pytest.mark.parametrize(
    ("variables", "cost"),
    [
        # (0.0208 + 0.005) * 730 + 20 * 0.08
        ({}, "20.43 US dollars a month"),
        ({"ec2_instance_type": "t4g.micro", "ec2_volume_size_gb": 100}, "17.78 US dollars a month"),
        ({"ec2_instance_type": "m7i.large"}, "unknown"),
    ],
)
def test_what_a_server_costs_is_never_guessed(variables: dict[str, Any], cost: str) -> None:
    assert str(value("ec2", "__ec2_cost", **variables)).startswith(cost)


@pytest.mark.parametrize(
    ("distribution", "version", "source", "package"),
    [
        ("Debian", "13.2", "distribution", "docker-compose"),
        ("Ubuntu", "22.04", "distribution", "docker-compose-v2"),
        ("Ubuntu", "24.04", "distribution", "docker-compose-v2"),
        ("Debian", "12.9", "docker", "docker-compose-plugin"),
        ("Ubuntu", "24.04", "docker", "docker-compose-plugin"),
    ],
)
def test_docker_packages_of_each_distribution(distribution: str, version: str, source: str, package: str) -> None:
    facts = {
        "distribution": distribution,
        "distribution_version": version,
        "distribution_major_version": version.split(".")[0],
    }
    assert package in value("docker", "__docker_packages", ansible_facts=facts, docker_source=source)


def test_nothing_depends_on_the_order_of_a_set() -> None:
    """Ansible's filters of set theory give their result in an order that differs from run to run."""
    filters = re.compile(r"\|\s*(?:intersect|difference|symmetric_difference|union)\((.*)")
    paths = [path for pattern in ("*.yml", "*.yaml", "*.j2") for path in ROLES.rglob(pattern)]
    found = [(path.relative_to(ROLES), rest) for path in paths for rest in filters.findall(path.read_text())]
    assert [one for one in found if not re.search(r"\| *(length|sort)\b", one[1])] == []


def test_nginx_main_site() -> None:
    text = render("nginx", "default.conf.j2", nginx_upstream="http://app:8000")
    plain, main = servers(text)
    assert "return 301 https://$host$request_uri;" in plain
    assert "listen 443 ssl default_server;" in main
    assert "server_name www 127.0.0.1 localhost 127.0.0.1;" in main
    assert "server app:8000 resolve max_fails=0;" in text
    assert "proxy_pass http://site_1;" in main
    assert "client_max_body_size 10m;" in main
    assert "Strict-Transport-Security" not in text
    assert "deny all;" not in text
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({}, "absent"),
        ({"miniweb_monitoring": True}, "present"),
        ({"nginx_exporter_state": "present"}, "present"),
        ({"nginx_exporter_state": "present", "nginx_state": "absent"}, "absent"),
    ],
)
def test_nginx_shows_its_state_where_its_exporter_is(given: dict[str, Any], state: str) -> None:
    assert value("nginx", "__nginx_exporter_state", **given) == state
    text = render("nginx", "default.conf.j2", nginx_upstream="http://app:8000", **given)
    assert ("stub_status" in text) is (state == "present")


@pytest.mark.parametrize("ipv6", [True, False])
def test_nginx_listens_on_ipv6_where_the_kernel_has_it(ipv6: bool) -> None:
    site = {"name": "grafana", "port": 3000, "upstream": "http://grafana:3000"}
    text = render("nginx", "default.conf.j2", nginx_upstream="http://app:8000", nginx_sites=[site], __nginx_ipv6=ipv6)
    listened = re.findall(r"listen (\S+?);? ", text)
    assert listened == [
        address for port in ("80", "443", "3000") for address in ([port, f"[::]:{port}"] if ipv6 else [port])
    ]


def test_nginx_reports_which_configuration_and_certificate_it_has_loaded() -> None:
    def loaded(host: str, certificate: str) -> str:
        given = {"nginx_upstream": f"http://{host}:8000", "__nginx_certificate": {"certificate": certificate}}
        (health,) = (file for file in value("nginx", "__nginx_files", **given) if file["dest"] == "conf.d/health.conf")
        (answer,) = re.findall(r"return 200 (\w+);", health["content"])
        return answer

    assert len({loaded("a", "1"), loaded("a", "2"), loaded("b", "1")}) == 3
    assert loaded("a", "1") == loaded("a", "1")


def test_nginx_upstream_with_tls_and_without_kept_connections() -> None:
    text = render(
        "nginx", "default.conf.j2", nginx_upstream="https://app.example.com:8443", nginx_upstream_keepalive_seconds=0
    )
    assert "proxy_pass https://site_1;" in text
    assert "server app.example.com:8443 resolve max_fails=0;" in text
    assert 'proxy_set_header Connection "close";' in text
    assert "keepalive 32" not in text
    assert "keepalive_timeout" not in text


def test_nginx_redirects_to_another_port() -> None:
    text = render("nginx", "default.conf.j2", nginx_upstream="http://app:8000", nginx_https_port=8443)
    assert "return 301 https://$host:8443$request_uri;" in text


@pytest.mark.parametrize(("port", "suffix"), [(443, ""), (8443, ":8443")])
def test_nginx_behind_a_balancer_serves_http_where_it_would_redirect(port: int, suffix: str) -> None:
    """The scenario asks it."""
    sites = [
        {"name": "second", "upstream": "http://b:1", "server_names": ["b.example.com"]},
        {"name": "third", "upstream": "http://c:1", "port": 3000},
    ]
    given = {"nginx_upstream": "http://app:8000", "nginx_https_port": port, "nginx_sites": sites}
    alone = render("nginx", "default.conf.j2", **given)
    assert not {"real_ip", "is_plain", "visited"} & set(re.findall(r"real_ip|is_plain|visited", alone))
    text = render("nginx", "default.conf.j2", **given, nginx_trusted_proxies=["10.0.0.0/8", "2001:db8::/64"])
    main, second, third = servers(text)
    for part, marks in ((main, " default_server"), (second, "")):
        assert f"listen 80{marks};" in part
        assert f"listen [::]:80{marks};" in part
        assert part.index("if ($is_plain)") < part.index("location /")
    assert "listen 80" not in third
    assert f'default "{suffix}";\n    1 "";' in text
    assert re.findall(r"set_real_ip_from (\S+);", text) == ["10.0.0.0/8", "2001:db8::/64"]
    assert "$http_host;" not in "".join((main, second, third))


@pytest.mark.parametrize(
    ("log", "lines", "everywhere"),
    [
        ("json", ["/dev/stdout miniweb buffer=4k flush=1s"], []),
        ("combined", ["/dev/stdout combined"], []),
        ("none", [], ["off"]),
    ],
)
@pytest.mark.parametrize("behind", [[], ["10.0.0.0/8"]])
def test_each_server_of_nginx_logs_alike(log: str, lines: list[str], everywhere: list[str], behind: list[str]) -> None:
    given = {
        "nginx_access_log": log,
        "nginx_trusted_proxies": behind,
        "nginx_upstream": "http://app:8000",
        "nginx_redirects": [{"names": ["old.example.com"], "to": "www.example.com"}],
        "nginx_sites": [{"name": "second", "upstream": "http://b:1", "port": 3000}],
    }
    text = render("nginx", "default.conf.j2", **given)
    assert [re.findall(r"access_log (.*);", part) for part in servers(text)] == [lines] * (3 if behind else 4)
    assert re.findall(r"^access_log (.*);", text, re.MULTILINE) == everywhere
    assert text.count("log_format") == (log == "json")
    # Of what is logged, nothing may be longer than a line can be, or has what follows "?".
    format_ = "".join(re.findall(r"log_format [^;]*", text))
    given_by_visitors = {"$request_uri", "$request", "$request_method", "$uri", "$args", "$host", "$remote_user"}
    assert not {
        name for name in re.findall(r"\$\w+", format_) if name in given_by_visitors or name.startswith("$http_")
    }
    assert ("$traced_id" in text) == bool(behind)


def test_nginx_extra_lines_are_where_they_hold_as_they_are_written() -> None:
    log = "log_format short '$remote_addr \"$request\" {{ $status }}';"
    sites = [
        {"name": "second", "upstream": "http://b:1", "port": 3000, "extra_lines": ["etag off;"]},
        {"name": "third", "upstream": "http://c:1", "port": 3001},
    ]
    given = {
        "nginx_upstream": "http://app:8000",
        "nginx_sites": sites,
        "nginx_extra_lines": ["if_modified_since before;"],
    }
    text = render("nginx", "default.conf.j2", **given, nginx_extra_http_lines=[log, "tcp_nopush on;"])
    # Before all else, so that servers can use what they define
    http, *_plain, main, second, third = re.split(r"^server \{$", text, flags=re.MULTILINE)
    assert f"\n{log}\ntcp_nopush on;\n" in http
    assert text.count(log) == text.count("tcp_nopush") == 1
    # In the server itself
    found = [
        re.findall(r"^    (if_modified_since .*|etag .*)$", part, re.MULTILINE) for part in (http, main, second, third)
    ]
    assert found == [[], ["if_modified_since before;"], ["etag off;"], []]
    assert text.count("if_modified_since") == text.count("etag off;") == 1


def test_nginx_admin_site() -> None:
    site = {"name": "grafana", "port": 3000, "upstream": "http://grafana:3000", "admin_only": True, "websocket": True}
    arguments = {"nginx_upstream": "http://app:8000", "nginx_sites": [site], "nginx_hsts_seconds": 60}
    text = render("nginx", "default.conf.j2", nginx_admin_addresses=["203.0.113.7", "2001:db8::/64"], **arguments)
    main, grafana = servers(text)[-2:]
    assert "listen 3000 ssl default_server;" in grafana
    assert re.findall(r"^    (?:allow|deny) (\S+);", grafana, re.MULTILINE) == [
        "203.0.113.7",
        "2001:db8::/64",
        "127.0.0.1",
        "all",
    ]
    assert "proxy_set_header Upgrade $http_upgrade;" in grafana
    assert "Upgrade" not in main
    assert 'max-age=60"' in main
    nobody = servers(render("nginx", "default.conf.j2", **arguments))[-1]
    assert re.findall(r"^    (?:allow|deny) (\S+);", nobody, re.MULTILINE) == ["127.0.0.1", "all"]


@pytest.mark.parametrize(
    ("site", "guarded"),
    [
        ({}, False),
        ({"admin_only": True}, True),
        ({"admin_only": "yes"}, True),
        ({"admin_only": True, "same_origin_only": False}, False),
        ({"same_origin_only": True}, True),
        ({"same_origin_only": "false", "admin_only": True}, False),
    ],
)
def test_nginx_guards_a_site_against_pages_of_other_websites(site: dict[str, Any], guarded: bool) -> None:
    given = {"name": "a", "port": 3000, "upstream": "http://a:1", **site}
    text = render("nginx", "default.conf.j2", nginx_upstream="http://app:8000", nginx_sites=[given])
    main, other = servers(text)[-2:]
    for part, wanted in ((main, False), (other, guarded)):
        assert ("if ($is_foreign)" in part) is wanted
        assert ("proxy_hide_header Access-Control-Allow-Origin;" in part) is wanted


PRODUCTION, STAGING = (f"https://acme-{kind}v02.api.letsencrypt.org/directory" for kind in ("", "staging-"))


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, PRODUCTION),
        ({"nginx_acme_staging": True}, STAGING),
        ({"nginx_acme_staging": "true"}, STAGING),
        ({"nginx_acme_staging": "false"}, PRODUCTION),
        (
            {"nginx_acme_staging": True, "nginx_acme_directory": "https://ca.example.com/directory"},
            "https://ca.example.com/directory",
        ),
    ],
)
def test_one_variable_has_everything_tried_with_the_staging_authority(given: dict[str, Any], url: str) -> None:
    files = value("nginx", "__nginx_renewal_files", nginx_acme_email="admin@example.com", **given)
    (settings,) = (json.loads(file["secret"]) for file in files if file["dest"].endswith("/settings.json"))
    assert (settings["kind"], settings["acme"]["directory_url"]) == ("acme", url)


USER = {"name": "alice", "password": "a-long-password"}


def user_files(**given: Any) -> dict[str, dict[str, Any]]:
    certificate = {"__nginx_certificate": {"certificate": "a certificate"}}
    files = value("nginx", "__nginx_files", nginx_upstream="http://app:8000", **certificate, **given)
    return {file["dest"]: file for file in files if file["dest"].startswith("conf.d/users/")}


def test_nginx_keeps_one_hash_of_a_password_for_its_worker_alone() -> None:
    site = {"name": "second", "upstream": "http://b:1", "port": 3000, "basic_auth_users": [USER]}
    given = {"nginx_basic_auth_users": [USER, {**USER, "name": "bob"}], "nginx_sites": [site]}
    files = user_files(**given)
    assert files == user_files(**given)
    assert list(files) == ["conf.d/users/1", "conf.d/users/2"]
    assert {(file["owner"], file["mode"], "content" in file) for file in files.values()} == {(101, "0400", False)}
    lines = "".join(file["secret"] for file in files.values()).splitlines()
    assert [line.split(":")[0] for line in lines] == ["alice", "bob", "alice"]
    hashes = [line.split(":")[1] for line in lines]
    assert len({found.split("$")[2] for found in hashes}) == 3, "each has a salt of its own"
    assert all(sha512_crypt.verify(USER["password"], found) for found in hashes)
    assert user_files(**given, inventory_hostname="other") != files


def test_nginx_asks_for_a_password_except_for_the_health_path_and_an_authority() -> None:
    given = {
        "nginx_upstream": "http://app:8000",
        "nginx_basic_auth_users": [USER],
        "nginx_health_path": "/healthz?deep=1",
        "nginx_sites": [{"name": "second", "upstream": "http://b:1", "port": 3000}],
        "nginx_acme_email": "a@example.com",
        "nginx_trusted_proxies": ["10.0.0.0/8"],
    }
    text = render("nginx", "default.conf.j2", **given)
    assert USER["password"] not in text
    main, second = servers(text)[-2:]
    locations = dict(re.findall(r"location ([^{]+) \{\n(.*?)\n    \}", main, re.DOTALL))
    open_ones = {path for path, lines in locations.items() if "auth_basic off;" in lines}
    assert open_ones == {"^~ /.well-known/acme-challenge/", "^~ /.miniweb-errors/", "= /healthz"}
    assert "internal;" in locations["^~ /.miniweb-errors/"]
    assert 'proxy_set_header Authorization "";' in locations["/"]
    assert "auth_basic_user_file" not in second
    assert "Authorization" not in second


def test_nginx_maintenance_of_one_site() -> None:
    site = {"name": "second", "upstream": "http://b:1", "port": 3000, "maintenance": True, "health_path": "/-/up.now"}
    allowed = {"nginx_maintenance_allowed": ["203.0.113.7", "2001:db8::/64"]}
    text = render("nginx", "default.conf.j2", nginx_upstream="http://app:8000", nginx_sites=[site], **allowed)
    main, second = servers(text)[-2:]
    assert "return 503" not in main
    assert second.index("if ($is_maintained_2)") < second.index("location")
    assert re.findall(r"^    ([0-9]\S+) 1;$", text, re.MULTILINE) == ["203.0.113.7", "2001:db8::/64"]
    assert '"~^0/\\-/up\\.now$" 0;' in text


def test_nginx_without_cookie_lists_passes_all_cookies() -> None:
    site = {"name": "a", "port": 3000, "upstream": "http://a:1"}
    text = render("nginx", "default.conf.j2", nginx_upstream="http://app:8000", nginx_sites=[site])
    assert "ookie" not in text


def test_grafana_dashboards_have_a_file_each() -> None:
    given = [{"name": "a", "content": '{"uid": "a"}'}, {"name": "b-2", "content": {"uid": "b"}}]
    files = value("grafana", "__grafana_extra_files", grafana_dashboards=given)
    assert [(file["dest"], file["reload"]) for file in files] == [
        ("dashboards/a.json", True),
        ("dashboards/b-2.json", True),
    ]


@pytest.mark.parametrize(("enabled", "served"), [(True, True), (False, False), ("false", False)])
def test_the_console_is_served_unless_it_is_switched_off(enabled: bool | str, served: bool) -> None:
    given = {"prometheus_console_enabled": enabled, "prometheus_extra_arguments": ["--query.timeout=1m"]}
    command = value("prometheus", "__prometheus_service.command", **given)
    assert ("--web.console.templates=/etc/prometheus/consoles" in command) == served
    assert command[-1] == "--query.timeout=1m"


CONSOLES = ROLES / "prometheus" / "files" / "consoles"


@pytest.mark.parametrize("name", sorted({path.name for path in CONSOLES.iterdir()} - {"index.html"}))
def test_the_consoles_parts_are_plain_and_load_nothing_from_elsewhere(name: str) -> None:
    """Prometheus passes them through its template engine, as parts of the page."""
    text = (CONSOLES / name).read_text()
    assert "{{" not in text
    assert "</" not in text
    assert set(re.findall(r"\w+://[^\"\s]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "innerHTML" not in text


def test_gunicorn_configuration_is_python() -> None:
    settings = {"accesslog": "-", "reuse_port": True, "backlog": 64, "logger_class": 'a "quoted" name'}
    given = {
        "flask_app_workers": 3,
        "flask_app_threads": 5,
        "flask_app_worker_class": "gthread",
        "flask_app_port": 9000,
        "flask_app_preload": "true",
    }
    text = render(
        "flask_app", "gunicorn.conf.py.j2", **given, flask_app_max_requests=1000, flask_app_gunicorn_settings=settings
    )
    found: dict[str, Any] = {}
    exec(compile(text, "gunicorn.conf.py", "exec"), found)
    assert settings.items() <= found.items()
    assert found["bind"] == "0.0.0.0:9000"
    assert (found["workers"], found["threads"], found["worker_class"]) == (3, 5, "gthread")
    assert (found["max_requests"], found["max_requests_jitter"]) == (1000, 100)
    assert found["preload_app"] is True
    assert callable(found["on_starting"])


def test_what_workers_share_is_out_of_reach_of_their_garbage_collectors() -> None:
    """Read by a process that ends, because the tests' own collector is to go on."""
    text = render("flask_app", "gunicorn.conf.py.j2")
    show = "import gc, sys; exec(sys.argv[1]); pre_fork(None, None); print(gc.get_freeze_count() > 0)"
    done = subprocess.run([sys.executable, "-c", show, text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize(
    ("given", "callable_name", "worker"),
    [
        ({"wsgi": "wsgi:app", "asgi": ""}, "wsgi:app", "gthread"),
        ({"wsgi": "", "asgi": "main:app"}, "main:app", "uvicorn_worker.UvicornWorker"),
    ],
)
def test_the_worker_is_one_for_the_kind_of_application(given: dict[str, str], callable_name: str, worker: str) -> None:
    declared = {"flask_app_declared": {**given, "preload": False}}
    assert value("flask_app", "__flask_app_callable", **declared) == callable_name
    found: dict[str, Any] = {}
    exec(compile(render("flask_app", "gunicorn.conf.py.j2", **declared), "gunicorn.conf.py", "exec"), found)
    assert (found["worker_class"], found["threads"]) == (worker, 4 if worker == "gthread" else 1)


def settings_of(unit: str) -> dict[tuple[str, str], str]:
    """A unit's settings by their section and name; each may be there once."""
    found: dict[tuple[str, str], str] = {}
    section = ""
    for line in (line for line in unit.splitlines() if line and not line.startswith("#")):
        if line.startswith("["):
            section = line.strip("[]")
            continue
        name, _, given = line.partition("=")
        assert (section, name) not in found, line
        found[section, name] = given
    return found


def test_a_scheduled_command_never_runs_twice_at_a_time() -> None:
    """systemd starts a unit again only once its program has ended, if the unit is "activating" until then."""
    command = {"key": "cleanup", "value": {"at": "daily", "command": ["a"], "timeout_minutes": 5, "memory_mb": 0}}
    given = {"__flask_app_scheduled": command, "flask_app_name": "shop"}
    files = {file["dest"]: file["content"] for file in value("flask_app", "__flask_app_scheduled_files", **given)}
    units = {path.rpartition("/")[2]: settings_of(text) for path, text in files.items() if path.startswith("/etc/")}
    assert set(units) == {"miniweb-shop_cleanup.service", "miniweb-shop_cleanup.timer"}
    service, timer = units["miniweb-shop_cleanup.service"], units["miniweb-shop_cleanup.timer"]
    assert service["Service", "Type"] == "oneshot"
    assert not {"Restart", "RemainAfterExit"} & {name for _section, name in service}
    # One timer starts this one unit, by the calendar alone.
    assert {name for section, name in timer if section == "Timer"} == {"OnCalendar", "AccuracySec", "Persistent"}
    assert timer["Timer", "OnCalendar"] == "daily"


def test_wait_for_ends_when_everything_answers_or_time_is_up() -> None:
    exec(compile(render("flask_app", "wait_for.py.j2"), "wait_for.py", "exec"), {})
    given = {"flask_app_wait_for": ["127.0.0.1:1"], "flask_app_wait_timeout_seconds": 0}
    with pytest.raises(SystemExit, match="127.0.0.1:1 does not answer within 0 s"):
        exec(compile(render("flask_app", "wait_for.py.j2", **given), "wait_for.py", "exec"), {})


def test_the_application_is_measured_where_it_says() -> None:
    given = {"flask_app_name": "shop", "flask_app_port": 9000, "flask_app_metrics_path": "/internal/metrics"}
    job = value("flask_app", "__flask_app_job", **given)
    assert job == {
        "job_name": "shop",
        "metrics_path": "/internal/metrics",
        "static_configs": [{"targets": ["shop:9000"], "labels": {"instance": "www"}}],
    }


UVICORN = {"flask_app_worker_class": "uvicorn_worker.UvicornWorker", "flask_app_asgi": "main:app"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"flask_app_external_url": "https://www.example.com"}, ("www.example.com", "https")),
        ({"flask_app_external_url": "https://www.example.com:8443/"}, ("www.example.com:8443", "https")),
        ({"flask_app_external_url": "http://[2001:db8::1]:8080"}, ("[2001:db8::1]:8080", "http")),
        ({"flask_app_external_url": "https://www.example.com", "flask_app_worker_class": "tornado"}, None),
        ({"flask_app_external_url": "https://www.example.com", **UVICORN}, ("www.example.com", "https")),
        ({"flask_app_external_url": "", **UVICORN}, None),
        ({"flask_app_external_url": ""}, None),
    ],
)
def test_prometheus_is_answered_as_if_a_visitor_had_asked(
    tmp_path: Path, given: dict[str, Any], told: tuple[str, str] | None
) -> None:
    settings = tmp_path / "gunicorn.conf.py"
    settings.write_text(render("flask_app", "gunicorn.conf.py.j2", flask_app_metrics_path="/metrics", **given))
    answered: list[tuple[str, str, str]] = []

    def wsgi(environ: dict[str, Any], start_response: Any) -> None:
        proto = environ.get("HTTP_X_FORWARDED_PROTO", "none")
        answered.append((environ["HTTP_HOST"], environ["wsgi.url_scheme"], proto))

    async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        answered.append((headers["host"], scope["scheme"], headers.get("x-forwarded-proto", "none")))

    worker = SimpleNamespace(wsgi=asgi if "flask_app_asgi" in given else wsgi)
    runpy.run_path(str(settings)).get("post_worker_init", lambda _worker: None)(worker)
    for path, proto in (("/metrics", ""), ("/", ""), ("/metrics", "ftp")):
        if "flask_app_asgi" in given:
            headers = [(b"host", b"app:8000"), *([(b"x-forwarded-proto", proto.encode())] if proto else [])]
            scope = {"type": "http", "path": path, "scheme": "http", "headers": headers}
            asyncio.run(worker.wsgi(scope, None, None))
        else:
            environ = {"PATH_INFO": path, "HTTP_HOST": "app:8000", "wsgi.url_scheme": "http"}
            worker.wsgi(environ | ({"HTTP_X_FORWARDED_PROTO": proto} if proto else {}), None)
    as_asked = ("app:8000", "http", "none")
    assert answered == [(*told, told[1]) if told else as_asked, as_asked, ("app:8000", "http", "ftp")]


# Answers with what it was asked for: /to/<URL> with a redirect to it, and all else with that status.
STRICT = """
def app(environ, start_response):
    host, path = environ["HTTP_HOST"], environ["PATH_INFO"]
    if host not in ("www.example.com", "www.example.com:8443"):
        start_response("400 Bad Request", [])
        return [b"this host is not served"]
    secure = environ.get("HTTP_X_FORWARDED_PROTO") == "https"
    location = path.removeprefix("/to/") if path.startswith("/to/") else "" if secure else f"https://{host}{path}"
    location = path if path == "/again" else location
    start_response("302 Found" if location else path.strip("/") + " said", [("Location", location)] if location else [])
    return [b"the text"]
"""


@pytest.fixture(scope="module")
def strict() -> Iterator[int]:
    """The port of an application that checks Host and forces HTTPS."""
    found: dict[str, Any] = {}
    exec(STRICT, found)
    server = make_server("127.0.0.1", 0, found["app"], handler_class=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


class Quiet(WSGIRequestHandler):
    def log_message(self, *given: Any) -> None:
        """Print nothing."""


@pytest.mark.parametrize(
    ("url", "path", "said"),
    [
        ("https://www.example.com", "/200", ""),
        ("https://www.example.com/", "/200", ""),
        ("https://www.example.com:8443", "/204?deep=1", ""),
        ("https://www.example.com", "/503", "https://www.example.com/503 gives 503 said: the text"),
        ("https://www.example.com", "/to//200", ""),
        ("https://www.example.com", "/to//500", "https://www.example.com/500 gives 500 said: the text"),
        ("https://www.example.com", "/to/https://www.example.com/500", "gives 500"),
        ("https://www.example.com", "/to/https://login.example.com/500", ""),
        ("https://www.example.com", "/again", "redirects again and again, at last to https://www.example.com/again"),
        ("http://www.example.com", "/200", ""),
        ("https://other.example.com", "/200", "https://other.example.com/200 gives 400"),
        ("", "/200", "gives 400 Bad Request: this host is not served"),
    ],
)
def test_the_health_check_asks_as_the_proxy_does(strict: int, url: str, path: str, said: str) -> None:
    given = {"flask_app_port": strict, "flask_app_external_url": url, "flask_app_health_path": path}
    program = render("flask_app", "health.py.j2", **given)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stderr) == (1 if said else 0, True), done.stderr
    assert len(done.stderr.splitlines()) == (1 if said else 0)


def test_the_health_check_names_an_application_that_does_not_answer() -> None:
    program = render("flask_app", "health.py.j2", flask_app_port=1)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("http://127.0.0.1:1/ gives no answer: ")) == (1, True)


def test_what_prometheus_lets_blackbox_exporter_ask() -> None:
    targets = [
        {"url": "https://host.docker.internal:443/healthz", "instance": "https://www.example.com"},
        {"url": "http://other:80/", "module": "plain"},
    ]
    text = render("blackbox_exporter", "jobs.yml.j2", blackbox_exporter_targets=targets)
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("blackbox", "/probe")
    assert job["static_configs"] == [
        {
            "targets": ["https://host.docker.internal:443/healthz"],
            "labels": {"instance": "https://www.example.com", "__param_module": "http_2xx"},
        },
        {"targets": ["http://other:80/"], "labels": {"instance": "http://other:80/", "__param_module": "plain"}},
    ]
    assert job["relabel_configs"][-1] == {"target_label": "__address__", "replacement": "blackbox_exporter:9115"}
    assert yaml.safe_load(render("blackbox_exporter", "jobs.yml.j2"))["scrape_configs"][0]["static_configs"] == []


def test_a_site_with_a_particular_certificate_is_probed_with_any_one_too() -> None:
    strict = {"ca_file": "/nginx.pem", "server_name": "www"}
    http = {"headers": {"Host": "www"}, "tls_config": strict}
    modules = {"http_2xx": {"prober": "http", "http": http}, "plain": {"prober": "http"}, "tcp": {"prober": "tcp"}}
    targets = [{"url": "https://a/"}, {"url": "http://b/", "module": "plain"}]
    given = {"blackbox_exporter_modules": modules, "blackbox_exporter_targets": targets}
    config = yaml.safe_load(value("blackbox_exporter", "__blackbox_exporter_config", **given)[0]["secret"])["modules"]
    assert {name: config[name] for name in modules} == modules
    assert set(config) - set(modules) == {"http_2xx_any_certificate"}
    assert config["http_2xx_any_certificate"]["http"] == {
        "headers": {"Host": "www"},
        "tls_config": {"ca_file": "", "insecure_skip_verify": True, "server_name": "www"},
    }
    first, second = yaml.safe_load(render("blackbox_exporter", "jobs.yml.j2", **given))["scrape_configs"]
    assert [len(job["static_configs"]) for job in (first, second)] == [2, 1]
    assert second["job_name"] == "blackbox_any_certificate"
    assert second["static_configs"][0]["labels"] == {
        "instance": "https://a/",
        "__param_module": "http_2xx_any_certificate",
        # ServerDown counts the targets of an instance.
        "monitoring": "true",
    }
    assert second["relabel_configs"] == first["relabel_configs"]


@pytest.mark.parametrize(
    ("role", "given", "jobs"),
    [
        ("alert_responder", {}, {"alert_responder"}),
        ("alertmanager", {}, {"alertmanager"}),
        ("blackbox_exporter", {}, set()),
        ("blackbox_exporter", {"blackbox_exporter_targets": [{"url": "https://a/"}]}, {"blackbox"}),
        ("flask_app", {"flask_app_name": "shop", "flask_app_metrics_path": "/metrics"}, {"shop"}),
        ("grafana", {}, {"grafana"}),
        ("mysql", {}, {"mysql"}),
        ("nginx", {}, {"nginx"}),
        ("node_exporter", {}, {"node"}),
        ("prometheus", {}, {"prometheus"}),
        (
            "prometheus",
            {"prometheus_scrape_configs": [{"job_name": "own", "static_configs": [{"targets": ["a:1"]}]}]},
            {"prometheus", "own"},
        ),
        ("redis", {}, {"redis"}),
    ],
)
def test_every_service_with_a_job_says_that_it_is_expected(role: str, given: dict[str, Any], jobs: set[str]) -> None:
    names = {
        "alert_responder": "__alert_responder_contributions",
        "flask_app": "__flask_app_measured",
        "grafana": "__grafana_measured",
        "nginx": "__nginx_exporter_contributions",
        "mysql": "__mysql_exporter_contributions",
        "redis": "__redis_exporter_contributions",
    }
    if role == "prometheus":
        files = value(role, "__prometheus_config_files", **given)
        text = next(file["content"] for file in files if file["dest"] == "config/rules/default.yml")
    else:
        left = value(role, names.get(role, f"__{role}_contributions"), **{"alert_responder_password": "x" * 20} | given)
        text = next(file["content"] for file in left if file["ext"] == "rules.yml")
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    found = [rule["labels"] for rule in rules if rule.get("record") == "scrape_job_expected"]
    assert {labels["job"] for labels in found} == jobs
    assert {labels["instance"] for labels in found} <= {"www"}


@pytest.mark.parametrize(
    ("file", "installs"),
    [
        ("requirements.txt", "pip install --requirement requirements.txt\n"),
        ("requirements-c.txt", "pip install --requirement requirements-c.txt\n"),
        ("uv.lock", "uv sync --locked --no-dev --inexact\n"),
        ("poetry.lock", "poetry export --only main"),
        ("pyproject.toml", "pip install .\n"),
    ],
)
def test_dockerfile(file: str, installs: str) -> None:
    given = {"flask_app_base_image": "python:3.14.1-slim", "flask_app_requirements_file": file}
    text = render("flask_app", "Dockerfile.j2", **given)
    instructions = [line.split()[0] for line in text.splitlines() if line and not line.startswith(" ")]
    assert set(instructions) <= {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER"}
    assert text.startswith("FROM python:3.14.1-slim AS build\n")
    assert text.rstrip().endswith("USER 10001:10001")
    build, run = text.split("\n\n")
    assert installs in build
    assert "/tools" not in run
    assert "apt-get" not in text
    assert "PIP_CERT" not in text


def test_dockerfile_with_arguments() -> None:
    arguments = {"INDEX": 'a "b" $c \\d', "NUMBER": 3}
    build, run = render("flask_app", "Dockerfile.j2", flask_app_build_arguments=arguments).split("\n\n")
    assert build.splitlines()[1:3] == [r'ARG INDEX="a \"b\" \$c \\d"', 'ARG NUMBER="3"']
    assert "ARG" not in run


def test_dockerfile_with_packages_and_certificates() -> None:
    text = render(
        "flask_app",
        "Dockerfile.j2",
        flask_app_requirements_file="requirements.txt",
        flask_app_build_packages=["gcc", "libc6-dev"],
        flask_app_system_packages=["libpq5"],
        flask_app_pip_ca_bundle="bundle.pem",
        flask_app_worker_class="gevent",
    )
    build, run = text.split("\n\n")
    assert "--no-install-recommends gcc libc6-dev\n" in build
    assert "ENV PIP_CERT=/ca-bundle.pem SSL_CERT_FILE=/ca-bundle.pem" in build
    assert "pip install gevent" in build
    assert "libpq5 \\\n && rm -rf" in run
    text = render("flask_app", "Dockerfile.j2", flask_app_worker_class="uvicorn_worker.UvicornWorker")
    assert 'RUN python -c "import uvicorn_worker" || pip install uvicorn-worker\n' in text
    assert "PIP_CERT" not in run


def test_mysql_configuration() -> None:
    given = {"mysql_innodb_buffer_pool_mb": 256, "mysql_max_connections": 61, "mysql_performance_schema": True}
    text = render("mysql", "miniweb.cnf.j2", **given, mysql_settings={"sort_buffer_size": "1M"})
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "[mysqld]"
    values = dict(line.split(" = ") for line in lines[1:])
    assert values["innodb_buffer_pool_size"] == "256M"
    assert values["performance_schema"] == "ON"
    assert values["sort_buffer_size"] == "1M"
    assert values["max_connections"] == "61"


def read_by_mysql(text: str) -> str:
    """What MySQL reads in quotes, in SQL and in option files alike."""
    return re.sub(r"\\(.)", r"\1", text)


@pytest.mark.parametrize(
    "password", ["it's-a-long-secret", 'a "b" c', "a\\b\\\\c\\", "a\\'b", "$HOME %d # ñ€", "plain1"]
)
def test_mysql_gets_passwords_that_its_image_can_put_in_quotes(password: str) -> None:
    secrets = value("mysql", "__mysql_secrets", mysql_root_password=password, mysql_password=password)
    content = {secret["name"]: secret["content"] for secret in secrets}
    for name in ("initial_root_password", "initial_password"):
        for quote in ("'", '"'):
            assert re.fullmatch(rf"(?:[^\\{quote}]|\\.)*", content[name]), name
        assert read_by_mysql(content[name]) == password
    assert content["password"] == password


@pytest.mark.parametrize("password", ["$HOME ${HOME} $$ $", 'it\'s "a" \\ # ;', "ñ€", "plain"])
def test_mysqls_exporter_gets_its_password_through_the_variables_that_it_replaces(password: str) -> None:
    (secret,) = value("mysql", "__mysql_exporter_secrets", mysql_exporter_password=password)
    environment = value("mysql", "__mysql_exporter_service")["environment"]
    (given,) = re.findall("password=`(.*)`", secret["content"])
    assert re.sub(r"\$\{(\w+)\}|\$\w*", lambda found: environment.get(found[1], ""), given) == password


def test_mysql_option_file_quotes() -> None:
    text = render("mysql", "client.cnf.j2", __mysql_login={"user": "app", "password": 'a"b\\c'})
    assert text == '[client]\nuser="app"\npassword="a\\"b\\\\c"\n'


@pytest.mark.parametrize(
    ("service_manager", "enabled", "measured"),
    [("systemd", True, True), ("systemd", "false", False), ("sysvinit", True, False)],
)
def test_containers_are_measured_where_there_is_systemd(
    service_manager: str, enabled: bool | str, measured: bool
) -> None:
    given = {"ansible_facts": {"service_mgr": service_manager}, "node_exporter_containers_enabled": enabled}
    found = value("node_exporter", "__node_exporter_containers", **given)
    assert found is measured
    assert value("node_exporter", "__node_exporter_containers", **given, node_exporter_state="absent") is False


def job(role: str, **given: Any) -> dict[str, Any]:
    """The scrape job that a role contributes, or in Prometheus's case has."""
    name = "self" if role == "prometheus" else "job"
    found = value(role, f"__{role}_{name}", **given)
    assert found["static_configs"][0]["labels"]["instance"] == "www"
    return dict(found)


def test_the_server_is_scraped_with_password_and_certificate_whatever_their_names() -> None:
    given = {"node_exporter_listen_address": "10.0.0.5:9200", "node_exporter_username": "somebody"}
    found = job("node_exporter", **given, node_exporter_certificate_names=["server.example", "localhost"])
    assert found["job_name"] == "node"
    assert found["static_configs"][0]["targets"] == ["10.0.0.5:9200"]
    assert found["basic_auth"]["username"] == "somebody"
    assert found["tls_config"]["server_name"] == "server.example"
    assert "monitoring" not in found["static_configs"][0]["labels"]


@pytest.mark.parametrize(
    ("given", "listens", "scraped", "checked"),
    [
        ({}, "host.docker.internal:9100", "host.docker.internal:9100", "host.docker.internal:9100"),
        (
            {"node_exporter_listen_address": "host-gateway:9200"},
            "host.docker.internal:9200",
            "host.docker.internal:9200",
            "host.docker.internal:9200",
        ),
        (
            {"node_exporter_listen_address": "0.0.0.0:9100"},
            "0.0.0.0:9100",
            "host.docker.internal:9100",
            "127.0.0.1:9100",
        ),
        ({"node_exporter_listen_address": "10.0.0.5:9100"}, "10.0.0.5:9100", "10.0.0.5:9100", "10.0.0.5:9100"),
    ],
)
def test_node_exporter_is_scraped_and_checked_where_it_listens(
    given: dict[str, Any], listens: str, scraped: str, checked: str
) -> None:
    service = value("node_exporter", "__node_exporter_service", **given)
    assert f"--web.listen-address={listens}" in service["command"]
    assert f"http://{checked}/ " in service["healthcheck"]["test"][1]
    assert service["extra_hosts"] == ["host.docker.internal:host-gateway"]
    assert job("node_exporter", **given)["static_configs"][0]["targets"] == [scraped]


@pytest.mark.parametrize("role", ["alertmanager", "prometheus"])
def test_what_runs_beside_prometheus_says_nothing_about_the_server(role: str) -> None:
    assert job(role)["job_name"] == role
    assert job(role)["static_configs"][0]["labels"]["monitoring"] == "true"


@pytest.mark.parametrize("role", ["alertmanager", "prometheus"])
def test_alerts_are_taken_from_every_service_and_none_is_named(role: str) -> None:
    roles = {path.parts[-3] for path in ROLES.glob("*/meta/service.yml")}
    # Grafana shows the dashboards that they contribute.
    others = roles - {"alertmanager", "docker", "grafana", "miniweb", "prometheus"}
    named = re.compile(rf"\b({'|'.join(sorted(others))})", re.IGNORECASE)
    for path in sorted((ROLES / role).rglob("*")):
        # Test cases of rules need example services.
        if path.is_file() and path.parent.name != "tests":
            assert named.findall(path.read_text()) == [], path


def test_the_containers_service_writes_nothing_but_its_file() -> None:
    given = {"node_exporter_textfile_directory": "/srv/metrics"}
    service = render("node_exporter", "miniweb-container-metrics.service.j2", **given)
    assert "container_metrics.py /srv/metrics/containers.prom\n" in service
    assert re.findall(r"^ReadWritePaths=(.*)$", service, re.MULTILINE) == ["/srv/metrics"]
    timer = render("node_exporter", "miniweb-container-metrics.timer.j2", node_exporter_containers_interval="30")
    assert "OnUnitActiveSec=30\n" in timer
    arguments = value("node_exporter", "__node_exporter_arguments", **given)
    assert "--collector.textfile.directory=/host/srv/metrics" in arguments


BRIDGE = {"ansible_facts": {"ansible_docker0": {"ipv4": {"address": "10.9.0.1"}}}}


def responder(**given: Any) -> tuple[str, str]:
    """The service and the socket of the alert responder."""
    return (
        render("alert_responder", "miniweb-alert-responder.service.j2", **given),
        render("alert_responder", "miniweb-alert-responder.socket.j2", **given),
    )


def test_the_responder_does_nothing_by_default() -> None:
    service, listener = responder()
    command = re.sub(r" \\\n *", " ", service)
    assert "--instance www --username alertmanager " in command
    assert command.count("--actions prune_images restart_container --images /opt/miniweb/images.json ") == 1
    assert command.count("--prune-older-than-hours 24 --limit 3 ") == 1
    assert "--limit-window-minutes 60 --dry-run\n" in command
    assert "ListenStream=172.17.0.1:9095\n" in listener
    service, dummy = responder(alert_responder_dry_run="false", alert_responder_actions=["restart_container"])
    assert "--dry-run" not in service
    assert "--actions restart_container \\\n" in service


@pytest.mark.parametrize(
    ("given", "address", "asked"),
    [
        ({"__alert_responder_bridge": BRIDGE}, "10.9.0.1", "host.docker.internal"),
        (
            {"__alert_responder_bridge": {"skipped": True}, "alert_responder_listen_address": "192.0.2.7"},
            "192.0.2.7",
            "192.0.2.7",
        ),
    ],
)
def test_where_the_responder_listens(given: dict[str, Any], address: str, asked: str) -> None:
    assert f"ListenStream={address}:9095\n" in responder(**given)[1]
    assert job("alert_responder", **given)["static_configs"][0]["targets"] == [f"{asked}:9095"]
