"""Every molecule scenario; each pytest worker has its own test server."""

from __future__ import annotations

import pytest
import scenarios

# The longest one, and one that another would have to wait for
FIRST = ("default", "ec2_site")


@pytest.mark.parametrize("scenario", sorted(scenarios.CHOSEN, key=lambda name: (name not in FIRST, name)))
def test_scenario(scenario: str) -> None:
    scenarios.run(scenario)
