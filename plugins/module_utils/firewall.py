# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Whether rules of nftables drop what containers send to the server.

A packet that one of nftables' own chains drops is lost, whatever iptables, and so what is written here, accepts. So the rules are
read as a new TCP connection from one of Docker's bridges would meet them. What cannot be known is not held against them.
"""

from __future__ import annotations

import ipaddress
import json
import typing as t

from ansible.module_utils.basic import AnsibleModule

BRIDGES = "br-"
# Docker's usual networks, and those that administrators usually give it
SOURCES = [ipaddress.ip_network("172.16.0.0/12"), ipaddress.ip_network("10.0.0.0/8")]
FINAL = ("accept", "drop", "reject")
# Parts of a rule that decide nothing
PASSING = {"counter", "log", "mangle"}

# Whether a packet matches: certainly, certainly not, or None if that is not known.
Answer = t.Optional[bool]


class Chain(t.NamedTuple):
    """A chain of nftables."""

    family: str
    table: str
    name: str

    def __str__(self) -> str:
        """Return what a message calls it."""
        return f'chain "{self.name}" of the nftables table "{self.family} {self.table}"'


class Rules:
    """The chains and the rules of nftables that a listing in JSON has."""

    def __init__(self, listing: str) -> None:
        self.rules: dict[Chain, list[list[dict[str, t.Any]]]] = {}
        self.policies: dict[Chain, str] = {}
        for entry in json.loads(listing or "{}").get("nftables", []):
            chain, rule = entry.get("chain"), entry.get("rule")
            if chain:
                key = Chain(chain["family"], chain["table"], chain["name"])
                self.rules.setdefault(key, [])
                if (chain.get("type"), chain.get("hook")) == ("filter", "input") and chain["family"] in ("ip", "inet"):
                    self.policies[key] = chain.get("policy", "accept")
            elif rule:
                key = Chain(rule["family"], rule["table"], rule["chain"])
                self.rules.setdefault(key, []).append(rule.get("expr", []))

    def inputs(self) -> list[Chain]:
        """Return the chains that see what is sent to the server; not those of iptables and firewalld, which know Docker."""
        return [one for one in self.policies if one[:2] != ("ip", "filter") and one.table != "firewalld"]

    def drops(self, chain: Chain, port: int) -> bool:
        """Return whether a chain certainly drops a connection from a container to this port."""
        verdict = self._verdict(chain, port, set())
        return (verdict or self.policies.get(chain, "accept")) in ("drop", "reject")

    def _verdict(self, chain: Chain, port: int, seen: set[Chain]) -> str:
        """Return the verdict of a chain's rules: accept if one of them may accept; empty if none decides."""
        if chain in seen:
            return ""
        for rule in self.rules.get(chain, []):
            certain = True
            for step in rule:
                verdicts = self._verdicts(step, port)
                if verdicts is None:
                    answer = matches(step["match"], port) if "match" in step else True if {*step} <= PASSING else None
                    if answer is False:
                        break
                    certain = certain and answer is True
                    continue
                for verdict, known in verdicts:
                    found = self._decided(verdict, chain, port, {*seen, chain})
                    if found == "accept" or (found and certain and known):
                        return "" if found == "return" else found
        return ""

    def _decided(self, verdict: dict[str, t.Any], chain: Chain, port: int, seen: set[Chain]) -> str:
        """Return what a verdict comes to: that of the chain that it names, or itself."""
        target = verdict.get("jump") or verdict.get("goto")
        if target:
            return self._verdict(chain._replace(name=target["target"]), port, seen)
        return next((name for name in (*FINAL, "return") if name in verdict), "")

    def _verdicts(self, step: dict[str, t.Any], port: int) -> list[tuple[dict[str, t.Any], bool]] | None:
        """Return the verdicts that a part of a rule may have, and whether each certainly applies; None if it has none."""
        if "vmap" not in step:
            return [(step, True)] if {*FINAL, "return", "jump", "goto"} & {*step} else None
        data = step["vmap"]["data"]
        if not isinstance(data, dict) or "set" not in data:
            return [({"accept": None}, False)]
        found = []
        for key, verdict in data["set"]:
            answer = matches({"op": "==", "left": step["vmap"]["key"], "right": key}, port)
            if answer is not False:
                found.append((verdict, answer is True))
        return found


def matches(match: dict[str, t.Any], port: int) -> Answer:
    """Return whether a new TCP connection from one of Docker's bridges to this port has what a rule asks for."""
    answer = _has(match["left"], match["right"], port)
    return None if answer is None else answer is not (match["op"] == "!=")


def _has(left: t.Any, right: t.Any, port: int) -> Answer:
    if isinstance(right, dict) and "set" in right:
        right = right["set"]
    if isinstance(right, list):
        answers = [_has(left, one, port) for one in right]
        return True if True in answers else None if None in answers else False
    if not isinstance(left, dict) or (isinstance(right, str) and right.startswith("@")):
        return None
    if "meta" in left:
        return _meta(left["meta"].get("key"), right)
    if "ct" in left:
        return right == "new" if left["ct"].get("key") == "state" else None
    return _payload(left.get("payload", {}), right, port)


def _meta(key: t.Any, right: t.Any) -> Answer:
    if key in ("iif", "iifname"):
        name = str(right)
        if name.endswith("*"):
            return True if BRIDGES.startswith(name[:-1]) else None if name.startswith(BRIDGES) else False
        return None if name.startswith(BRIDGES) else False
    return {"l4proto": right in ("tcp", 6), "nfproto": right in ("ipv4", 2)}.get(key)


def _payload(payload: dict[str, t.Any], right: t.Any, port: int) -> Answer:
    protocol, field = payload.get("protocol"), payload.get("field")
    if protocol in ("udp", "icmp", "icmpv6", "ip6", "sctp", "udplite", "dccp"):
        return False
    if (protocol, field) == ("ip", "protocol"):
        return right in ("tcp", 6)
    if (protocol, field) == ("ip", "saddr"):
        return _may_be_source(right)
    if protocol in ("tcp", "th") and field == "dport":
        first, last = right["range"] if isinstance(right, dict) and "range" in right else (right, right)
        return first <= port <= last if isinstance(first, int) and isinstance(last, int) else None
    return None


def _may_be_source(right: t.Any) -> Answer:
    """Return that a container may, or cannot, have one of these addresses."""
    try:
        text = f"{right['prefix']['addr']}/{right['prefix']['len']}" if isinstance(right, dict) else str(right)
        network = ipaddress.ip_network(text, strict=False)
    except (KeyError, TypeError, ValueError):
        return None
    return None if any(network.overlaps(one) for one in SOURCES if one.version == network.version) else False


def dropping(module: AnsibleModule, ports: list[int]) -> dict[str, list[int]]:
    """Return the chains of nftables that certainly drop connections from containers, with the ports concerned."""
    program = module.get_bin_path("nft")
    if not program or not ports:
        return {}
    # Short, unlike all rules, which are only read if there is a chain that could drop something.
    code, out, dummy = module.run_command([program, "--json", "list", "chains"])
    if code or not Rules(out).inputs():
        return {}
    code, out, dummy = module.run_command([program, "--json", "list", "ruleset"])
    rules = Rules("" if code else out)
    found = {str(chain): [port for port in ports if rules.drops(chain, port)] for chain in rules.inputs()}
    return {chain: dropped for chain, dropped in found.items() if dropped}
