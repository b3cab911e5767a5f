"""Who can reach what, computed without AWS."""

from __future__ import annotations

import pytest
from ansible_collections.miniweb.stack.plugins.module_utils.aws_module import InputError
from ansible_collections.miniweb.stack.plugins.modules import security_group_access as module
from ansible_collections.miniweb.stack.plugins.modules.security_group_access import Grant

HOME, WORK = ("203.0.113.7/32", 22), ("198.51.100.4/32", 22)
ALICE, BOB = Grant("alice", "2026-11-01"), Grant("bob", "2026-11-02", "2026-12-01")


@pytest.mark.parametrize(
    ("found", "action", "places", "wanted"),
    [
        ({}, "grant", {HOME}, {HOME: (Grant("alice", "2026-11-24"),)}),
        ({HOME: (ALICE,)}, "refresh", {HOME}, {HOME: (ALICE,)}),
        ({HOME: (ALICE,)}, "refresh", {WORK}, {WORK: (Grant("alice", "2026-11-24"),)}),
        ({HOME: (ALICE, BOB)}, "refresh", {WORK}, {HOME: (BOB,), WORK: (Grant("alice", "2026-11-24"),)}),
        ({HOME: (ALICE, BOB)}, "revoke", set(), {HOME: (BOB,)}),
        ({HOME: (ALICE,), WORK: (BOB,)}, "revoke", {HOME}, {WORK: (BOB,)}),
        ({HOME: (BOB,)}, "grant", {HOME}, {HOME: (BOB, Grant("alice", "2026-11-24"))}),
        ({HOME: (Grant("carol", "2026-01-01", "2026-11-24"),)}, "revoke", set(), {}),
        ({HOME: (Grant("carol", "2026-01-01", "2026-11-24"),)}, "list", set(), "found"),
    ],
)
def test_wanted_access(found: module.Access, action: str, places: set, wanted: module.Access | str) -> None:
    result = module.wanted_access(found, action, "alice", places, "2026-11-24", "")
    assert result == (found if wanted == "found" else wanted)


def test_a_description_is_read_as_it_was_written() -> None:
    text = module.describe((ALICE, BOB))
    assert text == "miniweb: alice 2026-11-01; bob 2026-11-02 until 2026-12-01"
    assert module.parse(text) == (ALICE, BOB)


@pytest.mark.parametrize("text", ["", "office", "miniweb: alice", "miniweb: alice 2026-11-01; by hand"])
def test_descriptions_of_others_are_not_understood(text: str) -> None:
    assert module.parse(text) is None


def test_a_description_too_long_for_aws_is_refused() -> None:
    with pytest.raises(InputError, match="too many operators share one address"):
        module.describe(tuple(Grant(f"operator-{number:03}", "2026-11-01") for number in range(12)))


@pytest.mark.parametrize(
    ("value", "network"),
    [
        ("203.0.113.7", "203.0.113.7/32"),
        (" 203.0.113.0/24 ", "203.0.113.0/24"),
        ("2001:DB8::7", "2001:db8::7/128"),
    ],
)
def test_network(value: str, network: str) -> None:
    assert module.network(value, allow_anywhere=False) == network


@pytest.mark.parametrize("value", ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/2", "::/0", "2000::/3"])
def test_practically_everyone_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="lets practically everyone reach"):
        module.network(value, allow_anywhere=False)
    assert module.network(value, allow_anywhere=True)


@pytest.mark.parametrize("value", ["", "home", "203.0.113.7/8", "203.0.113.700"])
def test_what_is_no_network_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="is not an address or network"):
        module.network(value, allow_anywhere=False)
