"""json_object: is this a JSON object?"""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.miniweb.stack.plugins.test import json_object as plugin
from ansible_collections.miniweb.stack.plugins.test.json_object import json_object


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"uid": "a"}', True),
        ("{}", True),
        ({"uid": "a"}, True),
        ('{"uid": ', False),
        ("[]", False),
        ('"text"', False),
        ("", False),
        ([], False),
        (None, False),
    ],
)
def test_json_object(value: Any, expected: bool) -> None:
    assert json_object(value) is expected


def test_name() -> None:
    assert plugin.TestModule().tests() == {"json_object": json_object}
