"""Alertmanager as those see it who are called: delivery, ends, grouping, inhibition, silence, heartbeat, refusals."""

from __future__ import annotations

import base64
import json
import shlex
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from asking import Converge, Service, default_of, eventually
from testinfra.host import Host

ALERTMANAGER = Service("alertmanager")
IMAGE = default_of("flask_app", "flask_app_base_image")

# Takes what is sent to it over HTTP and SMTP, and shows it at /got.
RECEIVER = """
import http.server, json, socketserver, threading
got = []
class Http(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        got.append({"to": self.path, "authorization": self.headers.get("Authorization"), "body": body})
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(json.dumps(got).encode())
class Smtp(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 receiver\\r\\n")
        to, body = [], []
        for line in self.rfile:
            word = line[:4].upper()
            if word == b"RCPT": to.append(line.decode().strip())
            if word == b"DATA":
                self.wfile.write(b"354 go on\\r\\n")
                for text in iter(self.rfile.readline, b".\\r\\n"): body.append(text.decode())
                got.append({"to": " ".join(to), "authorization": None, "body": "".join(body)})
            self.wfile.write(b"221 bye\\r\\n" if word == b"QUIT" else b"250 receiver\\r\\n")
            if word == b"QUIT": break
threading.Thread(target=socketserver.ThreadingTCPServer(("", 2525), Smtp).serve_forever).start()
http.server.ThreadingHTTPServer(("", 8000), Http).serve_forever()
"""


@pytest.fixture(scope="module", autouse=True)
def receiver(host: Host) -> Iterator[None]:
    host.run("docker rm --force receiver")
    command = "docker run --detach --name receiver --network miniweb-monitor %s python3 -c %s"
    host.check_output(command, IMAGE, RECEIVER)
    yield
    host.check_output("docker rm --force receiver")


def got(host: Host, to: str, word: str) -> list[dict[str, Any]]:
    """What came to this address with this word in it."""
    program = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/got').read().decode())"
    messages = json.loads(host.check_output("docker exec receiver python3 -c %s", program))
    return [message for message in messages if to in message["to"] and word in message["body"]]


def amtool(host: Host, *words: str) -> str:
    return host.check_output(f"docker exec {ALERTMANAGER.container(host)} amtool {shlex.join(words)}")


def alert(host: Host, alertname: str, instance: str, *words: str, **labels: str) -> None:
    labelled = [f"{label}={value}" for label, value in ({"severity": "warning"} | labels).items()]
    texts = [
        "--annotation=summary=It is broken",
        "--annotation=description=Look at it.",
        f"--annotation=runbook_url=https://example.com/runbooks/{alertname}.md",
    ]
    amtool(host, "alert", "add", *words, *texts, f"alertname={alertname}", f"instance={instance}", *labelled)


@pytest.fixture
def instance() -> str:
    """A server that nobody has had alerts of."""
    return f"server-{uuid.uuid4().hex[:8]}"


def test_an_alert_reaches_everybody_who_should_hear_of_it(host: Host, instance: str) -> None:
    alert(host, "SiteDown", instance)
    for to in ("/all", "/slack", "ops@example.com", "boss@example.com"):
        assert eventually(lambda to=to: got(host, to, instance) != []), to
        message = got(host, to, instance)[0]["body"].replace("=\r\n", "").replace("=3D", "=")
        for text in ("It is broken", "Look at it.", "https://example.com/runbooks/SiteDown.md"):
            assert text in message, (to, text)
    assert got(host, "/all", instance)[0]["authorization"] == "Bearer a token of the scenario"
    assert got(host, "/disks", instance) == []


def test_the_end_of_an_alert_is_delivered(host: Host, instance: str) -> None:
    alert(host, "MysqlDown", instance)
    assert eventually(lambda: got(host, "/all", instance) != [])
    assert json.loads(got(host, "/all", instance)[0]["body"])["status"] == "firing"
    now = host.check_output("date --utc --iso-8601=seconds")
    alert(host, "MysqlDown", instance, f"--end={now}")
    assert eventually(lambda: json.loads(got(host, "/all", instance)[-1]["body"])["status"] == "resolved")
    assert eventually(lambda: any("RESOLVED" in message["body"] for message in got(host, "/slack", instance)))


def test_who_asked_for_some_alerts_hears_of_those(host: Host, instance: str) -> None:
    alert(host, "LowDiskSpace", instance)
    assert eventually(lambda: got(host, "/disks", instance) != [] and got(host, "/all", instance) != [])
    login = base64.b64encode(b"alertmanager:a password of the scenario").decode()
    assert got(host, "/disks", instance)[0]["authorization"] == f"Basic {login}"


def test_alerts_of_one_kind_come_as_one_message(host: Host, instance: str) -> None:
    for name in ("one", "two"):
        alert(host, "ContainerUnhealthy", instance, name=name)
    both = [{"one", "two"}]
    assert eventually(
        lambda: (
            [
                {one["labels"]["name"] for one in json.loads(message["body"])["alerts"]}
                for message in got(host, "/all", instance)
            ][-1:]
            == both
        )
    )


def test_a_dead_server_silences_its_services(host: Host, instance: str) -> None:
    alert(host, "ServerDown", instance, severity="critical")
    assert eventually(lambda: got(host, "/all", instance) != [])
    alert(host, "TargetDown", instance, job="mysql")
    alert(host, "TargetDown", f"other-{instance}", job="mysql")
    assert eventually(lambda: got(host, "/all", f"other-{instance}") != [])
    names = {json.loads(message["body"])["groupLabels"]["alertname"] for message in got(host, "/all", f'"{instance}"')}
    assert names == {"ServerDown"}
    inhibited = json.loads(amtool(host, "alert", "query", "--inhibited", "--output=json", f"instance={instance}"))
    assert [one["labels"]["alertname"] for one in inhibited] == ["TargetDown"]


def test_a_silence_holds_over_a_new_container(host: Host, converge: Converge, instance: str) -> None:
    amtool(host, "silence", "add", "--author=me", "--comment=update", "--duration=1h", f"instance={instance}")
    assert converge({"alertmanager_memory_limit_mb": 80}).returncode == 0
    alert(host, "SiteDown", instance)
    alert(host, "SiteDown", f"other-{instance}")
    assert eventually(lambda: got(host, "/all", f"other-{instance}") != [])
    assert got(host, "/all", f'"{instance}"') == []
    assert instance in amtool(host, "silence", "query")


def test_the_heartbeat_goes_on_as_long_as_the_watchdog_barks(host: Host, instance: str) -> None:
    alert(host, "Watchdog", instance, severity="none")
    assert eventually(lambda: len(got(host, "/heartbeat?key=a-secret-of-the-scenario", instance)) >= 3)
    assert got(host, "/all", instance) == []


def test_it_runs_without_rights_and_publishes_nothing(host: Host) -> None:
    found = ALERTMANAGER.inspected(host)
    assert found["Config"]["User"] == "65534:65534"
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert not found["HostConfig"]["PortBindings"]


def test_secrets_are_shown_to_nobody(host: Host) -> None:
    shown = json.dumps(ALERTMANAGER.inspected(host))
    shown += host.check_output(
        f"docker exec {ALERTMANAGER.container(host)} wget -q -O - http://127.0.0.1:9093/api/v2/status"
    )
    shown += host.check_output("cat /opt/miniweb/alertmanager/config/alertmanager.yml")
    for secret in ("a-secret-of-the-scenario", "a token of the scenario", "a password of the scenario"):
        assert secret not in shown
    assert host.run("su -s /bin/sh nobody -c 'cat /opt/miniweb/alertmanager/secrets/*'").rc != 0


def test_a_new_route_is_reloaded_without_a_restart(host: Host, converge: Converge, instance: str) -> None:
    before = ALERTMANAGER.started(host)
    extra = {
        "alertmanager_extra_receivers": [
            {"name": "extra", "webhook_configs": [{"url": "http://receiver:8000/extra"}]},
        ],
        "alertmanager_extra_routes": [{"matchers": ['alertname="Extra"'], "receiver": "extra"}],
    }
    assert converge(extra).returncode == 0
    alert(host, "Extra", instance)
    assert eventually(lambda: got(host, "/extra", instance) != [])
    assert got(host, "/all", instance) == []
    assert ALERTMANAGER.started(host) == before


def test_what_amtool_refuses_never_becomes_active(host: Host, converge: Converge) -> None:
    before = host.check_output("cat /opt/miniweb/alertmanager/config/alertmanager.yml")
    route = {"alertmanager_extra_routes": [{"matchers": ['alertname="Extra"'], "receiver": "nowhere"}]}
    ALERTMANAGER.refuses(host, converge, route, 'undefined receiver "nowhere" used in route')
    assert host.check_output("cat /opt/miniweb/alertmanager/config/alertmanager.yml") == before


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"alertmanager_group_wait": "soon"}, 'alertmanager_group_wait is "soon": set it to a duration'),
        ({"alertmanager_smtp_smarthost": ""}, 'alertmanager_smtp_smarthost is "" and alertmanager_smtp_from'),
        ({"alertmanager_smtp_username": "me"}, "only the first is set; set both, or none"),
        ({"alertmanager_slack_url": "slack"}, "alertmanager_slack_url is no address: set one that begins with"),
        ({"alertmanager_external_url": "here"}, 'alertmanager_external_url is "here": set it to an address'),
        ({"alertmanager_webhooks": [{"name": "A b", "url": "http://a"}]}, "alertmanager_webhooks has the names A b"),
        ({"alertmanager_secrets": [{"name": "a", "content": ""}]}, "alertmanager_secrets: a cannot be used"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(
    host: Host, converge: Converge, variables: dict[str, Any], sentence: str
) -> None:
    ALERTMANAGER.refuses(host, converge, variables, sentence)
