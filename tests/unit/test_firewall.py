"""firewall: which rules of nftables drop what containers send to the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.miniweb.stack.plugins.module_utils.firewall import Chain, Rules

PORT = 9100
CHAIN = Chain("inet", "filter", "input")
DROP = {"drop": None}
ACCEPT = {"accept": None}


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"meta": {"key": key}}, right, op)


def payload(protocol: str, field: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"payload": {"protocol": protocol, "field": field}}, right, op)


def state(*states: str) -> dict[str, Any]:
    return match({"ct": {"key": "state"}}, list(states), "in")


def prefix(address: str, length: int) -> dict[str, Any]:
    return {"prefix": {"addr": address, "len": length}}


def vmap(left: Any, *elements: tuple[Any, dict[str, Any]]) -> dict[str, Any]:
    return {"vmap": {"key": left, "data": {"set": [list(element) for element in elements]}}}


def listing(
    policy: str, *rules: list[dict[str, Any]], others: dict[str, list[list[dict[str, Any]]]] | None = None
) -> str:
    """What nft prints of a table with an input chain with these rules, and other chains."""
    place = {"family": "inet", "table": "filter"}
    base = {**place, "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": policy}
    entries: list[dict[str, Any]] = [{"metainfo": {}}, {"table": {"family": "inet", "name": "filter"}}, {"chain": base}]
    entries += [{"rule": {**place, "chain": "input", "expr": list(rule)}} for rule in rules]
    for name, chain in (others or {}).items():
        entries.append({"chain": {**place, "name": name}})
        entries += [{"rule": {**place, "chain": name, "expr": list(rule)}} for rule in chain]
    return json.dumps({"nftables": entries})


USUAL = [
    [meta("iif", "lo"), ACCEPT],
    [state("established", "related"), ACCEPT],
    [payload("tcp", "dport", {"set": [22, 80, 443]}), ACCEPT],
    [payload("icmp", "type", "echo-request"), ACCEPT],
]
STATES = vmap({"ct": {"key": "state"}}, ("established", ACCEPT), ("related", ACCEPT), ("invalid", DROP))


@pytest.mark.parametrize(
    ("policy", "rules"),
    [
        ("drop", []),
        ("drop", USUAL),
        ("drop", [[STATES], *USUAL]),
        ("accept", [*USUAL, [DROP]]),
        ("accept", [*USUAL, [{"counter": {"packets": 1, "bytes": 60}}, {"reject": {"type": "icmpx"}}]]),
        ("accept", [[meta("iifname", "eth0", "!="), payload("tcp", "dport", PORT), DROP]]),
        ("accept", [[payload("tcp", "dport", {"range": [9000, 9200]}), DROP]]),
        ("drop", [[meta("iifname", "eth*"), ACCEPT]]),
        ("drop", [[meta("iifname", {"set": ["lo", "docker0"]}), ACCEPT]]),
        ("drop", [[payload("ip", "saddr", prefix("192.0.2.0", 24)), payload("tcp", "dport", PORT), ACCEPT]]),
        ("drop", [[payload("ip", "saddr", "203.0.113.7"), ACCEPT]]),
        ("drop", [[payload("udp", "dport", PORT), ACCEPT]]),
        ("drop", [[meta("l4proto", "icmp"), ACCEPT]]),
        ("drop", [[payload("ip6", "saddr", prefix("fe80::", 10)), ACCEPT]]),
        ("drop", [[payload("tcp", "dport", {"range": [9095, 9099]}), ACCEPT]]),
        ("drop", [[vmap({"payload": {"protocol": "tcp", "field": "dport"}}, (22, ACCEPT), (443, ACCEPT))]]),
        ("drop", [[{"limit": {"rate": 10}}, DROP]]),
    ],
)
def test_connections_from_containers_are_certainly_dropped(policy: str, rules: list[Any]) -> None:
    found = Rules(listing(policy, *rules))
    assert found.inputs() == [CHAIN]
    assert found.drops(CHAIN, PORT)


@pytest.mark.parametrize(
    ("policy", "rules"),
    [
        ("accept", []),
        ("accept", USUAL),
        ("drop", [[ACCEPT]]),
        ("drop", [*USUAL, [meta("iifname", "br-*"), ACCEPT]]),
        ("drop", [[meta("iifname", "b*"), payload("tcp", "dport", {"set": [PORT, 443]}), ACCEPT]]),
        ("drop", [[meta("iifname", "br-0123456789ab"), ACCEPT]]),
        ("drop", [[meta("iifname", "eth0", "!="), ACCEPT]]),
        ("drop", [[meta("iifname", "@bridges"), ACCEPT]]),
        ("drop", [[payload("ip", "saddr", prefix("172.16.0.0", 12)), payload("tcp", "dport", PORT), ACCEPT]]),
        ("drop", [[payload("ip", "saddr", prefix("172.18.0.0", 16)), ACCEPT]]),
        ("drop", [[payload("ip", "saddr", prefix("0.0.0.0", 0)), ACCEPT]]),
        ("drop", [[state("new", "established"), payload("th", "dport", {"range": [9000, 9200]}), ACCEPT]]),
        ("drop", [[meta("l4proto", {"set": ["tcp", "udp"]}), ACCEPT]]),
        ("drop", [[{"limit": {"rate": 10}}, ACCEPT]]),
        ("drop", [[{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@zones"}}]]),
        ("accept", [[{"limit": {"rate": 10}}, DROP]]),
        ("accept", [[payload("ip", "saddr", prefix("10.0.0.0", 8)), DROP]]),
        ("accept", [[payload("tcp", "dport", {"set": [22, PORT]}, "!="), DROP]]),
    ],
)
def test_connections_that_may_be_accepted_are_not_reported(policy: str, rules: list[Any]) -> None:
    assert not Rules(listing(policy, *rules)).drops(CHAIN, PORT)


@pytest.mark.parametrize(
    ("policy", "others", "dropped"),
    [
        ("drop", {"web": [[payload("tcp", "dport", 443), ACCEPT]]}, True),
        ("drop", {"web": [[meta("iifname", "br-*"), ACCEPT]]}, False),
        ("accept", {"web": [[DROP]]}, True),
        ("accept", {"web": [[{"return": None}], [DROP]]}, False),
        ("accept", {"web": [[{"jump": {"target": "more"}}], [DROP]], "more": [[ACCEPT]]}, False),
        ("drop", {"web": [[{"jump": {"target": "web"}}]]}, True),
        ("drop", {}, True),
    ],
)
def test_chains_that_are_jumped_to(policy: str, others: dict[str, Any], dropped: bool) -> None:
    text = listing(policy, [{"jump": {"target": "web"}}], others=others)
    assert Rules(text).drops(CHAIN, PORT) is dropped


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, True),
        ({"family": "ip"}, False),
        ({"family": "ip", "table": "own"}, True),
        ({"family": "ip6"}, False),
        ({"table": "firewalld"}, False),
        ({"hook": "forward"}, False),
        ({"type": "nat"}, False),
    ],
)
def test_chains_of_other_programs_are_left_to_them(changes: dict[str, str], found: bool) -> None:
    """iptables' own chains are where the rule is written, and firewalld asks Docker for its bridges."""
    text = listing("drop")
    entries = json.loads(text)
    entries["nftables"][2]["chain"].update(changes)
    assert bool(Rules(json.dumps(entries)).inputs()) is found


@pytest.mark.parametrize(
    ("policy", "problems"),
    [
        ("accept", []),
        (
            "drop",
            [
                'docker_server_ports: the chain "input" of the nftables table "inet filter" of this server drops what containers '
                "send to its ports 9100, 9095: add the rule 'iifname \"br-*\" tcp dport { 9100, 9095 } accept' there, or leave "
                "these ports out."
            ],
        ),
    ],
)
def test_the_check_names_the_chain_the_ports_and_the_rule(
    run_module, tmp_path: Path, policy: str, problems: list[str]
) -> None:
    (tmp_path / "ruleset").write_text(listing(policy, *USUAL))
    program = tmp_path / "nft"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/ruleset\n")
    program.chmod(0o755)
    check = {"service": "docker", "reached_ports": {"docker_server_ports": [9100, 443, 9095]}}
    assert run_module("server_check", programs=tmp_path, checks=[check])["problems"] == problems
