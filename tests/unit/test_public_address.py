"""What services answer about an address, accepted or refused."""

from __future__ import annotations

import pytest
from ansible_collections.miniweb.stack.plugins.modules import public_address as module
from ansible_collections.miniweb.stack.plugins.modules.public_address import AddressError


@pytest.mark.parametrize(
    ("answer", "version", "address"),
    [("203.0.113.7\n", 4, "203.0.113.7"), (" 2001:DB8::7 ", 6, "2001:db8::7")],
)
def test_parsed(answer: str, version: int, address: str) -> None:
    assert module.parsed("https://a.example", answer, version) == address


@pytest.mark.parametrize(
    ("answer", "version", "sentence"),
    [
        ("", 4, 'https://a.example answers "", which is not an address'),
        ("<html>" + "x" * 500, 4, "which is not an address"),
        ("203.0.113.7/24", 4, "which is not an address"),
        ("2001:db8::7", 4, "https://a.example answers 2001:db8::7, which is not an IPv4 address"),
        ("203.0.113.7", 6, "which is not an IPv6 address"),
    ],
)
def test_parsed_refuses(answer: str, version: int, sentence: str) -> None:
    with pytest.raises(AddressError, match=sentence) as refusal:
        module.parsed("https://a.example", answer, version)
    assert len(str(refusal.value)) < 300


def test_agreed() -> None:
    assert module.agreed({}) == ""
    assert module.agreed({"a": "203.0.113.7", "b": "203.0.113.7"}) == "203.0.113.7"
    with pytest.raises(AddressError, match="a says 203.0.113.7, b says 203.0.113.8; give your addresses yourself"):
        module.agreed({"a": "203.0.113.7", "b": "203.0.113.8"})
