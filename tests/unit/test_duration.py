"""duration: is this a duration as Prometheus writes it?"""

from __future__ import annotations

import pytest
from ansible_collections.miniweb.stack.plugins.test import duration as plugin


@pytest.mark.parametrize("value", ["15s", "1h30m", "15d", "1y2w3d4h5m6s7ms", "500ms", "0s"])
def test_durations(value: str) -> None:
    assert plugin.duration(value)


@pytest.mark.parametrize("value", ["", "15", "s", "1.5h", "30m1h", "15 s", "15s ", "15s\n", "-1m", "١m", 15, None])
def test_anything_else(value: object) -> None:
    assert not plugin.duration(value)


def test_its_name() -> None:
    assert plugin.TestModule().tests() == {"duration": plugin.duration}
