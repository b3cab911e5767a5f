"""Every molecule scenario; each pytest worker has its own test server."""

from __future__ import annotations

import pytest
import scenarios

# The longest one, and one that another would have to wait for
FIRST = ("default", "ec2_site")


@pytest.mark.parametrize("scenario", [*FIRST, *sorted(scenarios.ALL - set(FIRST))])
def test_scenario(scenario: str) -> None:
    scenarios.run(scenario)
