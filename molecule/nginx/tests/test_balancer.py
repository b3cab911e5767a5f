"""nginx behind a load balancer, which ends TLS or does not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from helpers.nginx import SITE, logged
from helpers.playbooks import converge_playbook, restoring, run_playbook
from helpers.server import ADDRESS
from helpers.waiting import eventually
from helpers.web import curl, status
from testinfra.host import Host

# What a balancer that ends TLS adds, for a visitor who wrote X-Forwarded-For himself
FORWARDED = ["X-Forwarded-For: 198.51.100.6, 192.0.2.1", "X-Forwarded-Proto: https"]


def headers_of(given: list[str]) -> list[str]:
    return [word for header in given for word in ("-H", header)]


@pytest.fixture(scope="module")
def balancer(host: Host) -> Iterator[str]:
    """The address of this machine, which is a load balancer in front of nginx for a while; the server itself is none."""
    seen = json.loads(curl(f"https://{ADDRESS}/"))["headers"]["X-Real-IP"]
    second = {"name": "second", "upstream": "http://upstream:8000", "server_names": ["second.example.com"]}
    closed = {**second, "name": "closed", "server_names": ["closed.example.com"], "admin_only": True}
    with restoring(lambda variables, *words: run_playbook(converge_playbook(), variables, *words)) as converge:
        given = {"nginx_trusted_proxies": [seen, "2001:db8::/64"], "nginx_admin_addresses": ["192.0.2.1"]}
        assert converge({**given, "nginx_sites": [SITE, second, closed]}).returncode == 0
        assert eventually(lambda: status(*headers_of(FORWARDED), f"http://{ADDRESS}/") == "200")
        yield seen


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (FORWARDED, "200"),
        (["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: HTTPS"], "200"),
        (["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https, https"], "200"),
        # Its own check
        ([], "200"),
        (["Host: 10.0.0.4"], "200"),
        # A visitor without TLS
        (["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http"], "301"),
        (["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https, http"], "301"),
        (["X-Forwarded-For: 192.0.2.1|https|"], "301"),
        (["X-Forwarded-For: 192.0.2.1"], "301"),
        # Sites by name, one of them for administrators
        ([*FORWARDED, "Host: second.example.com"], "200"),
        ([*FORWARDED, "Host: closed.example.com"], "200"),
        (["X-Forwarded-For: 192.0.2.1, 198.51.100.6", "X-Forwarded-Proto: https", "Host: closed.example.com"], "403"),
        (["Host: closed.example.com"], "403"),
    ],
)
def test_a_balancer_that_ends_tls_is_served_over_http(balancer: str, sent: list[str], answer: str) -> None:
    assert status(*headers_of(sent), f"http://{ADDRESS}/") == answer


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_a_balancer_says_of_its_visitor_is_passed_on(host: Host, balancer: str, scheme: str) -> None:
    sent = [*FORWARDED, "Host: www.example.com"]
    found = json.loads(curl(*headers_of(sent), f"{scheme}://{ADDRESS}/"))["headers"]
    assert found["X-Real-IP"] == found["X-Forwarded-For"] == "192.0.2.1"
    assert (found["Host"], found["X-Forwarded-Proto"], found["X-Forwarded-Port"]) == ("www.example.com", "https", "443")
    assert len(found["X-Request-ID"]) == 32
    named = json.loads(curl(*headers_of([*sent, "X-Request-ID: from-the-balancer-1"]), f"{scheme}://{ADDRESS}/"))
    assert named["headers"]["X-Request-ID"] == "from-the-balancer-1"
    assert eventually(
        lambda: any(one["request_id"] == "from-the-balancer-1" for one in logged(host, "from-the-balancer-1"))
    )
    port = json.loads(curl(*headers_of([*sent, "X-Forwarded-Port: 8443"]), f"{scheme}://{ADDRESS}/"))
    assert port["headers"]["X-Forwarded-Port"] == "8443"


@pytest.mark.parametrize(
    ("asked", "passed"),
    [
        ("10.0.0.4", "server"),
        ("10.0.0.4:80", "server"),
        ("[2001:db8::4]", "server"),
        ("www.example.com", "www.example.com"),
        ("cafe.de", "cafe.de"),
    ],
)
def test_a_balancers_own_check_asks_the_application_as_a_visitor(balancer: str, asked: str, passed: str) -> None:
    found = json.loads(curl("-H", f"Host: {asked}", f"http://{ADDRESS}/"))["headers"]
    assert (found["Host"], found["X-Forwarded-Proto"]) == (passed, "https")
    visitor = json.loads(curl(*headers_of([*FORWARDED, f"Host: {asked}"]), f"http://{ADDRESS}/"))["headers"]
    assert visitor["Host"] == asked


@pytest.mark.parametrize("sent", [FORWARDED, [], ["X-Forwarded-Proto: https"], [*FORWARDED, "X-Forwarded-Port: 8443"]])
def test_nobody_else_is_taken_for_the_balancer(host: Host, balancer: str, sent: list[str]) -> None:
    """The server itself is a visitor like any other."""
    words = " ".join(f"-H '{header}'" for header in sent)
    answer = host.check_output(f"curl -s -o /dev/null -w '%{{http_code}} %{{redirect_url}}' {words} http://localhost/a")
    assert answer == "301 https://localhost/a"
    found = json.loads(host.check_output(f"curl -sk {words} https://localhost/"))["headers"]
    assert found["X-Real-IP"] == found["X-Forwarded-For"] not in ("192.0.2.1", "198.51.100.6", balancer)
    assert (found["Host"], found["X-Forwarded-Port"]) == ("localhost", "443")
    closed = f"curl -sk -o /dev/null -w '%{{http_code}}' {words} -H 'Host: closed.example.com' https://localhost/"
    assert host.check_output(closed) == "403"
