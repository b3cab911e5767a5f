"""The values of the roles' variables alone, in the whole system, and where an inventory overrides them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from role_templates import ROLES, worked_out
from role_variables import defaults, files

PEM = "-----BEGIN CERTIFICATE-----\nMIIBdzCCAR2gAwIBAgIU\nq+/=\n-----END CERTIFICATE-----\n"
SYSTEM = sorted(path.parents[1].name for path in ROLES.glob("*/meta/service.yml"))
CASES: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "without monitoring": {"miniweb_monitoring": False},
    "with a database elsewhere": {"miniweb_database_host": "db.example.com"},
    "with the responder": {"alert_responder_state": "present"},
    "with Redis": {"redis_state": "present"},
}

# An application that says nothing gets the commonest names.
WITHOUT_A_SOURCE = {
    "SECRET_KEY": "secret_key",
    "DATABASE_URL": "database_url",
    "DATABASE_PASSWORD": "database_password",
}

ValueOf = Callable[..., Any]


@functools.cache
def templates(role: str) -> dict[str, Any]:
    """The defaults of a role as Ansible loads them."""
    parts = (
        DataLoader().load_from_file(str(path), trusted_as_template=True) for path in files(ROLES / role, "defaults")
    )
    return {name: item for part in parts for name, item in part.items()}


@pytest.fixture
def alone(tmp_path: Path) -> ValueOf:
    """The value of a template in a role whose play has no other role."""
    return lambda role, text, **given: worked_out(ROLES / role, text, miniweb_secrets_dir=str(tmp_path), **given)


@pytest.fixture
def together(alone: ValueOf) -> ValueOf:
    """The value of a template in a role of the whole system, where each role sees the others' defaults."""

    def value(role: str, text: str, **inventory: Any) -> Any:
        others = {name: item for other in SYSTEM if other != role for name, item in templates(other).items()}
        own = str(ROLES.parent / "playbooks")
        return alone(role, text, ansible_facts={"env": {}}, playbook_dir=own, **{**others, **inventory})

    return value


@pytest.mark.parametrize(
    ("host", "given", "said"),
    [
        ("db.example.com", "", []),
        ("db.example.com", PEM, []),
        ("db.example.com", f"# A comment\n{PEM}\n{PEM}", []),
        ("db.example.com", "/etc/ssl/ca.pem", ["holds no certificate"]),
        ("db.example.com", PEM.replace("CERTIFICATE", "PUBLIC KEY"), ["holds no certificate"]),
        ("db.example.com", PEM + PEM.replace("CERTIFICATE", "PRIVATE KEY"), ["holds a private key"]),
        ("mysql", "", []),
        ("mysql", PEM, ["which this collection deploys"]),
    ],
)
def test_the_databases_ca_is_certificates_of_an_external_one(
    together: ValueOf, host: str, given: str, said: list[str]
) -> None:
    rules = yaml.safe_load((ROLES / "miniweb" / "meta" / "checks.yml").read_text())["checks"]
    found = []
    for rule in (rule for rule in rules if rule["message"].startswith("miniweb_database_ca")):
        conditions = rule["that"] if isinstance(rule["that"], list) else [rule["that"]]
        fails = f"({rule['when']}) and not ({' and '.join(f'({one})' for one in conditions)})"
        inventory = {"miniweb_database_host": host, "miniweb_database_ca": given}
        if together("miniweb", f"{{{{ {fails} }}}}", **inventory):
            found.append(together("miniweb", rule["message"], **inventory))
    assert [one for one in said if not any(one in message for message in found)] == []
    assert len(found) == len(said)


def all_of(role: str) -> str:
    return f"{{{{ [{', '.join(defaults(ROLES / role))}] }}}}"


@pytest.mark.parametrize("role", [role for role in SYSTEM if role != "miniweb"])
def test_a_role_alone_needs_no_variable_of_another(alone: ValueOf, role: str) -> None:
    alone(role, all_of(role))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("role", SYSTEM)
def test_all_variables_of_the_whole_system_have_a_value(together: ValueOf, role: str, case: str) -> None:
    together(role, all_of(role), **CASES[case])


@pytest.mark.parametrize(
    ("role", "name", "by_itself", "wired"),
    [
        ("nginx", "nginx_upstream", "", "http://app:8000"),
        ("nginx", "nginx_admin_addresses", [], ["172.16.0.0/12"]),
        ("nginx", "nginx_sites | map(attribute='port')", [], [9090, 3000, 9093]),
        ("flask_app", "__flask_app_wired.environment.DATABASE_NAME | default('')", "", "miniwebapp"),
        ("flask_app", "__flask_app_wired.wait_for", [], ["mysql:3306"]),
        ("flask_app", "flask_app_health_path", "/", "/healthz"),
        ("alert_responder", "alert_responder_state", "present", "absent"),
        (
            "prometheus",
            "prometheus_networks | map(attribute='name')",
            ["miniweb-monitor"],
            ["miniweb-monitor", "miniweb-probe"],
        ),
        ("mysql", "mysql_database", "app", "miniwebapp"),
        ("docker", "__docker_server_ports", [], [443, 9100]),
    ],
)
def test_a_role_is_wired_in_the_whole_system_alone(
    alone: ValueOf, together: ValueOf, role: str, name: str, by_itself: Any, wired: Any
) -> None:
    assert alone(role, f"{{{{ {name} }}}}") == by_itself
    assert together(role, f"{{{{ {name} }}}}") == wired


@pytest.mark.parametrize(
    ("inventory", "role", "name", "wanted"),
    [
        ({"nginx_upstream": "http://other:1"}, "nginx", "nginx_upstream", "http://other:1"),
        ({"flask_app_name": "shop", "flask_app_port": 9000}, "nginx", "nginx_upstream", "http://shop:9000"),
        ({"mysql_database": "shop"}, "flask_app", "__flask_app_wired.environment.DATABASE_NAME", "shop"),
        (
            {"miniweb_alert_responder_state": "present", "alert_responder_port": "9095", "nginx_https_port": 8443},
            "docker",
            "__docker_server_ports",
            [8443, 9095, 9100],
        ),
        ({"node_exporter_listen_address": "0.0.0.0:9200"}, "docker", "__docker_server_ports", [443, 9200]),
        ({"nginx_state": "absent"}, "docker", "__docker_server_ports", [9100]),
        (
            {"miniweb_monitoring": "false", "miniweb_alert_responder_state": "present"},
            "docker",
            "__docker_server_ports",
            [],
        ),
        ({"grafana_state": "absent"}, "nginx", "nginx_sites | map(attribute='port')", [9090, 9093]),
        ({"nginx_server_names": ["www.example.com"]}, "grafana", "grafana_root_url", "https://www.example.com:3000/"),
        ({"miniweb_monitoring": False}, "flask_app", "flask_app_metrics_path", ""),
        ({"miniweb_monitoring": False}, "nginx", "nginx_sites", []),
        ({"nginx_server_names": ["a.example"]}, "flask_app", "flask_app_external_url", "https://a.example"),
        (
            {"nginx_server_names": ["2001:db8::1"], "nginx_https_port": "8443"},
            "flask_app",
            "flask_app_external_url",
            "https://[2001:db8::1]:8443",
        ),
        ({"nginx_server_names": ["a b", "a.example"]}, "flask_app", "flask_app_external_url", "https://a.example"),
        ({"nginx_server_names": []}, "flask_app", "flask_app_external_url", ""),
        ({"nginx_state": "absent"}, "flask_app", "flask_app_external_url", ""),
        (
            {"nginx_server_names": ["a.example", "192.0.2.1", "localhost", "2001:db8::1", "b"]},
            "blackbox_exporter",
            "blackbox_exporter_server_names",
            ["a.example", "b"],
        ),
        ({"miniweb_database_host": "db.example.com"}, "mysql", "mysql_state", "absent"),
        ({"flask_app_declaration": {"database": False}}, "mysql", "mysql_state", "absent"),
        ({"flask_app_wants_database": "false"}, "mysql", "mysql_state", "absent"),
        ({"flask_app_wants_database": "false"}, "flask_app", "__flask_app_wired.wait_for", []),
        (
            {"flask_app_declaration": {"database": False}, "flask_app_wants_database": True},
            "flask_app",
            "__flask_app_wired.wait_for",
            ["mysql:3306"],
        ),
        ({}, "redis", "redis_state", "absent"),
        ({}, "flask_app", "flask_app_redis", {}),
        ({"flask_app_wants_redis": True, "flask_app_redis": {}}, "redis", "redis_state", "absent"),
        ({"flask_app_declaration": {"redis": True}}, "redis", "redis_state", "present"),
        (
            {"flask_app_wants_redis": "true", "flask_app_redis": {"host": "cache.example"}},
            "redis",
            "redis_state",
            "absent",
        ),
        ({"flask_app_wants_redis": "true"}, "flask_app", "__flask_app_wired.wait_for", ["mysql:3306", "redis:6379"]),
        ({"flask_app_image": "shop:1"}, "flask_app", "flask_app_source_dir", ""),
        ({"flask_app_image": "shop:1"}, "flask_app", "__flask_app_wired['values']", WITHOUT_A_SOURCE),
        (
            {"miniweb_database_host": "db.example.com"},
            "flask_app",
            "__flask_app_wired.wait_for",
            ["db.example.com:3306"],
        ),
        (
            {},
            "flask_app",
            "__flask_app_secret_files | map(attribute='name')",
            ["database_password", "secret_key", "admin_password"],
        ),
        (
            {"miniweb_database_host": "db.example.com", "miniweb_database_ca": "a CA"},
            "flask_app",
            "__flask_app_wired.environment.DATABASE_CA_FILE",
            "/run/secrets/database_ca",
        ),
        ({}, "nginx", "nginx_sites | map(attribute='closed_paths', default=[])", [["/debug/"], [], ["/debug/"]]),
        ({}, "nginx", "nginx_closed_paths", ["/metrics"]),
        ({"miniweb_monitoring": False}, "nginx", "nginx_closed_paths", ["/metrics"]),
        ({"flask_app_metrics_path": "/stats?all=1"}, "nginx", "nginx_closed_paths", ["/stats", "/metrics"]),
        ({"flask_app_metrics_path": "/healthz"}, "nginx", "nginx_closed_paths", ["/metrics"]),
        ({"flask_app_state": "absent"}, "nginx", "nginx_closed_paths", []),
        ({"flask_app_image": "shop:1", "flask_app_metrics_path": "/"}, "nginx", "nginx_closed_paths", []),
        ({}, "nginx", "nginx_sites | map(attribute='cookies') | map('length')", [0, 4, 0]),
        (
            {"grafana_extra_environment": {"GF_AUTH_LOGIN_COOKIE_NAME": "shop_grafana"}},
            "nginx",
            "nginx_sites[1].cookies[0]",
            "shop_grafana",
        ),
        (
            {"alert_responder_state": "present", "miniweb_webhooks": [{"name": "chat"}]},
            "alertmanager",
            "alertmanager_webhooks | map(attribute='name')",
            ["chat", "responder"],
        ),
    ],
)
def test_an_inventory_beats_the_wiring_and_reaches_whoever_is_wired_with_it(
    together: ValueOf, inventory: dict[str, Any], role: str, name: str, wanted: Any
) -> None:
    assert together(role, f"{{{{ {name} }}}}", **inventory) == wanted


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("what", ["database", "redis"])
def test_a_password_is_only_generated_for_an_application_that_wants_it(
    together: ValueOf, tmp_path: Path, what: str, wanted: bool
) -> None:
    found = together("flask_app", f"{{{{ flask_app_{what} }}}}", **{f"flask_app_wants_{what}": wanted})
    assert bool(found) is wanted
    assert bool(list(tmp_path.iterdir())) is wanted
