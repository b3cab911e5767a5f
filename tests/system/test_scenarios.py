"""Every molecule scenario, each of pytest's workers with a test server of its own. The longest comes first."""

from __future__ import annotations

import pytest
import scenarios

# The double of EC2's instances is one container.
SHARED = {"ec2_autoscale": "instances", "ec2_site": "instances"}


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(name, marks=pytest.mark.xdist_group(SHARED.get(name, name)))
        for name in sorted(scenarios.ALL, key=lambda name: (name != "default", name))
    ],
)
def test_scenario(scenario: str) -> None:
    scenarios.run(scenario)
