"""Every molecule scenario, each of pytest's workers with a test server of its own."""

from __future__ import annotations

import pytest
import scenarios

# The longest, and one that another would wait for
FIRST = ("default", "ec2_site")


@pytest.mark.parametrize("scenario", [*FIRST, *sorted(scenarios.ALL - set(FIRST))])
def test_scenario(scenario: str) -> None:
    scenarios.run(scenario)
