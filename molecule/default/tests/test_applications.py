"""The second application on the same server, as its visitors and its neighbour see it."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers.authority import NAMES, Authority, trusted
from helpers.playbooks import Converge, RunPlaybook, changed, folded
from helpers.prometheus import values
from helpers.server import ADDRESS, ROOT, SERVER
from helpers.waiting import eventually
from helpers.web import curl, json_from, status
from testinfra.host import Host
from websockets.sync.client import connect

NAME = "notes.example.com"
URL = f"https://{NAME}"
AT = ("--resolve", f"{NAME}:443:{ADDRESS}")
EVENTS_NAME = "events.example.com"
EVENTS_URL = f"https://{EVENTS_NAME}"
AT_EVENTS = ("--resolve", f"{EVENTS_NAME}:443:{ADDRESS}")
INVENTORY = Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent
NOTES, EVENTS = yaml.safe_load((INVENTORY / "host_vars" / SERVER).read_text())["miniweb_applications"]
# As the application's own account, over the network
DATABASES = """
import os, pymysql
connection = pymysql.connect(host=os.environ['DATABASE_HOST'], user=os.environ['DATABASE_USER'],
    password=os.environ.get('DATABASE_PASSWORD') or open(os.environ['DATABASE_PASSWORD_FILE']).read(), ssl={'ssl': {}}, ssl_verify_cert=False)
with connection.cursor() as cursor:
    cursor.execute('SHOW DATABASES')
    print(','.join(sorted(name for name, in cursor if not name.endswith('_schema'))))
"""


def notes() -> list[str]:
    return json_from(*AT, f"{URL}/")["notes"]


@pytest.fixture(scope="module")
def note() -> str:
    """A note that a visitor has left."""
    assert status(*AT, "--data", "from a visitor", f"{URL}/") == "201"
    return "from a visitor"


def test_each_name_leads_to_its_own_application(note: str) -> None:
    assert note in notes()
    assert "notes" not in json_from(f"https://{ADDRESS}/healthz")
    assert status(*AT, f"{URL}/healthz") == "404"


def test_the_certificate_has_the_name(host: Host) -> None:
    names = host.check_output("openssl x509 -noout -ext subjectAltName -in /opt/miniweb/nginx/tls/certificate.pem")
    assert f"DNS:{NAME}" in names


def test_neither_reaches_the_others_database_or_secrets(host: Host) -> None:
    for name, own in {"app": "miniwebapp", "notes": "notes"}.items():
        container = f"miniweb-{name}-{name}-1"
        launched = "docker exec %s python /etc/gunicorn/launch.py python -c %s"
        assert host.check_output(launched, container, DATABASES) == own
    assert "admin_password" in host.check_output("docker exec miniweb-app-app-1 ls /run/secrets")
    assert "admin_password" not in host.check_output("docker exec miniweb-notes-notes-1 ls /run/secrets")
    limits = "docker inspect --format '{{.HostConfig.Memory}}' miniweb-events-events-1"
    assert host.check_output(limits) == str(160 * 1024**2)
    # What the scenario sets for the first one
    assert "SAMPLE_USERS" not in host.check_output("docker exec miniweb-notes-notes-1 env")


def test_a_command_runs_in_the_application_that_is_named(run_playbook: RunPlaybook) -> None:
    done = run_playbook(ROOT / "playbooks" / "run.yml", {"flask_app_name": "notes", "command": "flask routes"})
    assert done.returncode == 0
    assert "static" in done.stdout and "healthz" not in done.stdout


def probes() -> dict[str, str]:
    return values("probe_success{job='blackbox'}", "instance")


def test_it_is_probed_under_its_own_name() -> None:
    assert eventually(lambda: probes().get(URL) == "1")
    assert set(probes().values()) == {"1"}


def test_each_is_measured_apart_and_for_prometheus_alone() -> None:
    def requests() -> dict[str, str]:
        return values("sum by (job) (http_requests_total{route='/'})", "job")

    assert status(f"https://{ADDRESS}/") == "302"
    assert eventually(lambda: requests().keys() == {"app", "events"})
    before = requests()
    for _visit in range(3):
        assert status(*AT_EVENTS, f"{EVENTS_URL}/") == "200"
    assert eventually(lambda: int(requests()["events"]) >= int(before["events"]) + 3)
    assert requests()["app"] == before["app"]
    assert eventually(lambda: {"app", "events"} <= values("instance:http_requests:rate5m", "job").keys())
    assert status(*AT_EVENTS, f"{EVENTS_URL}/metrics") == "404"


def test_websockets_and_events_of_an_asgi_application_pass_through_nginx() -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with connect(
        f"wss://{EVENTS_NAME}/echo",
        sock=socket.create_connection((ADDRESS, 443)),
        ssl=trusting,
        server_hostname=EVENTS_NAME,
    ) as connection:
        for text in ("first", "second"):
            connection.send(text)
            assert connection.recv(timeout=20) == text
    # The stream does not end, and what has been sent is too little to fill a buffer.
    words = ["curl", "-skN", "--max-time", "20", *AT_EVENTS, f"{EVENTS_URL}/events"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout
        assert [events.stdout.readline() for _line in range(3)] == ["data: 0\n", "\n", "data: 1\n"]
        events.kill()


def test_one_that_serves_one_host_and_only_over_https_works_behind_a_load_balancer(host: Host, site: Converge) -> None:
    assert status(*AT_EVENTS, f"{EVENTS_URL}/") == "200"
    # The server itself is the load balancer.
    assert site({"nginx_trusted_proxies": ["172.16.0.0/12"]}, "--tags", "nginx").returncode == 0

    def answer(scheme: str, name: str) -> str:
        headers = f"-H 'Host: {name}' -H 'X-Forwarded-Proto: {scheme}' -H 'X-Forwarded-For: 192.0.2.1'"
        return host.check_output(
            f"curl -s -o /dev/null -w '%{{http_code}} %{{redirect_url}}' {headers} http://localhost/"
        )

    assert eventually(lambda: answer("https", EVENTS_NAME) == "200 ")
    assert answer("http", EVENTS_NAME) == f"301 {EVENTS_URL}/"
    assert eventually(lambda: set(probes().values()) == {"1"})


def test_all_names_have_a_certificate_of_an_authority_after_one_run(
    host: Host, site: Converge, authority: Authority
) -> None:
    assert site(authority.variables).returncode == 0
    assert all(trusted(host, name) for name in (*NAMES, NAME, EVENTS_NAME))
    ends = 'date --date "$(openssl x509 -noout -enddate -in %s | cut -d = -f 2)" +%%s'
    expiry = int(host.check_output(ends, "/opt/miniweb/nginx/tls/certificate.pem"))

    def expiries() -> set[int]:
        found = values("probe_ssl_earliest_cert_expiry{job='blackbox'}", "instance")
        return {int(float(value)) for value in found.values()}

    assert eventually(lambda: expiries() == {expiry})
    assert probes() == dict.fromkeys((f"https://{ADDRESS}", URL, EVENTS_URL), "1")


def test_its_command_runs_in_its_own_container(host: Host) -> None:
    assert host.check_output("systemctl is-active miniweb-notes_routes.timer") == "active"
    host.check_output("systemctl start miniweb-notes_routes.service")
    result = host.check_output("cat /var/lib/node_exporter/textfile/miniweb-notes_routes.prom")
    assert 'miniweb_scheduled_command_failed{application="notes",name="routes"} 0' in result.splitlines()


def test_it_is_removed_alone_and_comes_back_with_its_data(host: Host, site: Converge, note: str) -> None:
    first = host.check_output("docker inspect --format '{{.Id}}' miniweb-app-app-1")
    assert changed(site({"miniweb_applications": [{**NOTES, "flask_app_state": "absent"}, EVENTS]}, "--tags", "app"))
    assert host.run("docker inspect miniweb-notes-notes-1").rc != 0
    assert not host.file("/opt/miniweb/notes").exists
    assert not host.file("/etc/systemd/system/miniweb-notes_routes.timer").exists
    assert status(f"https://{ADDRESS}/readyz") == "200"
    assert changed(site({}, "--tags", "app"))
    assert eventually(lambda: note in notes())
    assert host.check_output("docker inspect --format '{{.Id}}' miniweb-app-app-1") == first


def test_what_is_given_for_one_run_holds_for_the_first_one_only(host: Host, site: Converge) -> None:
    def environment(name: str) -> dict[str, str]:
        listed = json.loads(host.check_output("docker inspect --format '{{json .Config.Env}}' %s", name))
        return dict(one.partition("=")[::2] for one in listed)

    assert changed(site({"flask_app_environment": {"SAMPLE_USERS": "true", "NOTICE": "hello"}}, "--tags", "app"))
    assert environment("miniweb-app-app-1")["NOTICE"] == "hello"
    assert "NOTICE" not in environment("miniweb-notes-notes-1")


def test_a_broken_one_stops_the_run_and_neither_takes_over_nor_touches_the_other(host: Host, site: Converge) -> None:
    done = site({"miniweb_applications": [EVENTS, {**NOTES, "flask_app_wsgi": "app:nothing"}]}, "--tags", "app")
    assert done.returncode != 0
    assert "before_start: a command failed" in folded(done.stdout)
    assert curl(*AT, f"{URL}/").startswith("{")
    assert status(f"https://{ADDRESS}/readyz") == "200"


def test_a_second_of_the_same_name_is_refused_before_anything_changes(site: Converge) -> None:
    done = site({"miniweb_applications": [NOTES, NOTES]})
    assert done.returncode != 0
    assert "the services are app, notes, notes; give each application a name that no other one has" in folded(
        done.stdout
    )
    assert "nginx_server_names, nginx_sites, nginx_redirects: the names are" in folded(done.stdout)
