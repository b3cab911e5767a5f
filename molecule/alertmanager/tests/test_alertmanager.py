"""Alertmanager as those see it who are called: delivery, ends, grouping, inhibition, silence, heartbeat, refusals."""

from __future__ import annotations

import base64
import json
import shlex
import uuid
from typing import Any

import pytest
from asking import Converge, Receiver, Service, eventually
from testinfra.host import Host

ALERTMANAGER = Service("alertmanager")


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


def test_an_alert_reaches_everybody_who_should_hear_of_it(host: Host, receiver: Receiver, instance: str) -> None:
    alert(host, "SiteDown", instance)
    for to in ("/all", "/slack", "ops@example.com", "boss@example.com"):
        assert eventually(lambda to=to: receiver.messages(to, instance) != []), to
        message = receiver.messages(to, instance)[0]["body"].replace("=\r\n", "").replace("=3D", "=")
        for text in ("It is broken", "Look at it.", "https://example.com/runbooks/SiteDown.md"):
            assert text in message, (to, text)
    assert receiver.messages("/all", instance)[0]["login"] == "Bearer a token of the scenario"
    assert receiver.messages("/disks", instance) == []


def test_the_end_of_an_alert_is_delivered(host: Host, receiver: Receiver, instance: str) -> None:
    alert(host, "MysqlDown", instance)
    assert eventually(lambda: receiver.messages("/all", instance) != [])
    assert json.loads(receiver.messages("/all", instance)[0]["body"])["status"] == "firing"
    now = host.check_output("date --utc --iso-8601=seconds")
    alert(host, "MysqlDown", instance, f"--end={now}")
    assert eventually(lambda: json.loads(receiver.messages("/all", instance)[-1]["body"])["status"] == "resolved")
    assert eventually(lambda: any("RESOLVED" in message["body"] for message in receiver.messages("/slack", instance)))


def test_who_asked_for_some_alerts_hears_of_those(host: Host, receiver: Receiver, instance: str) -> None:
    alert(host, "LowDiskSpace", instance)
    assert eventually(lambda: receiver.messages("/disks", instance) != [] and receiver.messages("/all", instance) != [])
    login = base64.b64encode(b"alertmanager:a password of the scenario").decode()
    assert receiver.messages("/disks", instance)[0]["login"] == f"Basic {login}"


def test_alerts_of_one_kind_come_as_one_message(host: Host, receiver: Receiver, instance: str) -> None:
    for name in ("one", "two"):
        alert(host, "ContainerUnhealthy", instance, name=name)
    both = [{"one", "two"}]
    assert eventually(
        lambda: (
            [
                {one["labels"]["name"] for one in json.loads(message["body"])["alerts"]}
                for message in receiver.messages("/all", instance)
            ][-1:]
            == both
        )
    )


def test_a_dead_server_silences_its_services(host: Host, receiver: Receiver, instance: str) -> None:
    alert(host, "ServerDown", instance, severity="critical")
    assert eventually(lambda: receiver.messages("/all", instance) != [])
    alert(host, "TargetDown", instance, job="mysql")
    alert(host, "TargetDown", f"other-{instance}", job="mysql")
    assert eventually(lambda: receiver.messages("/all", f"other-{instance}") != [])
    names = {
        json.loads(message["body"])["groupLabels"]["alertname"]
        for message in receiver.messages("/all", f'"{instance}"')
    }
    assert names == {"ServerDown"}
    inhibited = json.loads(amtool(host, "alert", "query", "--inhibited", "--output=json", f"instance={instance}"))
    assert [one["labels"]["alertname"] for one in inhibited] == ["TargetDown"]


def test_a_silence_holds_over_a_new_container(
    host: Host, receiver: Receiver, converge: Converge, instance: str
) -> None:
    amtool(host, "silence", "add", "--author=me", "--comment=update", "--duration=1h", f"instance={instance}")
    assert converge({"alertmanager_memory_limit_mb": 80}).returncode == 0
    alert(host, "SiteDown", instance)
    alert(host, "SiteDown", f"other-{instance}")
    assert eventually(lambda: receiver.messages("/all", f"other-{instance}") != [])
    assert receiver.messages("/all", f'"{instance}"') == []
    assert instance in amtool(host, "silence", "query")


def test_the_heartbeat_goes_on_as_long_as_the_watchdog_barks(host: Host, receiver: Receiver, instance: str) -> None:
    alert(host, "Watchdog", instance, severity="none")
    assert eventually(lambda: len(receiver.messages("/heartbeat?key=a-secret-of-the-scenario", instance)) >= 3)
    assert receiver.messages("/all", instance) == []


def test_it_runs_without_rights_and_publishes_nothing(host: Host) -> None:
    ALERTMANAGER.confined(host, "65534:65534")


def test_secrets_are_shown_to_nobody(host: Host) -> None:
    shown = json.dumps(ALERTMANAGER.inspected(host))
    shown += host.check_output(
        f"docker exec {ALERTMANAGER.container(host)} wget -q -O - http://127.0.0.1:9093/api/v2/status"
    )
    shown += host.check_output("cat /opt/miniweb/alertmanager/config/alertmanager.yml")
    for secret in ("a-secret-of-the-scenario", "a token of the scenario", "a password of the scenario"):
        assert secret not in shown
    assert host.run("su -s /bin/sh nobody -c 'cat /opt/miniweb/alertmanager/secrets/*'").rc != 0


def test_a_new_route_is_reloaded_without_a_restart(
    host: Host, receiver: Receiver, converge: Converge, instance: str
) -> None:
    before = ALERTMANAGER.started(host)
    extra = {
        "alertmanager_extra_receivers": [
            {"name": "extra", "webhook_configs": [{"url": "http://receiver:8000/extra"}]},
        ],
        "alertmanager_extra_routes": [{"matchers": ['alertname="Extra"'], "receiver": "extra"}],
    }
    assert converge(extra).returncode == 0
    alert(host, "Extra", instance)
    assert eventually(lambda: receiver.messages("/extra", instance) != [])
    assert receiver.messages("/all", instance) == []
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
