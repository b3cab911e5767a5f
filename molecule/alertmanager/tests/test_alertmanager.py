"""Alertmanager as those on call see it: delivery, resolution, grouping, inhibition, silences, heartbeat, refusals."""

from __future__ import annotations

import base64
import json
import shlex
import uuid
from typing import Any

import pytest
import yaml
from helpers.playbooks import Converge, folded, run_playbook
from helpers.receiver import Receiver
from helpers.server import ROOT, SERVER
from helpers.service import Service
from helpers.waiting import eventually
from testinfra.host import Host

ALERTMANAGER = Service("alertmanager")
VOLUME = "miniweb-alertmanager_data"
TOKEN = 'a token\'s "password" \\ $HOME ${HOME} %d %(user)s # ; ñ€ of the scenario'
PASSWORD = 'Alertmanager\'s "password" \\ $HOME ${HOME} %d %(user)s # ; ñ€ of the scenario'
LEFT = {"prometheus/alertmanager.jobs.yml", "prometheus/alertmanager.rules.yml", "grafana/alertmanager.json"}


def as_header(text: str) -> str:
    """What a receiver makes of a header with this text in UTF-8."""
    return text.encode().decode("latin-1")


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
    """A server name that no earlier alert has used."""
    return f"server-{uuid.uuid4().hex[:8]}"


def test_each_receiver_is_asked_for_by_name(host: Host) -> None:
    """As compose_service runs it on the server, after a reload."""
    own = ["nobody", "default", "heartbeat", "webhook_shelves"]
    for names, said in (
        (own, "alertmanager_config_last_reload_success_timestamp_seconds"),
        ([*own, "pager"], 'Alertmanager has not loaded the receiver "pager"'),
        (own[:-1], 'Alertmanager still has the receiver "webhook_shelves"'),
    ):
        done = host.run("python3 -B /opt/miniweb/alertmanager/prove.py %s", json.dumps(names))
        assert (done.rc, said in done.stdout + done.stderr) == (int(names != own), True), done.stderr


def test_an_alert_reaches_all_its_receivers(host: Host, receiver: Receiver, instance: str) -> None:
    alert(host, "ShopClosed", instance)
    for to in ("/all", "/slack", "ops@example.com", "boss@example.com"):
        assert eventually(lambda to=to: receiver.messages(to, instance) != []), to
        message = receiver.messages(to, instance)[0]["body"].replace("=\r\n", "").replace("=3D", "=")
        for text in ("It is broken", "Look at it.", "https://example.com/runbooks/ShopClosed.md"):
            assert text in message, (to, text)
    assert receiver.messages("/all", instance)[0]["login"] == as_header(f"Bearer {TOKEN}")
    assert receiver.messages("ops@example.com", instance)[0]["hello"] == "www.example.com"
    assert receiver.messages("/shelves", instance) == []


def test_a_test_message_goes_through_every_receiver(host: Host, receiver: Receiver, converge: Converge) -> None:
    def tested() -> str:
        done = run_playbook(ROOT / "playbooks" / "test_alert.yml", {})
        return f"{done.returncode} {folded(done.stdout)}"

    before = ALERTMANAGER.started(host)
    said = tested()
    assert said.startswith("0 ")
    for to in ("/all", "/slack", "/shelves", "ops@example.com", "boss@example.com"):
        assert any("MiniwebTest" in str(message["body"]) for message in receiver.messages(to, SERVER)), to
    assert "webhook_shelves/webhook[0]" in said
    assert ALERTMANAGER.started(host) == before
    # Nothing listens there.
    assert converge({"alertmanager_smtp_smarthost": "receiver:2526"}).returncode == 0
    said = tested()
    assert said.startswith("2 ")
    assert "The test message was not delivered everywhere: default/email[0] failed (" in said
    assert "connection refused" in said
    assert "; delivered by default/slack[0]" in said


def test_the_resolution_of_an_alert_is_delivered(host: Host, receiver: Receiver, instance: str) -> None:
    alert(host, "StoreDown", instance)
    assert eventually(lambda: receiver.messages("/all", instance) != [])
    assert json.loads(receiver.messages("/all", instance)[0]["body"])["status"] == "firing"
    now = host.check_output("date --utc --iso-8601=seconds")
    alert(host, "StoreDown", instance, f"--end={now}")
    assert eventually(lambda: json.loads(receiver.messages("/all", instance)[-1]["body"])["status"] == "resolved")
    assert eventually(lambda: any("RESOLVED" in message["body"] for message in receiver.messages("/slack", instance)))


def test_a_receiver_for_some_alerts_gets_those(host: Host, receiver: Receiver, instance: str) -> None:
    alert(host, "FullShelf", instance)
    assert eventually(
        lambda: receiver.messages("/shelves", instance) != [] and receiver.messages("/all", instance) != []
    )
    login = base64.b64encode(f"alertmanager:{PASSWORD}".encode()).decode()
    assert receiver.messages("/shelves", instance)[0]["login"] == f"Basic {login}"


def test_alerts_of_one_kind_come_as_one_message(host: Host, receiver: Receiver, instance: str) -> None:
    for name in ("one", "two"):
        alert(host, "SickWorker", instance, name=name)
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


def test_a_dead_server_inhibits_the_alerts_of_its_services(host: Host, receiver: Receiver, instance: str) -> None:
    alert(host, "HouseBurns", instance, severity="critical", explains="instance")
    assert eventually(lambda: receiver.messages("/all", instance) != [])
    alert(host, "DoorStuck", instance, job="shop")
    alert(host, "DoorStuck", f"other-{instance}", job="shop")
    assert eventually(lambda: receiver.messages("/all", f"other-{instance}") != [])
    names = {
        json.loads(message["body"])["groupLabels"]["alertname"]
        for message in receiver.messages("/all", f'"{instance}"')
    }
    assert names == {"HouseBurns"}
    inhibited = json.loads(amtool(host, "alert", "query", "--inhibited", "--output=json", f"instance={instance}"))
    assert [one["labels"]["alertname"] for one in inhibited] == ["DoorStuck"]


def test_a_cause_inhibits_the_alerts_that_it_explains(host: Host, receiver: Receiver, instance: str) -> None:
    alert(host, "StoreDown", instance, cause="store", explains="cause")
    assert eventually(lambda: receiver.messages("/all", instance) != [])
    # With the same cause, another one, none, and the same one on another server.
    alert(host, "SlowShop", instance, cause="store")
    alert(host, "OldCertificate", instance, cause="clock")
    alert(host, "FullDisk", instance)
    alert(host, "SlowShop", f"other-{instance}", cause="store")

    def heard() -> set[str]:
        messages = receiver.messages("/all", f'"{instance}"')
        return {json.loads(message["body"])["groupLabels"]["alertname"] for message in messages}

    assert eventually(lambda: heard() >= {"StoreDown", "OldCertificate", "FullDisk"})
    assert eventually(lambda: receiver.messages("/all", f"other-{instance}") != [])
    assert heard() == {"StoreDown", "OldCertificate", "FullDisk"}
    inhibited = json.loads(amtool(host, "alert", "query", "--inhibited", "--output=json", f"instance={instance}"))
    assert [one["labels"]["alertname"] for one in inhibited] == ["SlowShop"]


def test_a_silence_survives_a_new_container(host: Host, receiver: Receiver, converge: Converge, instance: str) -> None:
    amtool(host, "silence", "add", "--author=me", "--comment=update", "--duration=1h", f"instance={instance}")
    assert converge({"alertmanager_memory_limit_mb": 80}).returncode == 0
    alert(host, "ShopClosed", instance)
    alert(host, "ShopClosed", f"other-{instance}")
    assert eventually(lambda: receiver.messages("/all", f"other-{instance}") != [])
    assert receiver.messages("/all", f'"{instance}"') == []
    assert instance in amtool(host, "silence", "query")


def test_the_heartbeat_goes_on_as_long_as_the_watchdog_fires(host: Host, receiver: Receiver, instance: str) -> None:
    alert(host, "Barks", instance, severity="none")
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
    for secret in ("a-secret-of-the-scenario", TOKEN, PASSWORD):
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


def contributed(host: Host) -> dict[str, Any]:
    """Its contributions, by file."""
    return {file: yaml.safe_load(content) for file, content in ALERTMANAGER.contributions(host).items()}


def test_it_leaves_its_job_alerts_and_dashboard(host: Host, converge: Converge) -> None:
    found, before = contributed(host), ALERTMANAGER.started(host)
    assert set(found) == LEFT
    (job,) = found["prometheus/alertmanager.jobs.yml"]["scrape_configs"]
    (targets,) = job["static_configs"]
    assert (job["job_name"], targets["labels"]) == (
        "alertmanager",
        {"instance": SERVER, "monitoring": "true"},
    )
    metrics = f"docker exec {ALERTMANAGER.container(host)} wget -q -O - http://{targets['targets'][0]}/metrics"
    assert "alertmanager_config_last_reload_successful 1" in host.check_output(metrics)
    rules = {rule["alert"]: rule for rule in found["prometheus/alertmanager.rules.yml"]["groups"][0]["rules"]}
    assert set(rules) >= {"AlertmanagerReloadFailed", "AlertmanagerNotificationsFailed"}
    assert found["grafana/alertmanager.json"]["title"] == "Alertmanager"
    assert converge({"alertmanager_alert_reload_failed_for": "7m"}).returncode == 0
    (first, *dummy) = contributed(host)["prometheus/alertmanager.rules.yml"]["groups"][0]["rules"]
    assert first["for"] == "7m"
    assert ALERTMANAGER.started(host) == before


def test_a_setting_that_it_refuses_at_start_is_rolled_back(host: Host, converge: Converge) -> None:
    ALERTMANAGER.gives_way(host, converge, {"alertmanager_external_url": "http://[broken"}, "determine external URL")


def test_it_is_removed_and_comes_back_with_its_silences(host: Host, converge: Converge, instance: str) -> None:
    amtool(host, "silence", "add", "--author=me", "--comment=update", "--duration=1h", f"instance={instance}")
    absent = {"alertmanager_state": "absent"}
    assert converge(absent).returncode == 0
    assert not ALERTMANAGER.container(host)
    assert not host.file("/opt/miniweb/alertmanager").exists
    assert contributed(host) == {}
    assert VOLUME in host.check_output("docker volume ls --quiet").split()
    assert "changed=0" in converge(absent).stdout
    assert converge({}).returncode == 0
    assert instance in amtool(host, "silence", "query")
    assert set(contributed(host)) == LEFT
    gone = {**absent, "alertmanager_remove_data": True}
    assert converge(gone).returncode == 0
    assert VOLUME not in host.check_output("docker volume ls --quiet").split()
    assert converge({}).returncode == 0
    assert instance not in amtool(host, "silence", "query")


def test_wrong_input_is_refused_in_one_sentence_each(host: Host, converge: Converge) -> None:
    wrong = {
        "alertmanager_group_wait": "soon",
        "alertmanager_smtp_smarthost": "",
        "alertmanager_smtp_username": "me",
        "alertmanager_slack_url": "slack",
        "alertmanager_external_url": "here",
        "alertmanager_webhooks": [{"name": "A b", "url": "http://a"}],
        "alertmanager_secrets": [{"name": "a", "content": ""}],
        "alertmanager_alert_reload_failed_for": "1",
        "alertmanager_remove_data": True,
        "alertmanager_enabled": False,
    }
    ALERTMANAGER.refuses(
        host,
        converge,
        wrong,
        'alertmanager_group_wait is "soon": set it to a duration',
        'alertmanager_smtp_smarthost is "" and alertmanager_smtp_from',
        "only the first is set; set both, or none",
        "alertmanager_slack_url is no address: set one that begins with",
        'alertmanager_external_url is "here": set it to an address',
        "alertmanager_webhooks has the names A b",
        "alertmanager_secrets: a cannot be used",
        'alertmanager_alert_reload_failed_for is "1": set it to a duration',
        'alertmanager_remove_data is true while alertmanager_state is "present"',
        "alertmanager_enabled is now called alertmanager_state",
    )
    repeated = {"alertmanager_webhooks": [{"name": "a", "url": "http://a", "repeat_interval": "often"}]}
    ALERTMANAGER.refuses(host, converge, repeated, "and a repeat_interval such as 15m")
